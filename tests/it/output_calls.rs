//! Which calls with output are accepted: whose, for which jobs, compressed or not, and how large.

use serde_json::{Value, json};

use crate::harness::{Field, Raw, chunk};
use crate::output::{counts, gzip, running};

/// The limit of a request's body.
const BODY_MAX: usize = 8 * 1024 * 1024;

#[test]
fn only_the_claiming_instance_may_send_output() {
    let (_server, admin, agent, id) = running();
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
    let (_server, admin, agent, id) = running();
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
    let (_server, admin, agent, id) = running();
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
    let (_server, admin, agent, id) = running();
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
    let (server, _admin, agent, id) = running();
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
fn interleaved_streams_keep_their_order_and_chunks_per_call_are_limited() {
    const CHUNKS_MAX: u64 = 16_384;
    let (_server, admin, agent, id) = running();
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
fn every_fault_of_a_chunk_is_named() {
    let (_server, admin, agent, id) = running();
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
