//! Which events become messages, and what a message says. One file, because each kind of event has
//! its test here.

use serde_json::{Value, json};

use super::receiver::Receiver;
use super::{add_channel, add_rule, deliveries, webhook};
use crate::harness::{FakeAgent, Field, Person, Server, chunk, eventually, id_of, with_node};
use crate::schedules;

const JOB_EVENTS: &[&str] = &["job_failed", "job_recovered", "job_lost"];

fn fail(admin: &Person, agent: &FakeAgent) -> String {
    let job = admin.queue("n1");
    agent.claim();
    agent.complete(&job, &json!({"exitCode": 3})).gives(200);
    job
}

/// The events of a channel's deliveries, oldest first.
fn events(admin: &Person, channel: &str) -> Vec<String> {
    let deliveries = deliveries(admin, channel);
    deliveries
        .iter()
        .rev()
        .map(|delivery| delivery.field("event"))
        .collect()
}

#[test]
fn a_failed_job_sends_what_when_why_and_where() {
    let (server, admin, agent) = with_node();
    let receiver = Receiver::start();
    let channel = webhook(&admin, &receiver.url, JOB_EVENTS);
    let job = admin.queue("n1");
    agent.claim();
    let stderr: String = (1..=25).map(|line| format!("line {line}\n")).collect();
    agent.output(
        &job,
        &[chunk("stdout", 0, "fine\n"), chunk("stderr", 0, &stderr)],
    );
    agent.complete(&job, &json!({"exitCode": 3})).gives(200);
    let received = receiver.nth(1);
    assert_eq!(
        (received.method.as_str(), received.path.as_str()),
        ("POST", "/")
    );
    assert_eq!(received.header("content-type"), "application/json");
    let message = received.json();
    assert_eq!(message["type"], "job.failed");
    let data = &message["data"];
    assert_eq!(data["event"], "job_failed");
    assert_eq!(data["reason"], "the script ended with exit code 3");
    let tail: Vec<String> = (6..=25).map(|line| format!("line {line}")).collect();
    assert_eq!(data["stderrTail"], tail.join("\n"));
    assert_eq!(data["url"], format!("{}/jobs/{job}", server.url()));
    // The object is the API's.
    let mut shown = admin.job(&job);
    for field in ["script", "stdout", "stderr"] {
        shown.as_object_mut().expect("an object").remove(field);
    }
    assert_eq!(data["job"], shown);
    assert_eq!(data.as_object().expect("an object").len(), 5);

    let delivery = eventually("the delivery", || {
        let delivery = deliveries(&admin, &channel).remove(0);
        (delivery["state"] == "delivered").then_some(delivery)
    });
    assert_eq!(delivery["id"], received.header("webhook-id"));
    assert_eq!(delivery["createdAt"], message["timestamp"]);
    assert_eq!(delivery["nextAttemptAt"], Value::Null);
    let attempt = &delivery["attempts"][0];
    assert_eq!(attempt["status"], 200);
    assert_eq!(
        (&attempt["error"], &attempt["answer"]),
        (&Value::Null, &Value::Null)
    );
}

#[test]
fn a_message_is_made_wherever_a_job_ends() {
    let mut server = Server::with(&[("HYPRBOX_LEASE_SECONDS", "3")]);
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let channel = add_channel(&admin, "webhook", &json!({"url": "http://127.0.0.1:1/"}));
    add_rule(&admin, &channel, JOB_EVENTS, json!({}));
    let last = |count: usize| {
        let delivery = eventually("a delivery", || {
            let mut all = deliveries(&admin, &channel);
            (all.len() == count).then(|| all.remove(0))
        });
        let id = id_of(&delivery);
        let texts = server
            .database()
            .texts(&format!("SELECT message FROM deliveries WHERE id = '{id}'"));
        let message: Value = serde_json::from_str(&texts[0]).expect("JSON");
        let data = &message["data"];
        (data.field("event"), data.field("reason"))
    };
    // By an output with an end.
    let job = admin.queue("n1");
    agent.claim();
    let body = json!({"chunks": [], "end": {"exitCode": 1}});
    agent.output_call(&job, &body).gives(200);
    assert_eq!(
        last(1),
        (
            "job_failed".into(),
            "the script ended with exit code 1".into()
        )
    );
    // By a person.
    let job = admin.queue("n1");
    agent.claim();
    let by_hand = json!({"errorMsg": "wrong node"});
    admin
        .post(&format!("/api/jobs/{job}/fail"), &by_hand)
        .gives(200);
    let reason = format!("failed by {}: wrong node", admin.email);
    assert_eq!(last(2), ("job_failed".into(), reason));
    // By the sweeper: lost, and then nothing more.
    admin.queue("n1");
    agent.claim();
    assert_eq!(last(3), ("job_lost".into(), "agent disappeared".into()));
    // By its expiry.
    let body = json!({"preset": "note", "nodeId": "n1", "expiresInSeconds": 60});
    let job = id_of(&admin.post("/api/jobs", &body).gives(201).json());
    let database = server.database();
    database.execute(&format!(
        "UPDATE jobs SET expires_at = {} WHERE id = '{job}'",
        database.now()
    ));
    let (event, reason) = last(4);
    assert_eq!(event, "job_failed");
    assert!(
        reason.starts_with("expired: no agent came for it"),
        "{reason}"
    );
    // Neither a cancelled job nor one that succeeds is a failure, but the first success is news.
    let job = admin.queue("n1");
    admin.cancel(&job).gives(200);
    for _ in 0..2 {
        let job = admin.queue("n1");
        agent.claim();
        agent.succeed(&job);
    }
    assert_eq!(
        last(5),
        (
            "job_recovered".into(),
            "succeeded again after a failure".into()
        )
    );
    let other = admin.queue_with("n1", "vault", json!({"key": "hunter22"}));
    agent.claim();
    agent.succeed(&other);
    assert_eq!(events(&admin, &channel).len(), 5);
}

