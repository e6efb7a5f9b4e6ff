//! Changing a node's name and labels, and pausing it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::harness::{
    Call, FakeAgent, Field, Person, Server, Setup, eventually, id_of, joined, with_node,
};

fn edit(person: &Person, id: &str, change: &Value) -> Call {
    let call = person.call("PATCH", &format!("/api/nodes/{id}"));
    call.json(change)
}

fn pause(person: &Person, paused: bool) -> Value {
    edit(person, "n1", &json!({"paused": paused})).ok()
}

/// The newest change of the node in the audit log.
fn audited(admin: &Person) -> String {
    let page = admin
        .get("/api/audit?nodeId=n1&action=node.edit&limit=1")
        .ok();
    assert_eq!(page["entries"][0]["actor"], admin.email, "{page}");
    page["entries"][0].field("detail")
}

#[test]
fn a_nodes_name_and_labels_change_and_the_rest_stays() {
    let (mut server, admin, agent) = with_node();
    agent.beat();
    let before = admin.get("/api/nodes/n1").ok();
    assert_eq!(before["paused"], false);
    let change = json!({"name": "Web one", "labels": {"role": "web", "zone": "a"}});
    let edited = edit(&admin, "n1", &change).ok();
    assert_eq!(
        (&edited["name"], &edited["labels"]),
        (&json!("Web one"), &change["labels"])
    );
    assert_eq!(edited["id"], "n1");
    assert_eq!(edited["hostname"], before["hostname"]);
    assert_eq!(edited["status"], "ONLINE");
    assert_eq!(audited(&admin), "name: Web one; labels: role=web, zone=a");
    // What is absent, or null, stays; labels replace all labels.
    let edited = edit(
        &admin,
        "n1",
        &json!({"name": null, "labels": {"zone": "b"}}),
    )
    .ok();
    assert_eq!(edited["name"], "Web one");
    assert_eq!(edited["labels"], json!({"zone": "b"}));
    assert_eq!(audited(&admin), "labels: zone=b, without role");
    edit(&admin, "n1", &json!({})).ok();
    assert_eq!(audited(&admin), "nothing changed");
    // An empty name is the id, as when a node is added.
    assert_eq!(edit(&admin, "n1", &json!({"name": ""})).ok()["name"], "n1");
    assert_eq!(
        edit(&admin, "n1", &json!({"labels": {}})).ok()["labels"],
        json!({})
    );
    edit(&admin, "n1", &json!({"paused": true, "name": "Later"})).ok();
    server.restart();
    let node = server.admin().get("/api/nodes/n1").ok();
    assert_eq!(
        (&node["name"], &node["paused"]),
        (&json!("Later"), &json!(true))
    );
}

#[test]
fn a_change_has_the_limits_of_a_new_node() {
    let (mut server, admin, _agent) = with_node();
    let long = |count: usize| "é".repeat(count);
    let many: serde_json::Map<String, Value> =
        (0..33).map(|n| (format!("k{n}"), json!(""))).collect();
    for (change, field) in [
        (json!({"name": long(256)}), "name"),
        (json!({"name": "a\u{7}"}), "name"),
        (json!({"name": 5}), "name"),
        (json!({"labels": {"": "x"}}), "labels."),
        (json!({"labels": {"a": long(256)}}), "labels.a"),
        (json!({"labels": {"a": 1}}), "labels.a"),
        (json!({"labels": many}), "labels"),
        (json!({"labels": []}), "labels"),
        (json!({"paused": "yes"}), "paused"),
        (json!({"paused": true, "state": "off"}), "state"),
        (json!({"id": "n2"}), "id"),
    ] {
        let refused = edit(&admin, "n1", &change).refused(400, "bad_input");
        assert_eq!(refused.fields(), [field], "{change}: {refused:?}");
    }
    let longest = json!({"labels": {long(63): long(255)}, "name": long(255)});
    edit(&admin, "n1", &longest).ok();
    let node = admin.get("/api/nodes/n1").ok();
    assert_eq!(node["paused"], false, "nothing of a refused change is done");
    edit(&admin, "none", &json!({"paused": true})).refused(404, "node_not_found");
    for role in ["OPERATOR", "VIEWER"] {
        let person = server.person(&role.to_lowercase(), role);
        edit(&person, "n1", &json!({"paused": true})).refused(403, "forbidden");
    }
}

