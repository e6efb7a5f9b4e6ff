//! Output from the agent: chunks at their offsets, repeated and missing bytes, and the kept tail.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::harness::{FakeAgent, Field, Person, Server, bytes_chunk, chunk, eventually};

/// `HYPRBOX_STDOUT_MAX_BYTES` for tests that fill the tail.
const SMALL_TAIL: u64 = 65_536;

/// A server, its ADMIN, an agent, and the id of the job that the agent has claimed.
pub(crate) type Running = (Server, Person, FakeAgent, String);

fn running_on(mut server: Server) -> Running {
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let id = admin.queue("n1");
    assert_eq!(agent.claim_id(), id);
    (server, admin, agent, id)
}

pub(crate) fn running() -> Running {
    running_on(Server::start())
}

fn running_with_a_small_tail() -> Running {
    let size = SMALL_TAIL.to_string();
    running_on(Server::with(&[("HYPRBOX_STDOUT_MAX_BYTES", &size)]))
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// Bytes and dropped bytes of one stream.
pub(crate) fn counts(job: &Value, stream: &str) -> (u64, u64) {
    (
        job.count(&format!("{stream}Bytes")),
        job.count(&format!("{stream}Dropped")),
    )
}

/// Numbered text, so that a misplaced byte shows.
pub(crate) fn numbered(bytes: usize) -> String {
    let mut text: String = (0..=bytes / 8).map(|n| format!("{n:07}\n")).collect();
    text.truncate(bytes);
    text
}

#[test]
fn chunks_are_put_together_at_their_offsets() {
    let (_server, admin, agent, id) = running();
    let answer = agent.output(
        &id,
        &[chunk("stdout", 0, "one\n"), chunk("stderr", 0, "oops\n")],
    );
    let expected = json!({"stdoutBytes": 4, "stderrBytes": 5, "flushMs": 1500, "cancel": false});
    assert_eq!(answer, expected);
    agent.output(
        &id,
        &[chunk("stdout", 4, "two\n"), chunk("stdout", 8, "three\n")],
    );
    let job = admin.job(&id);
    assert_eq!(job["stdout"], "one\ntwo\nthree\n");
    assert_eq!(job["stderr"], "oops\n");
    assert_eq!(counts(&job, "stdout"), (14, 0));
    assert_eq!(counts(&job, "stderr"), (5, 0));
}

#[test]
fn the_overlap_with_known_bytes_is_ignored() {
    let (_server, admin, agent, id) = running();
    agent.say(&id, 0, "abcdef");
    for (offset, text, bytes) in [
        (0, "abcdef", 6),
        (0, "abc", 6),
        (2, "cd", 6),
        (3, "defgh", 8),
        (0, "abcdefghij", 10),
        (10, "", 10),
    ] {
        let answer = agent.say(&id, offset, text);
        assert_eq!(answer.count("stdoutBytes"), bytes, "{offset} {text}");
    }
    let job = admin.job(&id);
    assert_eq!(job["stdout"], "abcdefghij");
    assert_eq!(counts(&job, "stdout"), (10, 0));
}

#[test]
fn a_repeated_call_changes_nothing() {
    let (_server, admin, agent, id) = running();
    let call = [
        chunk("stdout", 0, "a"),
        chunk("stderr", 0, "x"),
        chunk("stdout", 1, "b"),
        chunk("stderr", 1, "y"),
    ];
    for _ in 0..3 {
        agent.output(&id, &call);
    }
    assert_eq!(admin.log(&id, "both"), b"axby");
    assert_eq!(agent.where_to_go_on(&id), (2, 2));
}

#[test]
fn a_gap_is_joined_over_and_counted() {
    let (_server, admin, agent, id) = running();
    agent.say(&id, 0, "abc");
    assert_eq!(agent.say(&id, 10, "xyz").count("stdoutBytes"), 13);
    let job = admin.job(&id);
    assert_eq!(job["stdout"], "abcxyz");
    assert_eq!(counts(&job, "stdout"), (13, 7));
    // Bytes for the gap that arrive later are ignored.
    agent.say(&id, 3, "defghij");
    let job = admin.job(&id);
    assert_eq!(job["stdout"], "abcxyz");
    assert_eq!(counts(&job, "stdout"), (13, 7));
    // A gap at the beginning of the other stream.
    agent.output(&id, &[chunk("stderr", 5, "e")]);
    let job = admin.job(&id);
    assert_eq!(job["stderr"], "e");
    assert_eq!(counts(&job, "stderr"), (6, 5));
    assert_eq!(agent.where_to_go_on(&id), (13, 6));
}

#[test]
fn an_empty_chunk_past_the_end_does_not_make_a_gap() {
    let (_server, admin, agent, id) = running();
    agent.say(&id, 0, "abc");
    agent.say(&id, 3, "");
    let job = admin.job(&id);
    assert_eq!(counts(&job, "stdout"), (3, 0));
}

#[test]
fn the_founding_documents_form_is_appended() {
    let (_server, admin, agent, id) = running();
    agent.succeed(&id);
    let founding = agent.founding();
    let id = admin.queue("n1");
    assert_eq!(founding.claim_id(), id);
    let send = |body: Value| founding.output_call(&id, &body).ok();
    send(json!({"stdout": "one\n", "stderr": "oops\n"}));
    send(json!({"stdout": "two\n"}));
    send(json!({"stderr": null, "stdout": ""}));
    let answer = send(json!({"stderr": "again\n"}));
    assert_eq!(counts_of(&answer), (8, 11));
    let job = admin.job(&id);
    assert_eq!(job["stdout"], "one\ntwo\n");
    assert_eq!(job["stderr"], "oops\nagain\n");
    assert_eq!(counts_of(&send(json!({}))), (8, 11));
}

fn counts_of(answer: &Value) -> (u64, u64) {
    (answer.count("stdoutBytes"), answer.count("stderrBytes"))
}

#[test]
fn bytes_that_are_not_utf8_are_kept_unchanged() {
    let (_server, admin, agent, id) = running();
    let bytes = b"\x00\xff\xfe caf\xc3\xa9 \xc3\x28 \x1b[31mred\x1b[0m\r\n";
    agent.output(&id, &[bytes_chunk("stdout", 0, bytes)]);
    assert_eq!(admin.log(&id, "stdout"), bytes);
    let shown = admin.job(&id).field("stdout");
    assert_eq!(shown, String::from_utf8_lossy(bytes));
    // A split character is joined again.
    agent.output(&id, &[bytes_chunk("stderr", 0, b"\xe2\x82")]);
    assert_eq!(admin.job(&id).field("stderr"), "\u{fffd}");
    agent.output(&id, &[bytes_chunk("stderr", 2, b"\xac")]);
    assert_eq!(admin.job(&id).field("stderr"), "\u{20ac}");
}

#[test]
fn the_tail_is_exactly_4_mib_by_default() {
    const TAIL: usize = 4_194_304;
    let (_server, admin, agent, id) = running();
    let text = numbered(TAIL + 100_003);
    let (mut offset, step) = (0, 1_500_001);
    while offset < text.len() {
        let end = (offset + step).min(text.len());
        agent.say(&id, offset as u64, &text[offset..end]);
        offset = end;
    }
    let tail = &text[text.len() - TAIL..];
    assert!(
        admin.log(&id, "stdout") == tail.as_bytes(),
        "not the last 4 MiB"
    );
    let job = admin.job(&id);
    assert!(job["stdout"] == tail, "not the last 4 MiB");
    assert_eq!(counts(&job, "stdout"), (text.len() as u64, 100_003));
    assert_eq!(counts(&job, "stderr"), (0, 0));
}

#[test]
fn the_tail_is_exact_however_the_output_is_chunked() {
    let tail = SMALL_TAIL as usize;
    for steps in [[1_000, 7, 65_536], [65_535, 1, 2], [200_000, 3, 70_001]] {
        let (_server, admin, agent, id) = running_with_a_small_tail();
        let text = numbered(300_000);
        let mut offset = 0;
        for step in steps.into_iter().cycle().take(60) {
            let end = (offset + step).min(text.len());
            agent.say(&id, offset as u64, &text[offset..end]);
            let from = end.saturating_sub(tail);
            offset = end;
            let job = admin.get(&format!("/api/jobs/{id}")).ok();
            assert_eq!(
                counts(&job, "stdout"),
                (end as u64, from as u64),
                "{steps:?}"
            );
            assert!(job["stdout"] == text[from..end], "{steps:?} at {end}");
        }
        assert!(admin.log(&id, "stdout") == text.as_bytes()[offset.saturating_sub(tail)..offset]);
    }
}

#[test]
fn a_gap_counts_as_dropped() {
    let (_server, admin, agent, id) = running_with_a_small_tail();
    let text = numbered(SMALL_TAIL as usize);
    agent.say(&id, 0, &text);
    agent.say(&id, SMALL_TAIL + 50, "end");
    let job = admin.job(&id);
    // Fifty bytes never arrived, and three were dropped from the head.
    assert_eq!(counts(&job, "stdout"), (SMALL_TAIL + 53, 53));
    assert_eq!(job.field("stdout"), format!("{}end", &text[3..]));
}

#[test]
fn each_stream_has_a_tail_of_its_own() {
    let (_server, admin, agent, id) = running_with_a_small_tail();
    agent.output(&id, &[chunk("stderr", 0, "first\n")]);
    agent.say(&id, 0, &numbered(200_000));
    assert_eq!(admin.job(&id)["stderr"], "first\n");
    assert_eq!(admin.log(&id, "stderr"), b"first\n");
}

#[test]
fn both_streams_are_in_the_order_in_which_they_were_read() {
    let (_server, admin, agent, id) = running();
    agent.output(
        &id,
        &[
            chunk("stdout", 0, "1\n"),
            chunk("stderr", 0, "2\n"),
            chunk("stdout", 2, "3\n"),
        ],
    );
    agent.output(&id, &[chunk("stderr", 2, "4\n")]);
    agent.output(&id, &[chunk("stdout", 4, "5\n"), chunk("stderr", 4, "6\n")]);
    assert_eq!(admin.log(&id, "both"), b"1\n2\n3\n4\n5\n6\n");
    let absent = admin.get(&format!("/api/jobs/{id}/log")).gives(200);
    assert_eq!(absent.header("content-type"), "text/plain; charset=utf-8");
    let refused = admin
        .get(&format!("/api/jobs/{id}/log?stream=stdin"))
        .gives(400);
    assert_eq!(refused.fields(), ["stream"]);
}

#[test]
fn ranges_of_the_log_are_served() {
    let (_server, admin, agent, id) = running();
    agent.say(&id, 0, "0123456789");
    let part = |range: &str| {
        admin
            .get(&format!("/api/jobs/{id}/log?stream=stdout"))
            .header("range", range)
            .send()
    };
    for (range, text, place) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=4-", "456789", "bytes 4-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=9-99", "9", "bytes 9-9/10"),
        ("bytes=-99", "0123456789", "bytes 0-9/10"),
    ] {
        let answer = part(range).is(206);
        assert_eq!(answer.text(), text, "{range}");
        assert_eq!(answer.header("content-range"), place);
    }
    let beyond = part("bytes=10-").is(416);
    assert_eq!(beyond.header("content-range"), "bytes */10");
    for whole in ["lines=1-2", "bytes=nonsense", "bytes=5-2"] {
        assert_eq!(part(whole).is(200).text(), "0123456789", "{whole}");
    }
    assert_eq!(part("bytes=0-").header("accept-ranges"), "bytes");
}

