//! How the live stream of one job resumes: after each event, in the middle of a run, and after a
//! crash of the server.

use serde_json::json;

use crate::harness::{Event, FakeAgent, Person, bytes_chunk, chunk, with_node};
use crate::stream::{Received, open, resume, statuses};

/// A run of a job with states, both streams, split characters, a gap and a cancel.
/// `after` is called after each step.
fn eventful_run(admin: &Person, agent: &FakeAgent, id: &str, mut after: impl FnMut()) {
    let steps: [&dyn Fn(); 8] = [
        &|| {
            agent.claim();
        },
        &|| {
            agent.output(
                id,
                &[
                    chunk("stdout", 0, "one\n"),
                    chunk("stderr", 0, "two\n"),
                    chunk("stdout", 4, "three\n"),
                ],
            );
        },
        &|| {
            agent.output(id, &[bytes_chunk("stdout", 10, b"caf\xc3")]);
        },
        &|| {
            agent.output(
                id,
                &[
                    chunk("stderr", 4, "beside\n"),
                    bytes_chunk("stdout", 14, b"\xa9\n"),
                ],
            );
        },
        &|| {
            admin.cancel(id).gives(202);
        },
        &|| {
            agent.output(id, &[chunk("stdout", 20, "after a gap\n")]);
        },
        &|| {
            agent.output(id, &[bytes_chunk("stderr", 11, b"\xe2\x82")]);
        },
        &|| {
            let report = json!({"exitCode": 143, "cancelled": true});
            agent.complete(id, &report).ok();
        },
    ];
    for step in steps {
        step();
        after();
    }
}

/// The output that remains to be sent after the event at `index`.
fn rest_after(events: &[Event], index: usize) -> Received {
    let mut before = Received::of(&events[..=index]);
    before.stdout.text.clear();
    before.stderr.text.clear();
    before.stdout.gaps.clear();
    before.stderr.gaps.clear();
    events[index + 1..]
        .iter()
        .for_each(|event| before.push(event));
    before
}

#[test]
fn every_id_resumes_right_after_its_event() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    let mut stream = open(&admin, &id);
    let mut events = vec![stream.next()];
    // Each step is received before the next one, so that the recorded stream has an event for
    // each.
    let mut steps = 0;
    eventful_run(&admin, &agent, &id, || {
        steps += 1;
        if steps < 7 {
            events.push(stream.next());
        }
    });
    events.extend(stream.until_done());
    let whole = Received::of(&events);
    assert_eq!(whole.stdout.text, "one\nthree\ncaf\u{e9}\nafter a gap\n");
    assert_eq!(whole.stderr.text, "two\nbeside\n\u{fffd}");
    assert!(events.len() >= 11, "{events:#?}");
    assert_eq!(statuses(&events), ["QUEUED", "RUNNING", "RUNNING"]);
    for (index, event) in events.iter().enumerate() {
        let resumed = resume(&admin, &id, &event.id).until_done();
        let mut received = Received::of(&events[..=index]);
        received.stdout.text.clear();
        received.stderr.text.clear();
        received.stdout.gaps.clear();
        received.stderr.gaps.clear();
        resumed.iter().for_each(|event| received.push(event));
        assert_eq!(received, rest_after(&events, index), "after {event:?}");
        assert_eq!(
            resumed.last().map(|event| &event.data),
            events.last().map(|event| &event.data)
        );
        let early = resumed.len() - 1;
        assert!(resumed[..early].iter().all(|event| event.name != "done"));
    }
}

#[test]
fn a_state_committed_together_with_output_is_not_lost_on_resume() {
    let (server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let mut stream = open(&admin, &id);
    stream.until(|event| event.data["status"] == "RUNNING");
    // Both in one transaction, so that the server reads both at once.
    let (now, both) = (server.database().now(), server.database().bytes("both"));
    server.database().execute_all(&format!(
        "BEGIN;
         INSERT INTO chunks (job_id, stream, start_offset, position, arrived_at, data)
             VALUES ('{id}', 'stdout', 0, 0, {now}, {both});
         UPDATE jobs SET cancel_requested_at = {now}, position = 4, stdout_bytes = 4 WHERE id = '{id}';
         COMMIT;"
    ));
    let events = [stream.next(), stream.next()];
    assert_eq!(statuses(&events), ["RUNNING"]);
    let is_told = |event: &Event| event.data["cancelRequestedAt"].is_string();
    let first = resume(&admin, &id, &events[0].id).next();
    assert_eq!(first.data, events[1].data);
    assert!(is_told(&events[0]), "{events:?}");
}

#[test]
fn a_viewer_that_resumes_in_the_middle_of_a_run_misses_nothing() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    let mut whole = open(&admin, &id);
    let mut events = vec![whole.next()];
    let mut received = Received::default();
    let mut last = events[0].id.clone();
    let mut states = Vec::new();
    eventful_run(&admin, &agent, &id, || {
        // At every step the viewer connects, receives one event and is disconnected.
        let mut stream = resume(&admin, &id, &last);
        let event = stream.next();
        received.push(&event);
        states.extend(statuses(std::slice::from_ref(&event)));
        last = event.id;
    });
    let rest = resume(&admin, &id, &last).until_done();
    rest.iter().for_each(|event| received.push(event));
    events.extend(whole.until_done());
    assert_eq!(received, Received::of(&events));
    assert_eq!(states.first().map(String::as_str), Some("RUNNING"));
}

#[test]
fn an_unknown_id_starts_over() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    agent.say(&id, 0, "all of it\n");
    agent.succeed(&id);
    let from_the_start = open(&admin, &id).until_done();
    let other = admin.queue("n1");
    agent.claim();
    agent.say(&other, 0, &"x".repeat(1_000));
    agent.succeed(&other);
    let of_other = open(&admin, &other).until_done().pop().expect("done").id;
    for unknown in [
        "",
        "nonsense",
        "0",
        "-1",
        "r999999999-0",
        "99999999999999999999999999",
        "r1-1-1",
        &"9".repeat(5_000),
        &of_other,
    ] {
        let events = resume(&admin, &id, unknown).until_done();
        assert_eq!(events, from_the_start, "{unknown}");
    }
}

#[test]
fn a_viewer_misses_nothing_when_the_server_crashes() {
    let (mut server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let (mut agent, mut admin) = (agent, admin);
    let (mut received, mut last, mut written) = (Received::default(), String::new(), 0);
    for round in 0..4 {
        let mut stream = resume(&admin, &id, &last);
        for _ in 0..5 {
            let text = format!("round {round}, byte {written}\n");
            agent.say(&id, written, &text);
            written += text.len() as u64;
        }
        while received.stdout.end < written {
            let event = stream.next();
            received.push(&event);
            last = event.id;
        }
        // Written, but perhaps not sent before the crash.
        agent.say(&id, written, "unsent!\n");
        written += 8;
        server.kill9();
        stream.breaks();
        server.start_again();
        (agent, admin) = (agent.at(&server), server.admin());
    }
    agent.succeed(&id);
    resume(&admin, &id, &last)
        .until_done()
        .iter()
        .for_each(|event| received.push(event));
    assert_eq!(received.stdout.gaps, []);
    assert_eq!(received.stdout.text.as_bytes(), admin.log(&id, "stdout"));
    assert_eq!(received.stdout.end, written);
}