#[test]
fn a_paused_node_gets_no_job_and_its_jobs_wait_without_a_hold() {
    let (_server, admin, agent) = with_node();
    agent.beat();
    let running = admin.queue("n1");
    assert_eq!(agent.claim_id(), running);
    assert_eq!(pause(&admin, true)["paused"], true);
    assert_eq!(audited(&admin), "paused");
    let waits = admin.queue("n1");
    agent.finds_nothing(&format!("running={running}"));
    agent.founding().finds_nothing("");
    let job = admin.job(&waits);
    assert_eq!(
        (&job["status"], &job["holds"]),
        (&json!("QUEUED"), &json!([]))
    );
    assert_eq!(admin.get("/api/nodes/n1").ok()["queuedJobs"], 1);
    // The running job's agent is heard, still gets its cancel, and gets no next job with its end.
    agent.say(&running, 0, "on\n");
    let poll = agent
        .poll(&format!("wait=30&running={running}"))
        .send_later();
    admin.cancel(&running).gives(202);
    let cancelled = poll.join().expect("an answer").is(200).json();
    assert_eq!(cancelled["cancel"], json!([running]));
    let end = json!({"chunks": [], "end": {"exitCode": 0, "cancelled": true}, "next": true});
    let ended = agent.output_call(&running, &end).ok();
    assert_eq!(
        ended.get("next").unwrap_or(&Value::Null),
        &Value::Null,
        "{ended}"
    );
    agent.finds_nothing("");
    // Once the node is resumed, a poll that waits gets the job at once.
    let poll = agent.open_poll(&admin, "wait=60");
    assert_eq!(pause(&admin, false)["paused"], false);
    assert_eq!(audited(&admin), "resumed");
    let claimed = joined("the answer to the poll", poll).is(200).json();
    assert_eq!(id_of(&claimed["job"]), waits);
}

#[test]
fn a_claim_whose_answer_got_lost_is_delivered_although_the_node_is_paused() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    assert_eq!(agent.claim_id(), id);
    pause(&admin, true);
    // The job is RUNNING: without this it would be until its deadline.
    assert_eq!(agent.claim_id(), id);
}

/// A second server, where the database is one for several.
fn second(first: &Server) -> Option<Server> {
    let database = first.database();
    if database.sqlite().is_some() {
        return None;
    }
    let key = first.setup().data_dir().join("secret.key");
    let setup = Setup::new()
        .with("HYPRBOX_DATABASE_URL", &database.url())
        .with("HYPRBOX_SECRET_KEY_FILE", key.to_str().expect("UTF-8"));
    Some(setup.start())
}

/// Polls of the four agents of a round.
const ALL_POLLS: usize = 24;

#[test]
fn after_the_answer_to_a_pause_nothing_is_claimed_at_any_server() {
    let (first, admin, agent) = with_node();
    let other = second(&first);
    let servers = [Some(&first), other.as_ref()];
    let agents: Vec<FakeAgent> = servers
        .iter()
        .flatten()
        .map(|server| agent.at(server))
        .collect();
    for round in 0..40 {
        pause(&admin, false);
        for _ in 0..4 {
            admin.queue("n1");
        }
        let (paused, polls) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for (number, agent) in agents.iter().cycle().take(4).enumerate() {
                let agent = agent.instance(&format!("{round}-{number}"));
                let (paused, polls) = (&paused, &polls);
                scope.spawn(move || {
                    for _ in 0..ALL_POLLS / 4 {
                        let was_paused = paused.load(Ordering::SeqCst);
                        let answer = agent.poll("").ok();
                        polls.fetch_add(1, Ordering::SeqCst);
                        // The poll began after the pause was answered.
                        assert!(!was_paused || answer["job"].is_null(), "{answer}");
                        if answer["job"].is_object() {
                            agent.succeed(&id_of(&answer["job"]));
                        }
                    }
                });
            }
            pause(&admin, true);
            paused.store(true, Ordering::SeqCst);
            let queued = admin.get("/api/nodes/n1").ok()["queuedJobs"].clone();
            // The others poll on: what they would claim shows after some of their polls.
            let polled = polls.load(Ordering::SeqCst);
            eventually("more polls", || {
                let count = polls.load(Ordering::SeqCst);
                (count >= polled + 4 || count == ALL_POLLS).then_some(())
            });
            let later = admin.get("/api/nodes/n1").ok()["queuedJobs"].clone();
            assert_eq!(queued, later, "claimed after the answer, in round {round}");
        });
        let waiting = admin.get("/api/jobs?status=QUEUED&limit=200").ok();
        for job in waiting["jobs"].as_array().expect("jobs") {
            admin.cancel(&id_of(job)).gives(200);
        }
    }
}
