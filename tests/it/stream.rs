//! The live stream of one job: how it opens, what it pushes, and when it ends.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Event, FakeAgent, Field, PASSWORD, Person, Raw, Server, Sse, bytes_chunk, chunk, eventually,
    with_node,
};

pub(crate) fn ready_on(mut server: Server) -> (Server, Person, FakeAgent) {
    let admin = server.admin();
    let agent = admin.add_node("n1");
    (server, admin, agent)
}

pub(crate) fn open(person: &Person, id: &str) -> Sse {
    person.get(&format!("/api/jobs/{id}/stream")).open()
}

pub(crate) fn resume(person: &Person, id: &str, last: &str) -> Sse {
    person
        .get(&format!("/api/jobs/{id}/stream"))
        .header("last-event-id", last)
        .open()
}

/// The output that a viewer has received; no byte may arrive twice.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Received {
    pub(crate) stdout: Text,
    pub(crate) stderr: Text,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) end: u64,
    /// Gaps in the output: the offset, and the number of missing bytes.
    pub(crate) gaps: Vec<(u64, u64)>,
}

impl Received {
    #[track_caller]
    pub(crate) fn push(&mut self, event: &Event) {
        if event.name != "output" {
            return;
        }
        let (offset, end) = (event.data.count("offset"), event.data.count("end"));
        let data = event.data.field("data");
        let received = match event.data.field("stream").as_str() {
            "stdout" => &mut self.stdout,
            "stderr" => &mut self.stderr,
            other => panic!("not a stream: {other}"),
        };
        assert!(
            offset >= received.end,
            "twice: {event:?} after {}",
            received.end
        );
        assert!(end > offset, "empty: {event:?}");
        if !data.contains('\u{fffd}') {
            assert_eq!(data.len() as u64, end - offset, "{event:?}");
        }
        if offset > received.end {
            received.gaps.push((received.end, offset - received.end));
        }
        received.text.push_str(&data);
        received.end = end;
    }

    #[track_caller]
    pub(crate) fn of(events: &[Event]) -> Self {
        let mut received = Self::default();
        events.iter().for_each(|event| received.push(event));
        received
    }
}

pub(crate) fn statuses(events: &[Event]) -> Vec<String> {
    let of_status = events.iter().filter(|event| event.name == "status");
    of_status.map(|event| event.data.field("status")).collect()
}

#[test]
fn the_stream_follows_a_job_from_the_queue_to_its_end() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    let answer = admin.get(&format!("/api/jobs/{id}")).ok();
    assert_eq!(answer["status"], "QUEUED");
    let mut stream = open(&admin, &id);
    let first = stream.next();
    assert_eq!(stream.retry, Some(1000));
    assert_eq!(first.name, "status");
    let expected = json!({"status": "QUEUED", "startedAt": null, "cancelRequestedAt": null});
    assert_eq!(first.data, expected);

    agent.claim();
    let status = stream.next();
    let started = admin.job(&id)["startedAt"].clone();
    let expected = json!({"status": "RUNNING", "startedAt": started, "cancelRequestedAt": null});
    assert_eq!((status.name.as_str(), &status.data), ("status", &expected));

    agent.say(&id, 0, "one\n");
    let expected = json!({"stream": "stdout", "offset": 0, "end": 4, "data": "one\n"});
    let output = stream.next();
    assert_eq!((output.name.as_str(), &output.data), ("output", &expected));
    agent.output(&id, &[chunk("stderr", 0, "oops\n")]);
    let expected = json!({"stream": "stderr", "offset": 0, "end": 5, "data": "oops\n"});
    assert_eq!(stream.next().data, expected);

    admin.cancel(&id).gives(202);
    let asked = admin.job(&id)["cancelRequestedAt"].clone();
    let expected = json!({"status": "RUNNING", "startedAt": started, "cancelRequestedAt": asked});
    assert_eq!(stream.next().data, expected);

    agent
        .complete(&id, &json!({"exitCode": 7, "errorMsg": "no"}))
        .ok();
    let done = stream.until_done().pop().expect("done");
    let finished = admin.job(&id)["finishedAt"].clone();
    let expected =
        json!({"status": "FAILED", "exitCode": 7, "errorMsg": "no", "finishedAt": finished});
    assert_eq!(done.data, expected);
}

