//! The stream of a whole dashboard: nodes, jobs, and the output of the jobs that it names.

use serde_json::{Value, json};

use crate::harness::{Event, Field, Person, Sse, chunk, eventually, with_node};

/// The first event with this status of the job.
fn job_is(stream: &mut Sse, id: &str, status: &str) -> Event {
    let is = |event: &Event| {
        event.name == "job" && event.data["id"] == id && event.data["status"] == status
    };
    stream.until(is).pop().expect("the event")
}

fn node_is(stream: &mut Sse, id: &str, field: &str, value: &Value) -> Event {
    let is = |event: &Event| {
        event.name == "node" && event.data["id"] == id && event.data[field] == *value
    };
    stream.until(is).pop().expect("the event")
}

/// The events that a stream opens with, up to the one that `fence` causes.
fn opening(person: &Person, query: &str, fence: impl FnOnce()) -> Vec<Event> {
    let mut stream = person.get(&format!("/api/events{query}")).open();
    let first = stream.next();
    assert_eq!(stream.retry, Some(1000));
    fence();
    let is_fence = |event: &Event| event.name == "node" && event.data["id"] == "fence";
    let mut events = vec![first];
    events.extend(stream.until(is_fence));
    events.pop();
    events
}

#[test]
fn a_deleted_node_is_reported_also_to_clients_that_were_away() {
    let (_server, admin, _agent) = with_node();
    let mut stream = admin.get("/api/events").open();
    let before = node_is(&mut stream, "n1", "status", &json!("OFFLINE")).id;
    admin.delete("/api/nodes/n1").gives(204);
    let is_deletion = |event: &Event| event.name == "node-gone";
    let deleted = stream.until(is_deletion).pop().expect("the event");
    assert_eq!(deleted.data, json!({"id": "n1"}));

    let again = admin.get("/api/events").header("last-event-id", &before);
    let mut again = again.open();
    let deleted = again.until(is_deletion).pop().expect("the event");
    assert_eq!(deleted.data, json!({"id": "n1"}));
}

#[test]
fn the_stream_opens_with_nodes_and_unfinished_jobs() {
    let (_server, admin, agent) = with_node();
    admin.add_node("n2");
    let (ended, running, queued) = (admin.queue("n1"), admin.queue("n1"), admin.queue("n2"));
    agent.claim();
    agent.succeed(&ended);
    agent.claim();
    let events = opening(&admin, "", || {
        admin.add_node("fence");
    });
    let of = |name: &str| -> Vec<Value> {
        let named = events.iter().filter(|event| event.name == name);
        named.map(|event| event.data.clone()).collect()
    };
    let nodes = of("node");
    for id in ["n1", "n2"] {
        let shown = admin.get(&format!("/api/nodes/{id}")).ok();
        assert!(nodes.contains(&shown), "{shown} is not among {nodes:#?}");
    }
    let mut jobs = of("job");
    jobs.dedup();
    assert_eq!(jobs.len(), 2, "{jobs:#?}");
    let listed = admin.get("/api/jobs").ok().list("jobs");
    for id in [&running, &queued] {
        let summary = listed.iter().find(|job| job["id"] == **id).expect("listed");
        assert!(jobs.contains(summary), "{summary} is not among {jobs:#?}");
    }
    assert!(of("output").is_empty());
}

