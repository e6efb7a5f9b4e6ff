//! Nodes: their slugs and labels, their tokens, their signs of life, and their end.

use serde_json::{Value, json};

use crate::harness::{FakeAgent, Field, Server, eventually, id_of, joined, with_node};

#[test]
fn a_node_is_called_by_a_slug() {
    let mut server = Server::start();
    let admin = server.admin();
    let (longest, too_long) = ("a".repeat(63), "a".repeat(64));
    for good in ["a", "7", "prod-eu-1", "a--b", &longest] {
        let made = admin
            .post("/api/nodes", &json!({"id": good}))
            .gives(201)
            .json();
        assert_eq!(made["node"].field("id"), good);
        assert!(made.field("token").starts_with("hbn_"), "{made}");
    }
    for bad in [
        "", "-a", "a-", "A", "a_b", "a.b", "a b", "\u{e9}", "a\n", "a\u{0}", &too_long,
    ] {
        let refused = admin.post("/api/nodes", &json!({"id": bad})).gives(400);
        assert_eq!(refused.fields(), ["id"], "{bad:?}");
    }
    admin.post("/api/nodes", &json!({"id": "a"})).gives(409);
    let ids: Vec<String> = admin
        .get("/api/nodes")
        .ok()
        .list("nodes")
        .iter()
        .map(id_of)
        .collect();
    assert_eq!(ids.len(), 5);
    admin.get("/api/nodes/b").refused(404, "node_not_found");
}