#[test]
fn the_stream_opens_with_the_kept_tail() {
    let (_server, admin, agent) = ready_on(Server::with(&[("HYPRBOX_STDOUT_MAX_BYTES", "65536")]));
    let id = admin.queue("n1");
    agent.claim();
    let text: String = (0..20_000).map(|n| format!("{n:07}\n")).collect();
    for (index, part) in text.as_bytes().chunks(50_001).enumerate() {
        agent.output(&id, &[bytes_chunk("stdout", index as u64 * 50_001, part)]);
    }
    agent.output(&id, &[chunk("stderr", 0, "beside\n")]);
    let tail = &text[text.len() - 65_536..];
    let check = |received: &Received| {
        assert!(
            received.stdout.text == tail,
            "not the kept tail: {} bytes",
            received.stdout.text.len()
        );
        assert_eq!(received.stdout.gaps, [(0, text.len() as u64 - 65_536)]);
        assert_eq!(received.stderr.text, "beside\n");
    };
    let mut stream = open(&admin, &id);
    let mut received = Received::default();
    while received.stdout.end < text.len() as u64 || received.stderr.end < 7 {
        received.push(&stream.next());
    }
    check(&received);
    drop(stream);
    agent.succeed(&id);
    // A viewer who connects after the end receives the same, and `done`.
    let events = open(&admin, &id).until_done();
    assert_eq!(events[0].name, "status");
    assert_eq!(statuses(&events), ["SUCCEEDED"]);
    check(&Received::of(&events));
}

#[test]
fn a_job_without_output_sends_a_status_and_done() {
    let (_server, admin, _agent) = with_node();
    let id = admin.queue("n1");
    admin.cancel(&id).gives(200);
    let events = open(&admin, &id).until_done();
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["status", "done"]);
    assert_eq!(events[1].data["status"], "CANCELLED");
}

#[test]
fn characters_are_sent_whole() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let mut stream = open(&admin, &id);
    stream.until(|event| event.data["status"] == "RUNNING");
    // Characters split by chunks, by calls, and by the other stream; then bytes that are not UTF-8.
    agent.output(
        &id,
        &[
            bytes_chunk("stdout", 0, b"h\xc3"),
            bytes_chunk("stderr", 0, b"\xe2"),
        ],
    );
    agent.output(
        &id,
        &[
            bytes_chunk("stderr", 1, b"\x82"),
            bytes_chunk("stdout", 2, b"\xa9"),
        ],
    );
    agent.output(
        &id,
        &[
            bytes_chunk("stdout", 3, b"llo "),
            bytes_chunk("stderr", 2, b"\xac!"),
        ],
    );
    agent.output(
        &id,
        &[
            bytes_chunk("stdout", 7, b"\xff\xfe"),
            bytes_chunk("stdout", 9, b"\xf0\x9f"),
        ],
    );
    agent.output(&id, &[bytes_chunk("stdout", 11, b"\x92\xa5")]);
    agent.output(&id, &[bytes_chunk("stdout", 13, b"\xf0\x9f")]);
    agent.succeed(&id);
    let events = stream.until_done();
    for received in [
        Received::of(&events),
        Received::of(&open(&admin, &id).until_done()),
    ] {
        // The last character was never completed.
        assert_eq!(
            received.stdout.text,
            "h\u{e9}llo \u{fffd}\u{fffd}\u{1f4a5}\u{fffd}"
        );
        assert_eq!((received.stdout.end, &received.stdout.gaps), (15, &vec![]));
        assert_eq!(
            (received.stderr.text.as_str(), received.stderr.end),
            ("\u{20ac}!", 4)
        );
    }
    for event in events.iter().filter(|event| event.name == "output") {
        let data = event.data.field("data");
        let replaced = data.matches('\u{fffd}').count();
        assert!(
            replaced == 0 || event.data["stream"] == "stdout",
            "{event:?}"
        );
    }
}

#[test]
fn a_gap_shows_as_an_offset_past_the_end() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let mut stream = open(&admin, &id);
    stream.until(|event| event.data["status"] == "RUNNING");
    agent.say(&id, 0, "before");
    agent.say(&id, 100, "after");
    agent.succeed(&id);
    for events in [stream.until_done(), open(&admin, &id).until_done()] {
        let received = Received::of(&events);
        assert_eq!(received.stdout.text, "beforeafter");
        assert_eq!(received.stdout.gaps, [(6, 94)]);
    }
}