#[test]
fn changes_of_jobs_and_nodes_are_sent() {
    let (_server, admin, agent) = with_node();
    let mut stream = admin.get("/api/events").open();
    node_is(&mut stream, "n1", "status", &json!("OFFLINE"));
    agent.beat();
    node_is(&mut stream, "n1", "status", &json!("ONLINE"));
    let id = admin.queue("n1");
    job_is(&mut stream, &id, "QUEUED");
    node_is(&mut stream, "n1", "queuedJobs", &json!(1));
    agent.claim();
    job_is(&mut stream, &id, "RUNNING");
    node_is(&mut stream, "n1", "runningJobId", &json!(id));
    admin.cancel(&id).gives(202);
    let asked = stream.until(|event| event.data["cancelRequestedAt"].is_string());
    assert_eq!(
        asked.last().map(|event| &event.data["id"]),
        Some(&json!(id))
    );
    agent
        .complete(&id, &json!({"exitCode": 143, "cancelled": true}))
        .ok();
    let end = job_is(&mut stream, &id, "CANCELLED");
    let summary = admin.get("/api/jobs").ok()["jobs"][0].clone();
    assert_eq!(end.data, summary);
    agent
        .heartbeat(&json!({"instance": "one", "stopping": true, "intervalSeconds": 30}))
        .ok();
    node_is(&mut stream, "n1", "status", &json!("OFFLINE"));
}

/// The received output of a job; no byte may be lost or arrive twice.
#[derive(Debug, Default, PartialEq)]
struct Received {
    text: String,
    end: u64,
}

impl Received {
    #[track_caller]
    fn push(&mut self, event: &Event, id: &str, stream: &str) {
        let is_it = event.data["jobId"] == id && event.data["stream"] == stream;
        if event.name == "output" && is_it {
            let offset = event.data.count("offset");
            assert_eq!(offset, self.end, "lost or twice: {event:?}");
            self.text.push_str(&event.data.field("data"));
            self.end = event.data.count("end");
        }
    }
}

#[test]
fn output_is_sent_only_for_named_jobs() {
    let (_server, admin, agent) = with_node();
    let other = admin.add_node("n2");
    let (first, second, silent) = (admin.queue("n1"), admin.queue("n2"), admin.add_node("n3"));
    let unnamed = admin.queue("n3");
    agent.claim();
    other.claim();
    silent.claim();
    agent.say(&first, 0, "kept ");
    silent.say(&unnamed, 0, "unheard");
    let mut stream = admin
        .get(&format!("/api/events?job={first}&job={second}"))
        .open();
    let mut received = [
        Received::default(),
        Received::default(),
        Received::default(),
    ];
    let mut follow = |stream: &mut Sse, until: [u64; 3]| {
        while received[0].end < until[0] || received[1].end < until[1] || received[2].end < until[2]
        {
            let event = stream.next();
            assert_ne!(event.data["jobId"], unnamed, "{event:?}");
            received[0].push(&event, &first, "stdout");
            received[1].push(&event, &first, "stderr");
            received[2].push(&event, &second, "stdout");
        }
    };
    follow(&mut stream, [5, 0, 0]);
    agent.output(
        &first,
        &[chunk("stderr", 0, "oops"), chunk("stdout", 5, "new")],
    );
    other.say(&second, 0, "other");
    silent.say(&unnamed, 7, "still");
    follow(&mut stream, [8, 4, 5]);
    let texts = received.map(|received| received.text);
    assert_eq!(texts, ["kept new", "oops", "other"]);
    // All of a named job's output arrives before its end.
    agent.say(&first, 8, " last");
    agent.succeed(&first);
    let mut last = false;
    loop {
        let event = stream.next();
        last |= event.name == "output" && event.data["end"] == 13;
        if event.name == "job" && event.data["id"] == first && event.data["status"] == "SUCCEEDED" {
            break;
        }
    }
    assert!(last, "its end came before its output");
}

