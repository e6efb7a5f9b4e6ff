//! The live stream of one job: how it opens, what it pushes, how it resumes, and when it ends.

use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Event, FakeAgent, Field, PASSWORD, PATIENCE, Person, Raw, Server, Sse, bytes_chunk, chunk,
    eventually, with_node,
};

/// Longest wait for an operator's change: 5 s by the contract, doubled for a busy machine.
const FOREIGN_WITHIN: Duration = Duration::from_secs(10);

fn ready_on(mut server: Server) -> (Server, Person, FakeAgent) {
    let admin = server.admin();
    let agent = admin.add_node("n1");
    (server, admin, agent)
}

fn open(person: &Person, id: &str) -> Sse {
    person.get(&format!("/api/jobs/{id}/stream")).open()
}

fn resume(person: &Person, id: &str, last: &str) -> Sse {
    person
        .get(&format!("/api/jobs/{id}/stream"))
        .header("last-event-id", last)
        .open()
}

/// The output that a viewer has received; no byte may arrive twice.
#[derive(Debug, Clone, Default, PartialEq)]
struct Received {
    stdout: Text,
    stderr: Text,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Text {
    text: String,
    end: u64,
    /// Gaps in the output: the offset, and the number of missing bytes.
    gaps: Vec<(u64, u64)>,
}

impl Received {
    #[track_caller]
    fn push(&mut self, event: &Event) {
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
    fn of(events: &[Event]) -> Self {
        let mut received = Self::default();
        events.iter().for_each(|event| received.push(event));
        received
    }
}

fn statuses(events: &[Event]) -> Vec<String> {
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
fn a_slow_viewer_delays_nobody_and_skips_ahead() {
    const PARTS: u64 = 40;
    let (server, admin, agent) = ready_on(Server::with(&[("HYPRBOX_STDOUT_MAX_BYTES", "262144")]));
    let id = admin.queue("n1");
    agent.claim();
    let mut slow = std::net::TcpStream::connect(server.address()).expect("connects");
    slow.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let request = format!(
        "GET /api/jobs/{id}/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        admin.token
    );
    std::io::Write::write_all(&mut slow, request.as_bytes()).expect("writes");
    eventually("the slow viewer to connect", || {
        (agent.output(&id, &[])["flushMs"] == 50).then_some(())
    });
    let mut quick = open(&admin, &id);
    quick.until(|event| event.name == "status");
    let part = "0123456789abcdef".repeat(65_536);
    let size = part.len() as u64;
    // Far more than the sockets and queues in between can hold.
    let reading = std::thread::spawn(move || {
        let mut received = Received::default();
        while received.stdout.end < PARTS * size {
            received.push(&quick.next());
        }
        quick.until_done();
    });
    for number in 0..PARTS {
        agent.say(&id, number * size, &part);
    }
    agent.succeed(&id);
    reading.join().expect("the quick viewer received the end");

    let mut bytes = Vec::new();
    slow.read_to_end(&mut bytes).expect("a clean end");
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        text.contains("event: done"),
        "the slow one gets the end, too"
    );
    assert!(
        (bytes.len() as u64) < PARTS * size / 2,
        "it got {} bytes: everything was held for it",
        bytes.len()
    );
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
        stream
            .next_within(FOREIGN_WITHIN)
            .expect("within 5 s")
            .expect("an event")
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

#[test]
fn many_viewers_receive_the_same() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let viewers: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = open(&admin, &id);
            std::thread::spawn(move || Received::of(&stream.until_done()))
        })
        .collect();
    let mut offset = 0;
    for number in 0..200 {
        let text = format!("line {number}\n");
        agent.say(&id, offset, &text);
        offset += text.len() as u64;
    }
    agent.succeed(&id);
    let kept = String::from_utf8(admin.log(&id, "stdout")).expect("UTF-8");
    for viewer in viewers {
        let received = viewer.join().expect("received");
        assert_eq!(
            (received.stdout.text.as_str(), received.stdout.end),
            (kept.as_str(), offset)
        );
        assert_eq!(received.stdout.gaps, []);
    }
}

#[test]
fn a_crowd_that_joins_while_a_job_writes_misses_nothing() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let all_are_there = AtomicBool::new(false);
    let (stdout, viewers) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut stdout = String::new();
            for number in 0.. {
                let text = format!("caf\u{e9} {number}\n");
                let at = stdout.len() as u64;
                // The character is split, and the other stream comes between its bytes.
                let (head, tail) = text.as_bytes().split_at(4);
                agent.output(
                    &id,
                    &[
                        bytes_chunk("stdout", at, head),
                        chunk("stderr", number, "!"),
                        bytes_chunk("stdout", at + 4, tail),
                    ],
                );
                stdout.push_str(&text);
                if all_are_there.load(Ordering::Relaxed) {
                    break;
                }
            }
            agent.succeed(&id);
            stdout
        });
        let viewers: Vec<_> = (0..60)
            .map(|_| {
                let mut stream = open(&admin, &id);
                std::thread::spawn(move || stream.until_done())
            })
            .collect();
        all_are_there.store(true, Ordering::Relaxed);
        (writer.join().expect("written"), viewers)
    });
    for viewer in viewers {
        let events = viewer.join().expect("received");
        assert_eq!(
            (events[0].name.as_str(), statuses(&events)),
            ("status", vec!["RUNNING".to_owned()])
        );
        let received = Received::of(&events);
        assert_eq!(received.stdout.text, stdout);
        assert_eq!(received.stderr.end, stdout.lines().count() as u64);
        assert_eq!(
            (received.stdout.gaps, received.stderr.gaps),
            (vec![], vec![])
        );
    }
}

#[test]
fn times_and_lines_are_sent_on_request() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    agent.output(
        &id,
        &[
            chunk("stdout", 0, "one\ntwo\nthr"),
            chunk("stderr", 0, "x\n"),
        ],
    );
    let paths = [
        format!("/api/jobs/{id}/stream"),
        format!("/api/jobs/{id}/stream?times=true"),
        format!("/api/events?job={id}&times=true"),
    ];
    let mut streams: Vec<_> = paths.iter().map(|path| admin.get(path).open()).collect();
    let is_output = |event: &Event| event.name == "output";
    let mut kept = Vec::new();
    for stream in &mut streams {
        kept.push(stream.until(is_output).pop().expect("output").data);
        stream.until(is_output);
    }
    // New output is encoded once for all viewers.
    agent.say(&id, 11, "ee\nfour\n");
    let new = streams
        .iter_mut()
        .map(|stream| stream.until(is_output).pop());
    let new: Vec<Value> = new.map(|event| event.expect("output").data).collect();
    assert_eq!(
        kept[0],
        json!({"stream": "stdout", "offset": 0, "end": 11, "data": "one\ntwo\nthr"})
    );
    assert_eq!(
        new[0],
        json!({"stream": "stdout", "offset": 11, "end": 19, "data": "ee\nfour\n"})
    );
    for index in [1, 2] {
        assert_eq!(kept[index]["line"], 1);
        assert_eq!(
            new[index]["line"], 4,
            "as many had begun with its first byte"
        );
        assert_eq!(new[index]["at"], new[1]["at"]);
        assert!(kept[index].field("at") <= new[index].field("at"));
        assert_eq!(new[index]["data"], new[0]["data"]);
    }
    for path in &paths[1..] {
        let path = path.replace("times=true", "times=1");
        assert_eq!(admin.get(&path).gives(400).fields(), ["times"]);
    }
}
