//! History in pictures: the last jobs as bars, and when a node was online.

use serde_json::json;

use crate::harness::{FakeAgent, Field, Person, Server, eventually, with_node};

fn page(person: &Person, path: &str) -> String {
    person.browser("GET", path).gives(200).text()
}

#[test]
fn history_is_drawn_on_the_pages_of_a_job_a_preset_and_a_node() {
    let mut server = Server::start();
    let admin = server.admin();
    let (agent, other) = (admin.add_node("n1"), admin.add_node("n2"));
    let work = |agent: &FakeAgent, code: i64| {
        let id = admin.queue(&agent.node_id);
        agent.claim();
        agent.complete(&id, &json!({"exitCode": code})).ok();
        id
    };
    let elsewhere = work(&other, 0);
    let first = work(&agent, 0);
    let alone = page(&admin, &format!("/jobs/{first}"));
    assert!(!alone.contains("class=\"bars\""), "{alone}");
    let ids: Vec<String> = (0..34)
        .map(|n| work(&agent, i64::from(n % 10 == 0)))
        .collect();
    let check = work(&agent, 1);
    let database = server.database();
    database.execute(&format!(
        "UPDATE jobs SET kind = 'check' WHERE id = '{check}'"
    ));
    let start = database.ago("2 hours");
    let finish = |length: &str, condition: &str| {
        let end = database.ago(length);
        database.execute(&format!(
            "UPDATE jobs SET started_at = {start}, finished_at = {end} WHERE {condition}"
        ))
    };
    finish("119 minutes", "started_at IS NOT NULL");
    let last = ids.last().expect("jobs");
    finish("118 minutes", &format!("id = '{last}'"));

    let shown = page(&admin, &format!("/jobs/{last}"));
    let bars: Vec<&str> = shown
        .split("<ol class=\"bars\">")
        .nth(1)
        .expect("bars")
        .split("</ol>")
        .next()
        .expect("bars")
        .split("<li")
        .skip(1)
        .collect();
    assert_eq!(bars.len(), 30);
    // The oldest is the fifth of 34: one in ten has failed, and of 30 these three.
    assert!(
        bars[0].contains(&ids[4]) && bars[29].contains(last),
        "{bars:#?}"
    );
    assert!(
        shown.contains("27 of 30 succeeded (90 %) · median 1 min · this one 100 % longer"),
        "{shown}"
    );
    assert_eq!(
        bars.iter()
            .filter(|bar| bar.contains("data-state=\"failed\""))
            .count(),
        3
    );
    assert!(bars[29].contains("aria-current=\"true\"") && !bars[28].contains("aria-current"));
    assert!(
        bars[29].contains("aria-label=\"This job: Succeeded after 2 min, note on n1, "),
        "{}",
        bars[29]
    );
    assert!(
        !shown.contains(&check) && !shown.contains(&elsewhere),
        "{shown}"
    );
    // An old job's page shows what was before it.
    let old = page(&admin, &format!("/jobs/{}", ids[1]));
    assert!(old.contains(&first) && !old.contains(last), "{old}");

    let preset = page(&admin, "/presets/note");
    assert!(preset.contains("27 of 30 succeeded (90 %)"), "{preset}");
    let node = page(&admin, "/nodes/n2");
    assert!(
        node.contains("1 of 1 succeeded (100 %) · median 1 min"),
        "{node}"
    );
    assert!(node.contains(&elsewhere), "{node}");
    for path in ["/presets", "/nodes"] {
        let list = page(&admin, path);
        let spark = "aria-label=\"Last 30 jobs: 27 succeeded, 3 failed; median 1 min\"";
        assert!(
            list.contains("<svg class=\"spark\"") && list.contains(spark),
            "{path}: {list}"
        );
    }
    // Only those that the person may see.
    server.set("HYPRBOX_OPERATOR_SCOPE", "own");
    let ann = server.person("ann", "OPERATOR");
    server.restart();
    let ann = ann.at_url(server.url());
    for path in ["/presets", "/presets/note", "/nodes", "/nodes/n1"] {
        let seen = page(&ann, path);
        assert!(
            !seen.contains("class=\"bars\"") && !seen.contains("class=\"spark\""),
            "{path}: {seen}"
        );
    }
}