#[test]
fn a_run_sends_one_message_and_its_jobs_none() {
    let (server, admin, agent) = with_node();
    let receiver = Receiver::start();
    let all = ["job_failed", "job_recovered", "run_finished", "run_failed"];
    webhook(&admin, &receiver.url, &all);
    let second = admin.add_node("n2");
    let run = |exit_code: i64| {
        let body = json!({"preset": "note", "nodes": ["n1", "n2"], "plan": {"maxFailures": 1}});
        let run = id_of(&admin.post("/api/runs", &body).gives(201).json());
        for agent in [&agent, &second] {
            let job = agent.claim_id();
            agent.output(&job, &[chunk("stderr", 0, "no space left\n")]);
            agent
                .complete(&job, &json!({"exitCode": exit_code}))
                .gives(200);
        }
        run
    };
    let failed = run(7);
    let message = receiver.nth(1).json();
    assert_eq!(message["type"], "run.failed");
    let data = &message["data"];
    assert_eq!(data["url"], format!("{}/runs/{failed}", server.url()));
    let reason = data.field("reason");
    let wanted = "stopped: 2 failures, 1 allowed; on n1: the script ended with exit code 7";
    assert_eq!(reason, wanted);
    assert_eq!(data["stderrTail"], "no space left");
    let mut shown = admin.get(&format!("/api/runs/{failed}?jobs=false")).ok();
    shown.as_object_mut().expect("an object").remove("jobs");
    assert_eq!(data["run"]["status"], "FAILED");
    assert_eq!(data["run"]["id"], shown["id"]);
    run(0);
    let message = receiver.nth(2).json();
    assert_eq!(message["type"], "run.finished");
    assert_eq!(message["data"]["reason"], "succeeded");
    let body = json!({"preset": "note", "nodes": ["n1"]});
    let cancelled = id_of(&admin.post("/api/runs", &body).gives(201).json());
    admin
        .call("POST", &format!("/api/runs/{cancelled}/cancel"))
        .gives(200);
    let message = receiver.nth(3).json();
    assert_eq!(message["type"], "run.finished");
    assert_eq!(message["data"]["run"]["status"], "CANCELLED");
    assert_eq!(receiver.received().len(), 3);
}

#[test]
fn filters_choose_presets_nodes_and_schedules() {
    let (server, admin, agent) = with_node();
    let schedule = schedules::add(&admin, json!({}));
    let other = schedules::add(&admin, json!({"name": "other"}));
    let channel = |more: Value| {
        let channel = add_channel(&admin, "webhook", &json!({"url": "http://127.0.0.1:1/"}));
        add_rule(&admin, &channel, &["job_failed", "run_finished"], more);
        channel
    };
    let channels = [
        json!({}),
        json!({"presets": ["note"]}),
        json!({"presets": ["vault"]}),
        json!({"selector": "node=n1"}),
        json!({"selector": "node!=n1"}),
        json!({"schedules": [schedule]}),
        json!({"schedules": [other]}),
    ]
    .map(channel);
    // Two rules of a channel that want the event make one message.
    add_rule(
        &admin,
        &channels[0],
        &["job_failed"],
        json!({"presets": ["note"]}),
    );
    fail(&admin, &agent);
    let counts = |channels: &[String]| -> Vec<usize> {
        channels
            .iter()
            .map(|channel| deliveries(&admin, channel).len())
            .collect()
    };
    assert_eq!(counts(&channels), [1, 1, 0, 1, 0, 0, 0]);
    schedules::next_slot(&server, &admin, &schedule);
    agent.succeed(&agent.claim_id());
    assert_eq!(counts(&channels), [2, 2, 0, 2, 0, 1, 0]);
}