#[test]
fn every_id_resumes_the_output_right_after_its_event() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let path = format!("/api/events?job={id}");
    let mut stream = admin.get(&path).open();
    let mut events = Vec::new();
    let mut written = 0;
    for number in 0..6 {
        let text = format!("line {number} caf\u{e9}\n");
        agent.say(&id, written, &text);
        written += text.len() as u64;
        events.extend(stream.until(|event| event.name == "output" && event.data["end"] == written));
    }
    let mut whole = Received::default();
    events
        .iter()
        .for_each(|event| whole.push(event, &id, "stdout"));
    for (index, event) in events.iter().enumerate() {
        let mut received = Received::default();
        let before = events[..=index].iter();
        before.for_each(|event| received.push(event, &id, "stdout"));
        let mut resumed = admin.get(&path).header("last-event-id", &event.id).open();
        let mut names = Vec::new();
        while received.end < written {
            let event = resumed.next();
            received.push(&event, &id, "stdout");
            names.push(event.name);
        }
        assert_eq!(received, whole, "after {event:?}");
    }
    // A job that ended while the client was away is sent after all.
    let last = events.last().expect("events").id.clone();
    drop(stream);
    agent.succeed(&id);
    let mut resumed = admin.get(&path).header("last-event-id", &last).open();
    job_is(&mut resumed, &id, "SUCCEEDED");
    let mut unnamed = admin
        .get("/api/events")
        .header("last-event-id", &last)
        .open();
    job_is(&mut unnamed, &id, "SUCCEEDED");
    for unknown in ["nonsense", "", "1,x", "-5"] {
        let mut stream = admin.get(&path).header("last-event-id", unknown).open();
        let mut received = Received::default();
        while received.end < written {
            received.push(&stream.next(), &id, "stdout");
        }
        assert_eq!(received, whole, "{unknown}");
    }
}