#[test]
fn labels_have_limits() {
    let mut server = Server::start();
    let admin = server.admin();
    let labels = |count: usize, key: usize, value: usize| -> Value {
        (0..count)
            .map(|index| (format!("{index:0>key$}"), "v".repeat(value)))
            .collect::<std::collections::BTreeMap<_, _>>()
            .into_iter()
            .map(|(key, value)| (key, Value::from(value)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let most = labels(32, 63, 255);
    let body = json!({"id": "n1", "name": "Number one", "labels": most});
    admin.post("/api/nodes", &body).gives(201);
    let node = admin.get("/api/nodes/n1").ok();
    assert_eq!(node["labels"], most);
    assert_eq!(node["name"], "Number one");
    for (index, bad) in [labels(33, 2, 1), labels(1, 64, 1), labels(1, 1, 256)]
        .into_iter()
        .enumerate()
    {
        let body = json!({"id": format!("m{index}"), "labels": bad});
        let fields = admin.post("/api/nodes", &body).gives(400).fields();
        assert!(fields[0].starts_with("labels"), "{fields:?}");
    }
    for bad in [json!({"a": 1}), json!(["a"]), json!({"a": null})] {
        let body = json!({"id": "m9", "labels": bad});
        admin.post("/api/nodes", &body).gives(400);
    }
}

#[test]
fn a_new_node_shows_every_field() {
    let (_server, admin, agent) = with_node();
    let node = admin.get("/api/nodes/n1").ok();
    assert_eq!(node["status"], "OFFLINE");
    let os = json!({"id": null, "versionId": null, "prettyName": null});
    assert_eq!(node["os"], os);
    assert_eq!(node["queuedJobs"], 0);
    for field in ["lastSeenAt", "hostname", "agentVersion", "runningJobId"] {
        assert_eq!(node.get(field), Some(&Value::Null), "{field}: {node}");
    }
    let first = admin.queue("n1");
    admin.queue("n1");
    assert_eq!(agent.claim_id(), first);
    let node = admin.get("/api/nodes/n1").ok();
    assert_eq!(node["queuedJobs"], 1);
    assert_eq!(node["runningJobId"], json!(first));
    assert_eq!(node["status"], "ONLINE", "a poll is a sign of life");
}

#[test]
fn managing_nodes_is_for_admins() {
    let mut server = Server::start();
    let operator = server.person("ann", "OPERATOR");
    server.admin().add_node("n1");
    operator.get("/api/nodes").ok();
    operator.post("/api/nodes", &json!({"id": "n2"})).gives(403);
    operator.delete("/api/nodes/n1").gives(403);
    operator.get("/api/nodes/n1/tokens").gives(403);
    operator.call("POST", "/api/nodes/n1/tokens").gives(403);
}

#[test]
fn tokens_are_shown_once_and_revoked_at_once() {
    let (server, admin, agent) = with_node();
    let made = admin.call("POST", "/api/nodes/n1/tokens").gives(201).json();
    let (id, token) = (id_of(&made), made.field("token"));
    assert!(token.starts_with("hbn_"), "{token}");
    let mut second = agent.clone();
    second.token.clone_from(&token);
    second.poll("").ok();

    let listed = admin.get("/api/nodes/n1/tokens").ok();
    let tokens = listed.list("tokens");
    assert_eq!(tokens.len(), 2);
    let of_second = tokens.iter().find(|entry| id_of(entry) == id);
    let of_second = of_second.expect("the second token").clone();
    assert!(token.starts_with(&of_second.field("prefix")), "{of_second}");
    assert!(of_second["createdAt"].is_string(), "{of_second}");
    assert_eq!(of_second["revokedAt"], Value::Null);
    for secret in [&agent.token, &token] {
        assert!(!listed.to_string().contains(secret), "{listed}");
        assert!(!server.database().files_hold(secret), "in the database");
    }

    let path = format!("/api/nodes/n1/tokens/{id}");
    admin.delete(&path).gives(204);
    second.poll("").refused(401, "unauthorized");
    second.heartbeat(&json!({})).gives(401);
    agent.poll("").ok();
    let listed = admin.get("/api/nodes/n1/tokens").ok();
    let revoked = listed.list("tokens");
    let revoked = revoked.iter().find(|entry| id_of(entry) == id);
    assert!(revoked.expect("still listed")["revokedAt"].is_string());
    // Of another node, or unknown: not there.
    admin.add_node("n2");
    admin
        .delete(&format!("/api/nodes/n2/tokens/{id}"))
        .gives(404);
    admin.delete("/api/nodes/n1/tokens/none").gives(404);
    admin.call("POST", "/api/nodes/none/tokens").gives(404);
    admin.get("/api/nodes/none/tokens").gives(404);
}

#[test]
fn a_tokens_use_is_recorded() {
    let (_server, admin, agent) = with_node();
    let listed = admin.get("/api/nodes/n1/tokens").ok();
    assert_eq!(listed["tokens"][0]["lastUsedAt"], Value::Null);
    agent.poll("").ok();
    let listed = admin.get("/api/nodes/n1/tokens").ok();
    assert!(listed["tokens"][0]["lastUsedAt"].is_string(), "{listed}");
}

#[test]
fn a_token_is_for_its_own_node() {
    let mut server = Server::start();
    let admin = server.admin();
    let (one, two) = (admin.add_node("n1"), admin.add_node("n2"));
    let job = admin.queue("n2");
    one.call("GET", "/api/jobs/pending?nodeId=n2")
        .refused(403, "forbidden");
    one.call("GET", "/api/jobs/pending?nodeId=none").gives(403);
    one.call("POST", "/api/nodes/n2/heartbeat")
        .json(&json!({}))
        .refused(403, "forbidden");
    assert_eq!(two.claim_id(), job);
    let chunks = json!({"chunks": []});
    one.output_call(&job, &chunks).refused(404, "job_not_found");
    one.complete(&job, &json!({"exitCode": 0}))
        .refused(404, "job_not_found");
    assert_eq!(admin.job(&job)["status"], "RUNNING");
}

#[test]
fn a_heartbeat_tells_of_the_machine() {
    let (mut server, admin, agent) = with_node();
    agent.beat();
    let node = admin.get("/api/nodes/n1").ok();
    assert_eq!(node["status"], "ONLINE");
    assert_eq!(node["hostname"], "host");
    assert_eq!(node["agentVersion"], "0.1.0");
    let os = json!({"id": "debian", "versionId": "12", "prettyName": "Debian GNU/Linux 12"});
    assert_eq!(node["os"], os);
    assert!(node["lastSeenAt"].is_string(), "{node}");
    // What a newer agent adds is ignored.
    let newer = json!({"instance": "one", "hostname": "renamed", "intervalSeconds": 30, "mood": {"today": "good"}});
    agent.heartbeat(&newer).ok();
    assert_eq!(admin.get("/api/nodes/n1").ok()["hostname"], "renamed");
    // It is known after a restart, too.
    server.restart();
    let node = server.admin().get("/api/nodes/n1").ok();
    assert_eq!(node["hostname"], "renamed");
    assert_eq!(node["status"], "ONLINE");
}

#[test]
fn a_heartbeat_has_limits() {
    let mut server = Server::start();
    let agent = server.admin().add_node("n1");
    let longest = "h".repeat(253);
    agent.heartbeat(&json!({"hostname": longest})).ok();
    for (field, bad) in [
        ("hostname", json!({"hostname": format!("{longest}h")})),
        ("hostname", json!({"hostname": 7})),
        ("intervalSeconds", json!({"intervalSeconds": -1})),
        ("intervalSeconds", json!({"intervalSeconds": 1e300})),
        ("os", json!({"os": "debian"})),
    ] {
        let fields = agent.heartbeat(&bad).gives(400).fields();
        assert_eq!(fields, [field], "{bad}");
    }
}

#[test]
fn an_agent_that_stops_is_offline_at_once() {
    let (mut server, admin, agent) = with_node();
    agent.beat();
    let goodbye = json!({"instance": "one", "intervalSeconds": 30, "stopping": true});
    agent.heartbeat(&goodbye).ok();
    assert_eq!(admin.get("/api/nodes/n1").ok()["status"], "OFFLINE");
    server.restart();
    let admin = server.admin();
    assert_eq!(admin.get("/api/nodes/n1").ok()["status"], "OFFLINE");
    agent.at(&server).poll("").ok();
    assert_eq!(admin.get("/api/nodes/n1").ok()["status"], "ONLINE");
}

#[test]
fn a_node_that_was_silent_for_three_intervals_is_offline() {
    let mut server = Server::start();
    let admin = server.admin();
    let agents = ["short", "long"].map(|id| admin.add_node(id));
    for (agent, seconds) in agents.iter().zip([1, 60]) {
        let body = json!({"instance": "one", "intervalSeconds": seconds});
        agent.heartbeat(&body).ok();
    }
    let database = server.database();
    let seen = |seconds: u32| {
        let then = database.ago(&format!("{seconds} seconds"));
        format!("UPDATE nodes SET last_seen_at = {then}")
    };
    // At least ninety seconds, three intervals where those are longer. The server looks at its
    // own clock, so that what it last saw is set back while it is down.
    for (ago, short, long) in [
        (60, "ONLINE", "ONLINE"),
        (120, "OFFLINE", "ONLINE"),
        (240, "OFFLINE", "OFFLINE"),
    ] {
        let status = server.terminate();
        assert!(status.success(), "{status}");
        server.kill_and_change(&seen(ago));
        server.start_again();
        let admin = server.admin();
        let status = |id: &str| admin.get(&format!("/api/nodes/{id}")).ok().field("status");
        assert_eq!(
            (status("short").as_str(), status("long").as_str()),
            (short, long),
            "{ago} s"
        );
    }
}

#[test]
fn a_second_instance_is_let_in_and_written_down() {
    let (_server, admin, agent) = with_node();
    agent.beat();
    let before = admin.audit("nodeId=n1");
    assert_eq!(before.len(), 1, "its adding alone: {before:?}");
    agent.beat();
    assert_eq!(admin.audit("nodeId=n1"), before);
    let shown = admin.get("/api/nodes/n1").ok();
    agent.instance("two").beat();
    agent.instance("two").poll("").ok();
    agent.poll("").ok();
    let after = admin.audit("nodeId=n1");
    assert_eq!(after.len(), 2, "once: {after:?}");
    let page = admin.get("/api/audit?nodeId=n1&limit=1").ok();
    assert!(page["entries"][0].field("detail").contains("two"), "{page}");
    let now = admin.get("/api/nodes/n1").ok();
    let known = |node: &Value| node["liveInstances"].clone();
    assert_eq!(
        (known(&shown), known(&now)),
        (json!(1), json!(2)),
        "shown on the node"
    );
}

#[test]
fn instances_that_an_agent_makes_up_fill_neither_the_audit_log_nor_the_database() {
    let (mut server, admin, agent) = with_node();
    for number in 0..60 {
        agent.instance(&format!("made-up-{number}")).poll("").ok();
    }
    let page = admin
        .get("/api/audit?nodeId=n1&action=node.second_instance&limit=200")
        .ok();
    let entries = page.list("entries");
    assert_eq!(entries.len(), 10, "{page}");
    let says_so = |entry: &&Value| entry.field("detail").contains("are not recorded");
    assert_eq!(entries.iter().filter(says_so).count(), 1, "{page}");
    let database = server.database();
    for number in 0..100 {
        database.execute(&format!(
            "INSERT INTO node_instances (node_id, instance, first_seen_at, last_seen_at)
             VALUES ('n1', 'old-{number:02}', '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.{number:03}Z')"
        ));
    }
    server.restart();
    let kept = "SELECT count(*) FROM node_instances WHERE node_id = 'n1'";
    eventually("the oldest to be forgotten", || {
        (database.number(kept) <= 32).then_some(())
    });
    let young = "SELECT count(*) FROM node_instances WHERE instance LIKE 'made-up-%'";
    assert!(database.number(young) > 0, "those seen last stay");
}

#[test]
fn a_deleted_node_loses_its_tokens_and_queued_jobs() {
    let (_server, admin, agent) = with_node();
    let finished = admin.queue("n1");
    agent.claim();
    agent.say(&finished, 0, "kept\n");
    agent.succeed(&finished);
    let running = admin.queue("n1");
    let queued = [admin.queue("n1"), admin.queue("n1")];
    assert_eq!(agent.claim_id(), running);
    admin.delete("/api/nodes/n1").gives(409);
    assert_eq!(admin.job(&queued[0])["status"], "QUEUED");
    agent.succeed(&running);

    admin.delete("/api/nodes/n1").gives(204);
    for id in &queued {
        let job = admin.job(id);
        assert_eq!(job["status"], "CANCELLED");
        assert_eq!(job["errorMsg"], "node deleted");
        assert!(job["finishedAt"].is_string(), "{job}");
    }
    assert_eq!(admin.job(&finished)["stdout"], "kept\n");
    assert_eq!(admin.log(&finished, "stdout"), b"kept\n");
    agent.poll("").gives(401);
    agent.heartbeat(&json!({})).gives(401);
    admin.get("/api/nodes/n1").gives(404);
    admin.delete("/api/nodes/n1").gives(404);
    let body = json!({"preset": "note", "nodeId": "n1"});
    admin
        .post("/api/jobs", &body)
        .refused(404, "node_not_found");

    // The name is free again; the old tokens are not.
    let again = admin.add_node("n1");
    agent.poll("").gives(401);
    again.finds_nothing("");
    let listed = admin.get("/api/jobs?nodeId=n1").ok();
    assert_eq!(listed.list("jobs").len(), 4, "the jobs stay readable");
}

#[test]
fn an_open_poll_ends_with_its_node_or_its_token() {
    let (_server, admin, agent) = with_node();
    let open = |agent: &FakeAgent| {
        let poll = agent.poll("wait=60").send_later();
        eventually("the poll to be open", || {
            (admin.get("/api/nodes/n1").ok()["status"] == "ONLINE").then_some(())
        });
        poll
    };
    let made = admin.call("POST", "/api/nodes/n1/tokens").gives(201).json();
    let mut second = agent.clone();
    second.token = made.field("token");
    let poll = open(&second);
    let goodbye = json!({"instance": "one", "stopping": true});
    agent.heartbeat(&goodbye).ok();
    let path = format!("/api/nodes/n1/tokens/{}", id_of(&made));
    admin.delete(&path).gives(204);
    // A job that comes after the revocation is not for whoever still waits with that token.
    let id = admin.queue("n1");
    joined("the poll's end", poll).refused(401, "unauthorized");
    assert_eq!(admin.job(&id)["status"], "QUEUED");
    assert_eq!(agent.claim_id(), id);
    agent.succeed(&id);
    agent.heartbeat(&goodbye).ok();

    let poll = open(&agent);
    admin.delete("/api/nodes/n1").gives(204);
    joined("the poll's end", poll).refused(401, "unauthorized");
}
