//! Downloads of the kept output: whole, in ranges, compressed, with times, at full size, and by
//! slow clients.

use std::io::Read as _;

use flate2::read::GzDecoder;

use crate::harness::{FakeAgent, Field, Person, Raw, Server, chunk, eventually};

const MIB: usize = 1024 * 1024;

/// A server that keeps `max_bytes` per stream, with a running job.
fn running(max_bytes: usize) -> (Server, Person, FakeAgent, String) {
    let mut server = Server::with(&[("HYPRBOX_STDOUT_MAX_BYTES", &max_bytes.to_string())]);
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let id = admin.queue("n1");
    assert_eq!(agent.claim_id(), id);
    (server, admin, agent, id)
}

/// Numbered text, so that a misplaced byte shows. It has characters of two bytes, so that some are
/// split.
fn numbered(from: usize, bytes: usize) -> String {
    (from / 16..(from + bytes) / 16)
        .map(|n| format!("{n:013}é\n"))
        .collect()
}

/// Writes both streams in turn, `bytes` to each. Returns each stream, and both in order.
fn write_both(agent: &FakeAgent, id: &str, bytes: usize) -> [String; 3] {
    let mut written = [String::new(), String::new(), String::new()];
    let piece = 300 * 1024;
    for from in (0..bytes).step_by(piece) {
        for (index, stream) in ["stdout", "stderr"].into_iter().enumerate() {
            let text = numbered(from, piece.min(bytes - from));
            agent.output(id, &[chunk(stream, written[index].len() as u64, &text)]);
            written[index].push_str(&text);
            written[2].push_str(&text);
        }
    }
    written
}

#[test]
fn a_log_of_many_windows_is_complete_and_so_is_every_range() {
    let (_server, admin, agent, id) = running(8 * MIB);
    let written = write_both(&agent, &id, 3 * MIB);
    agent.succeed(&id);
    for (stream, whole) in ["stdout", "stderr", "both"].into_iter().zip(&written) {
        let path = format!("/api/jobs/{id}/log?stream={stream}");
        let answer = admin.get(&path).gives(200);
        assert_eq!(answer.header("content-length"), whole.len().to_string());
        assert!(answer.body == whole.as_bytes(), "{stream}");
        for (from, to) in [
            (0, 0),
            (0, MIB),
            (MIB - 1, MIB),
            (300 * 1024, 300 * 1024 + 7),
            (2 * MIB + 5, whole.len() - 1),
            (whole.len() - 1, whole.len() - 1),
        ] {
            let range = format!("bytes={from}-{to}");
            let part = admin.get(&path).header("range", &range).gives(206);
            assert_eq!(
                part.header("content-range"),
                format!("bytes {from}-{to}/{}", whole.len())
            );
            assert!(
                part.body == whole.as_bytes()[from..=to],
                "{stream} {from}-{to}"
            );
        }
    }
    let detail = admin.job(&id);
    assert!(detail["stdout"] == written[0] && detail["stderr"] == written[1]);
}

#[test]
fn a_streamed_detail_is_the_same_json() {
    let (_server, admin, agent, id) = running(8 * MIB);
    let written = write_both(&agent, &id, 5 * MIB);
    let answer = admin.get(&format!("/api/jobs/{id}")).gives(200);
    assert_eq!(answer.header("content-type"), "application/json");
    let detail = answer.json();
    assert!(detail["stdout"] == written[0] && detail["stderr"] == written[1]);
    assert_eq!(detail.field("id"), id);
    assert_eq!(detail.count("stdoutBytes"), written[0].len() as u64);
    assert!(detail.field("script").contains("set -euo pipefail"));
    // Bytes that are not UTF-8.
    let bad = crate::harness::bytes_chunk("stderr", written[1].len() as u64, b"\xff\xc3");
    agent.output(&id, &[bad]);
    let stderr = admin.job(&id).field("stderr");
    assert_eq!(stderr, format!("{}\u{fffd}\u{fffd}", written[1]));
}

#[test]
fn a_range_of_a_changed_log_returns_the_whole() {
    let (_server, admin, agent, id) = running(MIB);
    agent.say(&id, 0, "0123456789");
    let path = format!("/api/jobs/{id}/log?stream=stdout");
    let tag = admin.get(&path).gives(200).header("etag");
    let resume = || {
        let call = admin.get(&path).header("range", "bytes=4-");
        call.header("if-range", &tag).send()
    };
    assert_eq!(resume().is(206).text(), "456789");
    agent.say(&id, 10, "more");
    assert_eq!(resume().is(200).text(), "0123456789more");
}