#[test]
fn missed_due_times_send_one_message() {
    let (mut server, admin, _agent) = with_node();
    let receiver = Receiver::start();
    webhook(&admin, &receiver.url, &["schedule_missed"]);
    let every_minute = json!({"cron": "* * * * *", "missed": "skip"});
    let schedule = schedules::add(&admin, every_minute);
    let paused = schedules::add(&admin, json!({"cron": "* * * * *", "paused": true}));
    let ago = server.database().ago("1 hour");
    server.kill_and_change(&format!("UPDATE schedules SET next_due_at = {ago}"));
    server.start_again();
    let admin = server.admin();
    let message = receiver.nth(1).json();
    assert_eq!(message["type"], "schedule.missed");
    let data = &message["data"];
    assert_eq!(data["schedule"]["id"], schedule);
    let reason = data.field("reason");
    assert!(
        reason.ends_with("due times passed while the server was down"),
        "{reason}"
    );
    // That of a paused one is known to whoever paused it.
    eventually("slots of both", || {
        let path = format!("/api/schedules/{paused}/slots");
        (!admin.get(&path).ok().list("slots").is_empty()).then_some(())
    });
    assert_eq!(receiver.received().len(), 1);
}

#[test]
fn a_due_time_that_can_not_run_sends_a_message_once() {
    let (server, admin, _agent) = with_node();
    let receiver = Receiver::start();
    webhook(&admin, &receiver.url, &["schedule_missed"]);
    let nobody = json!({"nodes": null, "selector": "role=gone"});
    let schedule = schedules::add(&admin, nobody);
    for _ in 0..2 {
        schedules::next_slot(&server, &admin, &schedule);
    }
    let message = receiver.nth(1).json();
    assert_eq!(message["data"]["reason"], "no node matched");
    assert_eq!(message["data"]["schedule"]["id"], schedule);
    assert_eq!(receiver.received().len(), 1);
}

#[test]
fn a_job_that_waits_for_a_signature_sends_a_message() {
    let (_server, admin, agent) = with_node();
    let receiver = Receiver::start();
    webhook(&admin, &receiver.url, &["waits_for_signature"]);
    let beat = json!({"instance": "one", "intervalSeconds": 30, "requiresSignatures": true});
    agent.heartbeat(&beat).gives(200);
    let job = admin.queue("n1");
    let message = receiver.nth(1).json();
    assert_eq!(message["type"], "waits.for_signature");
    assert_eq!(message["data"]["job"]["id"], job);
    let body = json!({"preset": "note", "nodes": ["n1"]});
    let run = id_of(&admin.post("/api/runs", &body).gives(201).json());
    let message = receiver.nth(2).json();
    assert_eq!(message["data"]["run"]["id"], run);
}

#[test]
fn a_node_that_begins_to_require_signatures_sends_one_message_for_all_that_waits() {
    let (_server, admin, agent) = with_node();
    let receiver = Receiver::start();
    let channel = webhook(&admin, &receiver.url, &["waits_for_signature"]);
    let jobs = [admin.queue("n1"), admin.queue("n1")];
    let beat = |is_required: bool| {
        let beat = json!({"instance": "one", "intervalSeconds": 30,
            "requiresSignatures": is_required});
        agent.heartbeat(&beat).gives(200);
    };
    beat(true);
    for job in &jobs {
        assert_eq!(admin.job(job)["holds"][0]["kind"], "signature");
    }
    let message = receiver.nth(1).json();
    assert_eq!(message["type"], "waits.for_signature");
    let data = &message["data"];
    assert_eq!(data["node"]["id"], "n1");
    assert_eq!(
        data["reason"],
        "n1 now runs only jobs that a person has signed: 2 jobs that were queued before wait for a signature"
    );
    assert!(data.field("url").ends_with("/nodes/n1"));
    // Nothing more waits after the next heartbeat.
    beat(true);
    beat(false);
    assert_eq!(admin.job(&jobs[0])["holds"], json!([]));
    assert_eq!(deliveries(&admin, &channel).len(), 1);
}