/// Whether the node was ONLINE from each recorded change on, the oldest first.
fn recorded(server: &Server, node: &str) -> Vec<i64> {
    let query = format!(
        "SELECT CAST(online AS TEXT) FROM node_status_changes WHERE node_id = '{node}' ORDER BY at"
    );
    let found = server.database().texts(&query);
    found
        .iter()
        .map(|text| text.parse().expect("0 or 1"))
        .collect()
}

#[test]
fn each_change_between_online_and_offline_is_recorded_once() {
    let mut server = Server::start();
    let admin = server.admin();
    let (agent, quiet) = (admin.add_node("n1"), admin.add_node("n2"));
    admin.add_node("never");
    let has = |server: &Server, node: &str, wanted: &[i64]| {
        eventually(&format!("{node} {wanted:?}"), || {
            (recorded(server, node) == wanted).then_some(())
        });
    };
    agent.beat();
    quiet.beat();
    has(&server, "n1", &[1]);
    has(&server, "n2", &[1]);
    let goodbye = json!({"instance": "one", "intervalSeconds": 30, "stopping": true});
    agent.heartbeat(&goodbye).ok();
    has(&server, "n1", &[1, 0]);
    let said = admin
        .get("/api/nodes/n1")
        .ok()
        .field("lastSeenAt")
        .to_owned();
    let at =
        "SELECT count(*) FROM node_status_changes WHERE node_id = 'n1' AND online = 0 AND at = ";
    assert_eq!(server.database().number(&format!("{at}'{said}'")), 1);

    // A server that starts again knows both. What went silent meanwhile, it has seen last when it
    // was last seen.
    let long_ago = server.database().ago("2 hours");
    server.kill_and_change(&format!(
        "UPDATE nodes SET last_seen_at = {long_ago} WHERE id = 'n2'"
    ));
    let began = format!(
        "UPDATE node_status_changes SET at = {} WHERE node_id = 'n2'",
        server.database().ago("3 hours")
    );
    server.database().execute(&began);
    server.start_again();
    let admin = server.admin();
    has(&server, "n2", &[1, 0]);
    let agent = admin.agent_of("n1");
    agent.beat();
    has(&server, "n1", &[1, 0, 1]);
    assert!(recorded(&server, "never").is_empty());
    assert_eq!(recorded(&server, "n2"), [1, 0]);
}

#[test]
fn a_nodes_page_shows_when_it_was_online() {
    let (server, admin, agent) = with_node();
    let fresh = page(&admin, "/nodes/n1");
    assert!(!fresh.contains("class=\"days\""), "{fresh}");
    agent.beat();
    eventually("the first record", || {
        page(&admin, "/nodes/n1")
            .contains("100 % since ")
            .then_some(())
    });
    let database = server.database();
    let change = |ago: &str, online: i64| {
        let at = database.ago(ago);
        database.execute(&format!(
            "INSERT INTO node_status_changes (node_id, at, online) VALUES ('n1', {at}, {online})"
        ));
    };
    database.execute("DELETE FROM node_status_changes");
    change("40 days", 1);
    change("10 days", 0);
    change("9 days", 1);
    change("3 hours", 0);
    change("2 hours", 1);
    let shown = page(&admin, "/nodes/n1");
    assert!(
        shown.contains(" %, offline 2 times, at most 1 d<"),
        "{shown}"
    );
    assert_eq!(shown.matches("class=\"off\"").count(), 3, "{shown}");
    assert!(
        shown.contains(", for 1 h<") && shown.contains(", for 1 d<"),
        "{shown}"
    );
}
