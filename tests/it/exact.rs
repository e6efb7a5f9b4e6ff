//! A job's stream for programs: `?output=exact` has every byte, in the order of the log;
//! `?output=none` has no output.

use serde_json::json;

use crate::harness::{Event, FakeAgent, Person, Server, bytes_chunk, chunk, with_operator};

fn ready() -> (Server, Person, FakeAgent, String) {
    let (server, ann, agent) = with_operator();
    let id = ann.queue("n1");
    agent.claim();
    (server, ann, agent, id)
}

fn path(id: &str, output: &str) -> String {
    format!("/api/jobs/{id}/stream?output={output}")
}

/// The bytes of the `output` events.
fn bytes_of(events: &[Event]) -> Vec<u8> {
    let outputs = events.iter().filter(|event| event.name == "output");
    let chunk = |event: &Event| -> hyprbox_protocol::Chunk {
        serde_json::from_value(event.data.clone()).expect("a chunk")
    };
    outputs
        .flat_map(|event| chunk(event).into_bytes().expect("bytes"))
        .collect()
}

#[test]
fn every_byte_arrives_in_the_order_of_the_log() {
    let (_server, ann, agent, id) = ready();
    agent.output(
        &id,
        &[
            chunk("stdout", 0, "text\n"),
            // A split character with the other stream in between, and bytes that are not UTF-8.
            bytes_chunk("stdout", 5, b"h\xc3"),
            chunk("stderr", 0, "warning\n"),
            bytes_chunk("stdout", 7, b"\xa9\n\xff\xfe\0"),
        ],
    );
    let mut stream = ann.get(&path(&id, "exact")).open();
    let opening = stream.next();
    assert_eq!(
        (opening.name.as_str(), &opening.data["status"]),
        ("status", &json!("RUNNING"))
    );
    assert_eq!(opening.data["stdoutBytes"], 12);
    assert_eq!(opening.data["stderrBytes"], 8);
    let mut events = Vec::new();
    while bytes_of(&events).len() < 20 {
        events.push(stream.next());
    }
    assert_eq!(bytes_of(&events), ann.log(&id, "both"));
    agent.say(&id, 12, "live\n");
    events.push(stream.next());
    agent.succeed(&id);
    let end = stream.until_done();
    assert_eq!(end[0].data["exitCode"], 0);
    assert_eq!(end[0].data["stdoutBytes"], 17);
    assert_eq!(bytes_of(&events), ann.log(&id, "both"));
    // A viewer of the finished job receives the same.
    let events = ann.get(&path(&id, "exact")).open().until_done();
    assert_eq!(bytes_of(&events), ann.log(&id, "both"));
}

#[test]
fn the_stream_resumes_after_any_event_without_a_gap_or_a_repeated_byte() {
    let (_server, ann, agent, id) = ready();
    agent.output(
        &id,
        &[
            chunk("stdout", 0, "one\n"),
            chunk("stderr", 0, "two\n"),
            chunk("stdout", 4, "three\n"),
        ],
    );
    agent.succeed(&id);
    let all = ann.get(&path(&id, "exact")).open().until_done();
    for (at, event) in all.iter().enumerate() {
        let resumed = ann
            .get(&path(&id, "exact"))
            .header("last-event-id", &event.id);
        let received = bytes_of(&all[..=at]);
        let rest = bytes_of(&resumed.open().until_done());
        assert_eq!(
            [received, rest].concat(),
            ann.log(&id, "both"),
            "after {}",
            event.id
        );
    }
    for unknown in ["p999", "r4-4", "p-1", ""] {
        let again = ann
            .get(&path(&id, "exact"))
            .header("last-event-id", unknown);
        assert_eq!(
            bytes_of(&again.open().until_done()),
            ann.log(&id, "both"),
            "{unknown:?}"
        );
    }
}

#[test]
fn bytes_dropped_from_the_head_show_as_an_offset() {
    let mut server = Server::with(&[("HYPRBOX_STDOUT_MAX_BYTES", "65536")]);
    let ann = server.person("ann", "OPERATOR");
    let agent = server.admin().add_node("n1");
    let id = ann.queue("n1");
    agent.claim();
    agent.output(&id, &[chunk("stderr", 0, "kept\n")]);
    for at in 0..4 {
        agent.say(&id, at * 30_000, &"x".repeat(30_000));
    }
    agent.succeed(&id);
    let events = ann.get(&path(&id, "exact")).open().until_done();
    assert_eq!(bytes_of(&events), ann.log(&id, "both"));
    let first = events.iter().find(|event| event.data["stream"] == "stdout");
    assert_eq!(first.expect("stdout").data["offset"], 120_000 - 65_536);
    assert_eq!(events[0].data["stdoutDropped"], 120_000 - 65_536);
}

#[test]
fn output_none_sends_only_the_state() {
    let (server, ann, agent, id) = ready();
    let mut stream = ann.get(&path(&id, "none")).open();
    assert_eq!(stream.next().data["status"], "RUNNING");
    // Nobody watches the output, so that the agent may flush at leisure.
    assert_eq!(agent.say(&id, 0, "x\n")["flushMs"], 1_500);
    ann.cancel(&id).gives(202);
    assert!(stream.next().data["cancelRequestedAt"].is_string());
    agent
        .complete(
            &id,
            &json!({"exitCode": null, "signal": "SIGTERM", "cancelled": true}),
        )
        .ok();
    let done = stream.until_done();
    assert_eq!(done.len(), 1);
    assert_eq!(done[0].data["status"], "CANCELLED");
    // A row that an operator changed by hand is also sent.
    let id = ann.queue("n1");
    let mut stream = ann.get(&path(&id, "none")).open();
    assert_eq!(stream.next().data["status"], "QUEUED");
    server.database().execute(&format!(
        "UPDATE jobs SET status='FAILED', error_msg='by hand' WHERE id='{id}'"
    ));
    assert_eq!(stream.until_done()[0].data["errorMsg"], "by hand");
}

#[test]
fn other_values_are_refused_and_other_peoples_jobs_are_not_found() {
    let (mut server, ann, _agent, id) = ready();
    ann.get(&path(&id, "all")).refused(400, "bad_input");
    let bob = server.person("bob", "OPERATOR");
    bob.get(&path(&id, "exact")).refused(404, "job_not_found");
    let eve = server.person("eve", "VIEWER");
    let mut stream = eve.get(&format!("{}&scope=all", path(&id, "exact"))).open();
    stream.next();
    let admin = server.admin();
    let views = admin.audit(&format!("jobId={id}"));
    let by_eve = |entry: &&(String, String)| entry.0 == "eve@example.org" && entry.1 == "job.look";
    assert_eq!(views.iter().filter(by_eve).count(), 1, "{views:?}");
}
