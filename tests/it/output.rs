//! Output from the agent: chunks at their offsets, repeated and missing bytes, the kept tail, and
//! which calls are accepted.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::harness::{FakeAgent, Field, Person, Raw, Server, bytes_chunk, chunk, eventually};

/// `HYPRBOX_STDOUT_MAX_BYTES` for tests that fill the tail.
const SMALL_TAIL: u64 = 65_536;
/// The limit of a request's body.
const BODY_MAX: usize = 8 * 1024 * 1024;

struct Running {
    server: Server,
    admin: Person,
    agent: FakeAgent,
    id: String,
}

fn running_on(mut server: Server) -> Running {
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let id = admin.queue("n1");
    assert_eq!(agent.claim_id(), id);
    Running {
        server,
        admin,
        agent,
        id,
    }
}

fn running() -> Running {
    running_on(Server::start())
}

fn running_with_a_small_tail() -> Running {
    let size = SMALL_TAIL.to_string();
    running_on(Server::with(&[("HYPRBOX_STDOUT_MAX_BYTES", &size)]))
}

/// Bytes and dropped bytes of one stream.
fn counts(job: &Value, stream: &str) -> (u64, u64) {
    (
        job.count(&format!("{stream}Bytes")),
        job.count(&format!("{stream}Dropped")),
    )
}

/// Numbered text, so that a misplaced byte shows.
fn numbered(bytes: usize) -> String {
    let mut text: String = (0..=bytes / 8).map(|n| format!("{n:07}\n")).collect();
    text.truncate(bytes);
    text
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("encodes");
    encoder.finish().expect("encodes")
}

#[test]
fn chunks_are_put_together_at_their_offsets() {
    let Running {
        server: _server,
        admin,
        agent,
        id,
    } = running();
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
    let Running {
        server: _server,
        admin,
        agent,
        id,
    } = running();
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
    let Running {
        server: _server,
        admin,
        agent,
        id,
    } = running();
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
    let Running {
        server: _server,
        admin,
        agent,
        id,
    } = running();
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
    let Running {
        server: _server,
        admin,
        agent,
        id,
    } = running();
    agent.say(&id, 0, "abc");
    agent.say(&id, 3, "");
    let job = admin.job(&id);
    assert_eq!(counts(&job, "stdout"), (3, 0));
}