#[test]
fn a_log_can_be_compressed() {
    let (_server, admin, agent, id) = running(8 * MIB);
    let path = format!("/api/jobs/{id}/log?format=gzip");
    let unpacked = || {
        let answer = admin.get(&path).gives(200);
        assert_eq!(answer.header("content-type"), "application/gzip");
        assert_eq!(
            answer.header("content-disposition"),
            format!("attachment; filename=\"job-{id}-both.log.gz\"")
        );
        let mut text = String::new();
        let mut decoder = GzDecoder::new(answer.body.as_slice());
        decoder.read_to_string(&mut text).expect("a gzip file");
        (text, answer.body.len())
    };
    assert_eq!(unpacked().0, "");
    let written = write_both(&agent, &id, 2 * MIB);
    let (text, packed) = unpacked();
    assert!(text == written[2]);
    assert!(packed < text.len() / 3, "{packed} bytes");
    let refused = admin
        .get(&format!("/api/jobs/{id}/log?format=zip"))
        .gives(400);
    assert_eq!(refused.fields(), ["format"]);
}

#[test]
fn lines_have_their_times_on_request() {
    let (_server, admin, agent, id) = running(MIB);
    agent.say(&id, 0, "one\ntw");
    agent.output(
        &id,
        &[chunk("stdout", 6, "o\n"), chunk("stderr", 0, "bad\n")],
    );
    let text = admin
        .get(&format!("/api/jobs/{id}/log?times=true"))
        .gives(200)
        .text();
    let lines: Vec<(&str, &str)> = text
        .lines()
        .map(|line| line.split_once(' ').expect("a time"))
        .collect();
    let words: Vec<&str> = lines.iter().map(|(_, words)| *words).collect();
    assert_eq!(words, ["one", "two", "bad"]);
    for (time, _) in &lines {
        assert!(
            time.len() == 24 && time.starts_with("20") && time.ends_with('Z'),
            "{time}"
        );
    }
    assert!(lines[0].0 <= lines[2].0);
    let refused = admin
        .get(&format!("/api/jobs/{id}/log?times=yes"))
        .gives(400);
    assert_eq!(refused.fields(), ["times"]);
}

/// The memory that the server has allocated, in bytes.
fn memory(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()))
        .expect("a running server");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kib.expect("a number") * 1024
}

#[test]
fn fifty_slow_downloads_take_little_memory_and_no_database_connection() {
    let (server, admin, agent, id) = running(24 * MIB);
    let text = numbered(0, 4 * MIB);
    let mut sent = 0;
    for _ in 0..6 {
        sent = agent.say(&id, sent, &text).count("stdoutBytes");
    }
    let whole = text.repeat(6);
    let before = memory(&server);
    let mut slow: Vec<Raw> = (0..50)
        .map(|_| {
            let mut client = Raw::open(&server);
            client.write(format!(
                "GET /api/jobs/{id}/log?stream=stdout HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
                admin.token
            ));
            client
        })
        .collect();
    for client in &mut slow {
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }
    // Each is served as far as its connection takes it, and others are served meanwhile.
    for _ in 0..20 {
        assert_eq!(admin.get("/api/jobs?limit=1").ok().list("jobs").len(), 1);
    }
    let more = memory(&server).saturating_sub(before);
    println!("50 slow downloads of 24 MiB each: {} MiB more", more / MIB);
    assert!(more < 120 * MIB, "{} MiB more", more / MIB);
    // A slow client receives the whole log.
    let last = slow.pop().expect("a client").rest();
    assert!(last == whole);
}

#[test]
fn a_download_is_aborted_if_its_bytes_are_dropped() {
    let (server, admin, agent, id) = running(16 * MIB);
    let mut sent = 0;
    let mut written = String::new();
    while written.len() < 16 * MIB {
        let text = numbered(written.len(), 4 * MIB);
        sent = agent.say(&id, sent, &text).count("stdoutBytes");
        written.push_str(&text);
    }
    let kept = written.len().min(16 * MIB);
    let wanted = &written.as_bytes()[written.len() - kept..];
    let mut slow = Raw::open(&server);
    slow.write(format!(
        "GET /api/jobs/{id}/log?stream=stdout HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        admin.token
    ));
    let head = slow.head();
    assert!(head.contains(&format!("content-length: {kept}")), "{head}");
    // All of the tail is replaced before the client reads on.
    for _ in 0..5 {
        sent = agent
            .say(&id, sent, &numbered(sent as usize, 4 * MIB))
            .count("stdoutBytes");
    }
    let got = slow.rest();
    assert!(got.len() < kept, "{} bytes came", got.len());
    assert!(!got.is_empty() && wanted.starts_with(got.trim_end_matches('\u{fffd}').as_bytes()));
    // A new request returns the present tail.
    let now = eventually("a whole download", || {
        Some(admin.log(&id, "stdout")).filter(|bytes| bytes.len() == 16 * MIB)
    });
    assert!(!wanted.starts_with(&now[..1024]));
}