#[test]
fn an_agent_flushes_faster_while_somebody_watches() {
    let (_server, admin, agent, id) = running();
    assert_eq!(agent.say(&id, 0, "a")["flushMs"], 1500);
    let path = format!("/api/jobs/{id}/stream");
    let mut stream = admin.get(&path).open();
    stream.until(|event| event.name == "output");
    assert_eq!(agent.output(&id, &[])["flushMs"], 50);
    drop(stream);
    eventually("the viewer to disconnect", || {
        (agent.output(&id, &[])["flushMs"] == 1500).then_some(())
    });
    let mut events = admin.get(&format!("/api/events?job={id}")).open();
    events.until(|event| event.name == "output");
    assert_eq!(agent.output(&id, &[])["flushMs"], 50);
}

#[test]
fn operators_read_the_output_as_text() {
    let (server, admin, agent, id) = running_with_a_small_tail();
    let text = numbered(100_000);
    for (index, part) in text.as_bytes().chunks(9_999).enumerate() {
        agent.output(&id, &[bytes_chunk("stdout", index as u64 * 9_999, part)]);
    }
    agent.output(&id, &[chunk("stderr", 0, "caf\u{e9}\n")]);
    let column = |name: &str, id: &str| {
        let sql = format!("SELECT {name} FROM job_logs WHERE job_id = '{id}'");
        server.database().texts(&sql)
    };
    let tail = &text[text.len() - SMALL_TAIL as usize..];
    assert!(column("stdout", &id) == [tail], "not the kept output");
    assert_eq!(column("stderr", &id), ["caf\u{e9}\n"]);
    let silent = admin.queue("n1");
    assert_eq!(column("stdout", &silent), [""]);
}

#[test]
fn acknowledged_output_survives_a_kill() {
    let (mut server, _admin, agent, id) = running();
    for number in 0..20_u64 {
        agent.say(&id, number * 2, "x\n");
    }
    server.kill9();
    server.start_again();
    assert_eq!(agent.at(&server).where_to_go_on(&id), (40, 0));
    assert_eq!(server.admin().log(&id, "stdout"), b"x\n".repeat(20));
}