#[test]
fn the_founding_documents_form_is_appended() {
    let Running {
        server: _server,
        admin,
        agent,
        id,
    } = running();
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
    let Running {
        server: _server,
        admin,
        agent,
        id,
    } = running();
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
fn every_fault_of_a_chunk_is_named() {
    let Running {
        server: _server,
        admin,
        agent,
        id,
    } = running();
    let refused = agent
        .output_call(
            &id,
            &json!({"chunks": [
                {"stream": "stdout", "offset": 0, "data": "ok"},
                {"stream": "stdout", "offset": 0},
                {"stream": "stdout", "offset": 0, "data": "a", "dataBase64": "YQ=="},
                {"stream": "stderr", "offset": 0, "dataBase64": "%%%"},
                {"stream": "stderr", "offset": 9_007_199_254_740_992_u64, "data": "a"},
            ]}),
        )
        .gives(400);
    let expected = [
        "chunks[1].data",
        "chunks[2].data",
        "chunks[3].dataBase64",
        "chunks[4].offset",
    ];
    assert_eq!(refused.fields(), expected);
    for bad in [
        json!({"chunks": [{"stream": "stdin", "offset": 0, "data": "a"}]}),
        json!({"chunks": [{"stream": "stdout", "offset": -1, "data": "a"}]}),
        json!({"chunks": [{"stream": "stdout", "offset": 0.5, "data": "a"}]}),
        json!({"chunks": [{"stream": "stdout", "offset": 1e300, "data": "a"}]}),
        json!({"chunks": [{"stream": "stdout", "offset": "0", "data": "a"}]}),
        json!({"chunks": [{"offset": 0, "data": "a"}]}),
        json!({"chunks": {"stream": "stdout"}}),
        json!({"stdout": 7}),
        json!([]),
        json!(null),
    ] {
        agent.output_call(&id, &bad).gives(400);
    }
    // A refused call stores nothing.
    assert_eq!(admin.job(&id)["stdout"], "");
    // Fields of a newer agent are ignored.
    let newer = json!({"chunks": [{"stream": "stdout", "offset": 0, "data": "a", "colour": "red"}], "x": 1});
    agent.output_call(&id, &newer).ok();
    // The largest offset.
    let last = 9_007_199_254_740_991_u64;
    assert_eq!(agent.say(&id, last, "z").count("stdoutBytes"), last + 1);
    assert_eq!(counts(&admin.job(&id), "stdout"), (last + 1, last - 1));
}

#[test]
fn the_tail_is_exactly_4_mib_by_default() {
    const TAIL: usize = 4_194_304;
    let Running {
        server: _server,
        admin,
        agent,
        id,
    } = running();
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
        let Running {
            server: _server,
            admin,
            agent,
            id,
        } = running_with_a_small_tail();
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
    let Running {
        server: _server,
        admin,
        agent,
        id,
    } = running_with_a_small_tail();
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
    let Running {
        server: _server,
        admin,
        agent,
        id,
    } = running_with_a_small_tail();
    agent.output(&id, &[chunk("stderr", 0, "first\n")]);
    agent.say(&id, 0, &numbered(200_000));
    assert_eq!(admin.job(&id)["stderr"], "first\n");
    assert_eq!(admin.log(&id, "stderr"), b"first\n");
}

#[test]
fn both_streams_are_in_the_order_in_which_they_were_read() {
    let Running {
        server: _server,
        admin,
        agent,
        id,
    } = running();
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
    let Running {
        server: _server,
        admin,
        agent,
        id,
    } = running();
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
fn only_the_claiming_instance_may_send_output() {
    let Running {
        server: _server,
        admin,
        agent,
        id,
    } = running();
    let chunks = json!({"chunks": [chunk("stdout", 0, "mine")]});
    for other in [agent.instance("two"), agent.founding()] {
        other
            .output_call(&id, &chunks)
            .refused(409, "not_your_claim");
        other
            .complete(&id, &json!({"exitCode": 0}))
            .refused(409, "not_your_claim");
    }
    agent.output_call(&id, &chunks).ok();
    agent.succeed(&id);

    // A claim without an instance accepts both.
    let id = admin.queue("n1");
    assert_eq!(agent.founding().claim_id(), id);
    agent.output_call(&id, &chunks).ok();
    agent
        .instance("two")
        .output(&id, &[chunk("stdout", 4, "!")]);
    agent.founding().output(&id, &[chunk("stdout", 5, "?")]);
    agent.succeed(&id);
    assert_eq!(admin.job(&id)["stdout"], "mine!?");
}

#[test]
fn only_running_jobs_accept_output() {
    let Running {
        server: _server,
        admin,
        agent,
        id,
    } = running();
    let chunks = json!({"chunks": [chunk("stdout", 0, "late")]});
    agent.complete(&id, &json!({"exitCode": 3})).ok();
    agent.output_call(&id, &chunks).gives(409);
    let queued = admin.queue("n1");
    agent.output_call(&queued, &chunks).gives(409);
    admin.cancel(&queued).gives(200);
    agent.output_call(&queued, &chunks).gives(409);
    let unknown = "00000000-0000-7000-8000-000000000000";
    agent
        .output_call(unknown, &chunks)
        .refused(404, "job_not_found");
    assert_eq!(admin.job(&id)["stdout"], "");
}

#[test]
fn a_compressed_body_is_decompressed() {
    let Running {
        server: _server,
        admin,
        agent,
        id,
    } = running();
    let send = |offset: u64, text: &str, encoding: &str, pack: bool| {
        let body = json!({"chunks": [chunk("stdout", offset, text)]}).to_string();
        let bytes = if pack {
            gzip(body.as_bytes())
        } else {
            body.into()
        };
        agent
            .call("POST", &format!("/api/jobs/{id}/output?agent=one"))
            .header("content-encoding", encoding)
            .body("application/json", bytes)
            .send()
    };
    send(0, "packed", "gzip", true).is(200);
    send(6, " plain", "identity", false).is(200);
    send(12, "?", "gzip", false).is(400);
    send(12, "?", "br", false).is(415);
    assert_eq!(admin.job(&id)["stdout"], "packed plain");
}

#[test]
fn a_body_has_at_most_8_mib_compressed_or_not() {
    let Running {
        server: _server,
        admin,
        agent,
        id,
    } = running();
    let path = format!("/api/jobs/{id}/output?agent=one");
    let body = |bytes: usize| {
        let around = json!({"chunks": [chunk("stdout", 0, "")]})
            .to_string()
            .len();
        json!({"chunks": [chunk("stdout", 0, &"a".repeat(bytes - around))]}).to_string()
    };
    let send = |bytes: Vec<u8>, encoding: Option<&str>| {
        let mut call = agent.call("POST", &path);
        if let Some(encoding) = encoding {
            call = call.header("content-encoding", encoding);
        }
        call.body("application/json", bytes).send()
    };
    assert_eq!(body(1_000).len(), 1_000);
    assert_eq!(
        send(body(BODY_MAX + 1).into(), None).is(413).code(),
        "too_large"
    );
    assert_eq!(
        send(gzip(body(BODY_MAX + 1).as_bytes()), Some("gzip"))
            .is(413)
            .code(),
        "too_large"
    );
    // A bomb: a small body that decompresses to a large one.
    let bomb = gzip(&vec![b' '; 512 * 1024 * 1024]);
    assert!(bomb.len() < BODY_MAX, "{}", bomb.len());
    send(bomb, Some("gzip")).is(413);
    assert_eq!(agent.where_to_go_on(&id), (0, 0));
    send(gzip(body(BODY_MAX).as_bytes()), Some("gzip")).is(200);
    let (kept, _) = agent.where_to_go_on(&id);
    send(body(BODY_MAX).into(), None).is(200);
    assert_eq!(agent.where_to_go_on(&id), (kept, 0), "the same again");
    assert_eq!(counts(&admin.job(&id), "stdout"), (kept, kept - 4_194_304));
}

#[test]
fn a_body_without_a_length_is_also_bounded() {
    let Running {
        server, agent, id, ..
    } = running();
    let mut raw = Raw::open(&server);
    raw.write(format!(
        "POST /api/jobs/{id}/output?agent=one HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        agent.token
    ));
    let piece = [b"10000\r\n".to_vec(), vec![b' '; 0x10000], b"\r\n".to_vec()].concat();
    for _ in 0..=BODY_MAX / 0x10000 {
        if !raw.may_write(&piece) {
            break;
        }
    }
    raw.may_write("0\r\n\r\n");
    assert_eq!(raw.status(), 413);
}

#[test]
fn an_agent_flushes_faster_while_somebody_watches() {
    let Running {
        server: _server,
        admin,
        agent,
        id,
    } = running();
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
fn interleaved_streams_keep_their_order_and_chunks_per_call_are_limited() {
    const CHUNKS_MAX: u64 = 16_384;
    let Running {
        server: _server,
        admin,
        agent,
        id,
    } = running();
    let turns = |from: u64, count: u64| -> Vec<Value> {
        let turn = |number: u64| match number % 2 {
            0 => chunk("stdout", number / 2, "o"),
            _ => chunk("stderr", number / 2, "e"),
        };
        (from..from + count).map(turn).collect()
    };
    let refused = agent.output_call(&id, &json!({"chunks": turns(0, CHUNKS_MAX + 1)}));
    refused.refused(413, "too_many_chunks");
    assert_eq!(agent.where_to_go_on(&id), (0, 0));
    agent.output(&id, &turns(0, CHUNKS_MAX));
    agent.output(&id, &turns(CHUNKS_MAX, 2));
    let bytes = CHUNKS_MAX / 2 + 1;
    assert_eq!(agent.where_to_go_on(&id), (bytes, bytes));
    assert!(admin.log(&id, "both") == b"oe".repeat(bytes as usize));
}

#[test]
fn operators_read_the_output_as_text() {
    let Running {
        server,
        admin,
        agent,
        id,
    } = running_with_a_small_tail();
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
    let Running {
        mut server,
        agent,
        id,
        ..
    } = running();
    for number in 0..20_u64 {
        agent.say(&id, number * 2, "x\n");
    }
    server.kill9();
    server.start_again();
    assert_eq!(agent.at(&server).where_to_go_on(&id), (40, 0));
    assert_eq!(server.admin().log(&id, "stdout"), b"x\n".repeat(20));
}