#[test]
fn a_silent_node_and_its_return_send_a_message_each() {
    let (_server, admin, agent) = with_node();
    let receiver = Receiver::start();
    let channel = add_channel(&admin, "webhook", &json!({"url": receiver.url}));
    let soon = json!({"afterSeconds": 1});
    add_rule(&admin, &channel, &["node_offline", "node_online"], soon);
    // A second rule of the channel repeats nothing.
    add_rule(
        &admin,
        &channel,
        &["node_offline"],
        json!({"afterSeconds": 2}),
    );
    let stopped = admin.add_node("n2");
    let paused = admin.add_node("n3");
    admin
        .call("PATCH", "/api/nodes/n3")
        .json(&json!({"paused": true}))
        .gives(200);
    let beat = |agent: &FakeAgent, stopping: bool| {
        let body = json!({"instance": "one", "intervalSeconds": 30, "stopping": stopping});
        agent.heartbeat(&body).gives(200);
    };
    beat(&stopped, true);
    beat(&paused, false);
    beat(&agent, false);
    let message = receiver.nth(1).json();
    assert_eq!(message["type"], "node.offline");
    let data = &message["data"];
    assert_eq!(data["node"]["id"], "n1");
    assert!(
        data.field("reason").starts_with("no sign of life for "),
        "{data}"
    );
    assert!(data.field("url").ends_with("/nodes/n1"));
    beat(&agent, false);
    let message = receiver.nth(2).json();
    assert_eq!(message["type"], "node.online");
    assert_eq!(message["data"]["node"]["id"], "n1");
    // Silent again, and so is the paused one once it is resumed.
    assert_eq!(receiver.nth(3).json()["data"]["node"]["id"], "n1");
    admin
        .call("PATCH", "/api/nodes/n3")
        .json(&json!({"paused": false}))
        .gives(200);
    let message = receiver.nth(4).json();
    assert_eq!(message["type"], "node.offline");
    assert_eq!(message["data"]["node"]["id"], "n3");
    assert_eq!(receiver.received().len(), 4);
}

/// Ends the node's next check, which finds its step in this state.
fn find(agent: &FakeAgent, state: &str) -> String {
    let job = agent.claim_id();
    agent.say(&job, 0, &format!("==> [1/1] One ({state})\n"));
    agent.succeed(&job);
    job
}

#[test]
fn new_drift_sends_one_message_a_run_about_the_first_job() {
    let (server, admin, first) = with_node();
    let receiver = Receiver::start();
    webhook(&admin, &receiver.url, &["drift_found"]);
    let second = admin.add_node("n2");
    for (node, agent) in [("n1", &first), ("n2", &second)] {
        let job = admin.queue(node);
        agent.claim();
        agent.succeed(&job);
    }
    let check = json!({"preset": "note", "nodes": ["n1", "n2"], "kind": "check"});
    let run = || id_of(&admin.post("/api/runs", &check).gives(201).json());
    let found = |count: usize, job: &str| {
        let message = receiver.nth(count).json();
        assert_eq!(message["type"], "drift.found");
        assert_eq!(message["data"]["job"]["id"], job);
        (
            message["data"].field("reason"),
            message["data"].field("url"),
        )
    };
    // After an apply, what a check finds is new.
    let id = run();
    find(&second, "would run");
    let job = find(&first, "would run");
    let (reason, url) = found(1, &job);
    assert_eq!(reason, "2 of 2 nodes have drifted: n1, n2");
    assert_eq!(url, format!("{}/runs/{id}", server.url()));
    // What was found before is not.
    run();
    find(&first, "ok");
    find(&second, "would run");
    run();
    let job = find(&first, "would run");
    find(&second, "would run");
    let (reason, url) = found(2, &job);
    assert_eq!(reason, "1 step would run: One");
    assert_eq!(url, format!("{}/jobs/{job}", server.url()));

    // A single job reports at once, and so does a check of what was never applied.
    let single = |params: &Value, state: &str| {
        let body = json!({"preset": "vault", "nodeId": "n1", "params": params, "kind": "check"});
        admin.post("/api/jobs", &body).gives(201);
        find(&first, state)
    };
    single(&json!({}), "would run");
    single(&json!({}), "ok");
    let job = single(&json!({}), "would run");
    let (_, url) = found(3, &job);
    assert_eq!(url, format!("{}/jobs/{job}", server.url()));
    assert_eq!(receiver.received().len(), 3);
}