#[test]
fn an_operators_changes_reach_open_streams() {
    let (server, admin, agent) = with_node();
    let (running, queued) = (admin.queue("n1"), admin.queue("n1"));
    agent.claim();
    let mut streams = [open(&admin, &running), open(&admin, &queued)];
    for stream in &mut streams {
        stream.next();
    }
    let now = server.database().now();
    let changed = server.database().execute(&format!(
        "UPDATE jobs SET status='FAILED', error_msg='agent disappeared', finished_at={now} \
         WHERE id='{running}' AND status='RUNNING'"
    ));
    assert_eq!(changed, 1);
    let mut next = |index: usize| {
        let stream: &mut Sse = &mut streams[index];
        stream.next()
    };
    let done = next(0);
    assert_eq!(done.name, "done");
    assert_eq!(done.data["status"], "FAILED");
    assert_eq!(done.data["errorMsg"], "agent disappeared");
    server.database().execute(&format!(
        "UPDATE jobs SET status='RUNNING', started_at={now} WHERE id='{queued}'"
    ));
    let status = next(1);
    assert_eq!(
        (status.name.as_str(), &status.data["status"]),
        ("status", &json!("RUNNING"))
    );
    server.database().execute(&format!(
        "UPDATE jobs SET status='CANCELLED', finished_at={now} WHERE id='{queued}'"
    ));
    let done = next(1);
    assert_eq!(
        (done.name.as_str(), &done.data["status"]),
        ("done", &json!("CANCELLED"))
    );
    assert_eq!(streams[0].next_or_end(), None);
    assert_eq!(streams[1].next_or_end(), None);
}

#[test]
fn a_lost_lease_ends_the_stream() {
    let (_server, admin, agent) = ready_on(Server::with(&[("HYPRBOX_LEASE_SECONDS", "3")]));
    let id = admin.queue("n1");
    agent.claim();
    let done = open(&admin, &id).until_done().pop().expect("done");
    assert_eq!(done.data["status"], "FAILED");
    assert_eq!(done.data["errorMsg"], "agent disappeared");
    // After a late completion, new viewers receive the real result.
    agent.succeed(&id);
    let done = open(&admin, &id).until_done().pop().expect("done");
    assert_eq!(done.data["status"], "SUCCEEDED");
    assert_eq!(done.data["errorMsg"], Value::Null);
}

#[test]
fn a_stream_ends_with_the_credentials_that_opened_it() {
    let (mut server, admin, _agent) = with_node();
    let ann = server.person("ann", "OPERATOR");
    let id = ann.queue("n1");
    let again = |server: &Server| server.login(&ann.email, PASSWORD);
    let open_both = |person: &Person| {
        let mut both = [open(person, &id), person.get("/api/events").open()];
        both.iter_mut().for_each(|stream| {
            stream.next();
        });
        both
    };
    let path = format!("/api/users/{}", ann.id);

    let mut of_admin = admin
        .get(&format!("/api/jobs/{id}/stream?scope=all"))
        .open();
    of_admin.next();
    let session = again(&server);
    let both = open_both(&session);
    session.call("POST", "/api/auth/logout").gives(204);
    both.into_iter().for_each(|mut stream| stream.ends());

    let session = again(&server);
    let made = session
        .post("/api/auth/tokens", &json!({"name": "ci"}))
        .gives(201);
    let script = session.with_token(&made.json().field("token"));
    let both = open_both(&script);
    let token = format!("/api/auth/tokens/{}", made.json().field("id"));
    session.delete(&token).gives(204);
    both.into_iter().for_each(|mut stream| stream.ends());

    let session = again(&server);
    let both = open_both(&session);
    admin
        .call("PATCH", &path)
        .json(&json!({"role": "VIEWER"}))
        .ok();
    both.into_iter().for_each(|mut stream| stream.ends());

    let session = again(&server);
    let both = open_both(&session);
    admin.delete(&path).gives(204);
    both.into_iter().for_each(|mut stream| stream.ends());

    // Another user's stream stays open all the while.
    admin
        .call("POST", &format!("/api/jobs/{id}/cancel?scope=all"))
        .ok();
    of_admin.until_done();
}

#[test]
fn a_silent_stream_sends_keepalive_comments() {
    let (_server, admin, _agent) = with_node();
    let id = admin.queue("n1");
    let mut streams = [open(&admin, &id), admin.get("/api/events").open()];
    // The node is OFFLINE and the job waits, so that only the comments arrive, every 15 s.
    for stream in &mut streams {
        eventually("a comment", || {
            let _event = stream.next_within(Duration::from_millis(100));
            (stream.comments > 0).then_some(())
        });
    }
}

#[test]
fn streams_are_not_cached_and_not_buffered() {
    let (server, admin, _agent) = with_node();
    let id = admin.queue("n1");
    let mut raw = Raw::open(&server);
    raw.write(format!(
        "GET /api/jobs/{id}/stream HTTP/1.1\r\nHost: x\r\nCookie: hb_token={}\r\n\r\n",
        admin.token
    ));
    let head = raw.head().to_lowercase();
    assert!(
        head.contains("content-type: text/event-stream\r\n"),
        "{head}"
    );
    assert!(
        head.contains("cache-control: ") && head.contains("no-store"),
        "{head}"
    );
}