#[test]
fn a_viewer_misses_nothing_when_the_server_crashes() {
    let (mut server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let path = format!("/api/events?job={id}");
    let mut stream = admin.get(&path).open();
    let mut received = Received::default();
    agent.say(&id, 0, "before\n");
    while received.end < 7 {
        received.push(&stream.next(), &id, "stdout");
    }
    let last = stream.last_id.clone();
    agent.say(&id, 7, "unheard\n");
    server.kill9();
    stream.breaks();
    server.start_again();
    let (admin, agent) = (server.admin(), agent.at(&server));
    agent.say(&id, 15, "after\n");
    let mut stream = admin.get(&path).header("last-event-id", &last).open();
    while received.end < 21 {
        received.push(&stream.next(), &id, "stdout");
    }
    assert_eq!(received.text, "before\nunheard\nafter\n");
    agent.succeed(&id);
    job_is(&mut stream, &id, "SUCCEEDED");
}

#[test]
fn only_visible_jobs_are_sent() {
    let (mut server, admin, agent) = with_node();
    let (ann, bob) = (
        server.person("ann", "OPERATOR"),
        server.person("bob", "OPERATOR"),
    );
    let vera = server.person("vera", "VIEWER");
    let of_ann = ann.queue("n1");
    let named = format!("/api/events?job={of_ann}");
    bob.get(&named).refused(404, "job_not_found");
    admin.get(&named).refused(404, "job_not_found");
    let mut of_bob = bob.get("/api/events").open();
    let mut of_vera = vera.get("/api/events?scope=all").open();
    let mut named = vera.get(&format!("{named}&scope=all")).open();
    node_is(&mut of_bob, "n1", "queuedJobs", &json!(1));
    job_is(&mut of_vera, &of_ann, "QUEUED");
    agent.claim();
    agent.say(&of_ann, 0, "x");
    named.until(|event| event.name == "output");
    agent.succeed(&of_ann);
    let of_himself = bob.queue("n1");
    job_is(&mut of_vera, &of_ann, "SUCCEEDED");
    job_is(&mut of_vera, &of_himself, "QUEUED");
    let events = of_bob.until(|event| event.name == "job");
    assert_eq!(
        events.last().map(|event| &event.data["id"]),
        Some(&json!(of_himself))
    );
}

#[test]
fn an_operators_changes_are_sent() {
    let (server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let mut stream = admin.get("/api/events").open();
    job_is(&mut stream, &id, "RUNNING");
    let now = server.database().now();
    server.database().execute(&format!(
        "UPDATE jobs SET status='FAILED', error_msg='agent disappeared', finished_at={now} WHERE id='{id}'"
    ));
    let event = job_is(&mut stream, &id, "FAILED");
    assert_eq!(event.data["errorMsg"], "agent disappeared");
}

#[test]
fn a_resumed_stream_sends_only_the_changes() {
    let (_server, admin, _agent) = with_node();
    let quiet = admin.add_node("quiet");
    let id = admin.queue("quiet");
    quiet.claim();
    let mut stream = admin.get("/api/events").open();
    let seen = job_is(&mut stream, &id, "RUNNING");
    let changed_since = |since: &str, fence: &str| -> (Vec<String>, String) {
        let mut stream = admin
            .get("/api/events")
            .header("last-event-id", since)
            .open();
        admin.add_node(fence);
        let is_fence = |event: &Event| event.name == "node" && event.data["id"] == fence;
        let mut events = stream.until(is_fence);
        let last = events.pop().expect("the fence");
        let ids = events.iter().map(|event| event.data.field("id"));
        (ids.collect(), last.id)
    };
    let (ids, mut resume_at) = changed_since(&seen.id, "fence");
    assert!(ids.contains(&id), "{ids:?}");
    // The last five seconds are sent again, since a change may have been on its way.
    let past_overlap =
        |resume_at: &str| (resume_at.parse::<u64>().expect("a time") + 5_000).to_string();
    let mut number = 0;
    eventually("only the later changes", || {
        number += 1;
        let (ids, last) = changed_since(&past_overlap(&resume_at), &format!("fence-{number}"));
        resume_at = last;
        let is_old = |changed: &String| ["n1", "quiet", id.as_str()].contains(&changed.as_str());
        (!ids.iter().any(is_old)).then_some(())
    });
    let later = past_overlap(&resume_at);
    // The job's end arrives nevertheless.
    let mut stream = admin
        .get("/api/events")
        .header("last-event-id", &later)
        .open();
    quiet.succeed(&id);
    job_is(&mut stream, &id, "SUCCEEDED");
}

#[test]
fn a_named_jobs_state_is_sent_on_every_stream_that_names_it() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    let path = format!("/api/events?job={id}");
    let mut first = admin.get(&path).open();
    job_is(&mut first, &id, "QUEUED");
    agent.claim();
    let running = job_is(&mut first, &id, "RUNNING");
    let mut again = admin.get(&path).header("last-event-id", &running.id).open();
    job_is(&mut again, &id, "RUNNING");
    agent.say(&id, 0, "all of it");
    agent.succeed(&id);
    for stream in [&mut first, &mut again] {
        let mut events = stream.until(|event| event.data["status"] == "SUCCEEDED");
        events.pop();
        events.retain(|event| event.name != "node");
        assert_eq!(events.last().expect("output").data["end"], 9);
    }
    // A job that ended long ago sends its output, then its end.
    let mut late = admin.get(&path).open();
    let mut events = late.until(|event| event.name == "job");
    events.retain(|event| event.name != "node");
    assert_eq!(events[0].data["end"], 9);
    assert_eq!(events[1].data["status"], "SUCCEEDED");
}

#[test]
fn missing_jobs_are_named_in_the_error() {
    let (mut server, admin, _agent) = with_node();
    let id = admin.queue("n1");
    let of_ann = server.person("ann", "OPERATOR").queue("n1");
    let path = format!("/api/events?job={id}&job={of_ann}&job=nonsense");
    let refused = admin.get(&path).refused(404, "job_not_found");
    assert_eq!(
        refused.fields(),
        [format!("job.{of_ann}"), "job.nonsense".to_owned()]
    );
}

#[test]
fn reopened_streams_are_one_view_in_the_audit_log() {
    let (mut server, admin, _agent) = with_node();
    let of_ann = server.person("ann", "OPERATOR").queue("n1");
    let path = format!("/api/events?scope=all&job={of_ann}");
    for _ in 0..3 {
        let mut stream = admin.get(&path).open();
        job_is(&mut stream, &of_ann, "QUEUED");
    }
    let views = admin.audit(&format!("jobId={of_ann}"));
    let count = views.iter().filter(|(_, action)| action == "job.look");
    assert_eq!(count.count(), 1, "{views:?}");
}
