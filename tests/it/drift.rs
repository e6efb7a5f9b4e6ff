//! Drift: what was applied to which node, and what the last check of it found.

use serde_json::{Value, json};

use crate::harness::{FakeAgent, Field, Person, Server, eventually, id_of, write_preset};

/// Two steps, a param and a secret.
const DOOR: &str = r#"name: door
targets: [any]
params:
  port: { type: int, default: 22 }
  key:  { type: secret, required: true }
steps:
  - { name: Set the port, unless: test -e "/x/$port", run: 'true' }
  - { name: Use the key, unless: grep -q "$key" /x, run: 'true' }
"#;

fn ready() -> (Server, Person, FakeAgent) {
    let mut server = Server::start();
    let admin = server.admin();
    write_preset(&server.presets_dir(), "door", DOOR);
    eventually("the preset is there", || {
        let list = admin.get("/api/presets").ok().to_string();
        list.contains("\"door\"").then_some(())
    });
    let agent = admin.add_node("n1");
    (server, admin, agent)
}

fn apply(admin: &Person, agent: &FakeAgent, node: &str, port: u16) -> String {
    let params = json!({"port": port, "key": "a good secret"});
    let job = admin.queue_with(node, "door", params);
    agent.claim();
    agent.succeed(&job);
    job
}

/// Ends the node's next check, which finds these states.
fn find(agent: &FakeAgent, states: [&str; 2]) -> String {
    let job = agent.claim_id();
    let [port, key] = states;
    agent.say(
        &job,
        0,
        &format!("==> [1/2] Set the port ({port})\n==> [2/2] Use the key ({key})\n"),
    );
    agent.succeed(&job);
    job
}

fn check(admin: &Person, agent: &FakeAgent, params: Value, states: [&str; 2]) -> String {
    let body = json!({"preset": "door", "nodeId": "n1", "params": params, "kind": "check"});
    admin.post("/api/jobs", &body).gives(201);
    find(agent, states)
}

fn rows(person: &Person, query: &str) -> Vec<Value> {
    let page = person.get(&format!("/api/drift{query}")).ok();
    page.list("drift").to_vec()
}

fn state(person: &Person) -> Value {
    rows(person, "")[0]["state"].clone()
}

#[test]
fn a_row_follows_the_last_apply_and_the_checks_with_its_params() {
    let (mut server, admin, agent) = ready();
    let viewer = server.person("viewer", "VIEWER");
    assert_eq!(
        viewer.get("/api/drift").ok(),
        json!({"drift": [], "nextCursor": null})
    );
    // A check of what was never applied makes no row, nor does an apply that fails.
    check(&admin, &agent, json!({}), ["ok", "can't tell"]);
    let failed = admin.queue_with("n1", "door", json!({"key": "a good secret"}));
    agent.claim();
    agent.complete(&failed, &json!({"exitCode": 1})).gives(200);
    assert_eq!(rows(&viewer, "").len(), 0);

    let applied = apply(&admin, &agent, "n1", 2222);
    let row = rows(&viewer, "").remove(0);
    assert_eq!(
        row,
        json!({"nodeId": "n1", "preset": "door", "params": {"port": 2222, "key": "***"},
            "appliedJobId": applied, "appliedAt": admin.job(&applied)["finishedAt"],
            "checkJobId": null, "checkedAt": null, "state": "unknown", "steps": []})
    );
    // Other params are another question.
    check(
        &admin,
        &agent,
        json!({"port": 22}),
        ["would run", "can't tell"],
    );
    assert_eq!(state(&viewer), "unknown");
    let same = json!({"port": 2222});
    let checked = check(&admin, &agent, same.clone(), ["would run", "can't tell"]);
    let row = rows(&viewer, "").remove(0);
    assert_eq!(
        (&row["checkJobId"], &row["checkedAt"], &row["state"]),
        (
            &json!(checked),
            &admin.job(&checked)["finishedAt"],
            &json!("drifted")
        )
    );
    assert_eq!(
        row["steps"],
        json!([{"index": 1, "name": "Set the port", "state": "wouldRun"},
            {"index": 2, "name": "Use the key", "state": "cantTell"}])
    );
    check(&admin, &agent, same.clone(), ["can't tell", "can't tell"]);
    assert_eq!(state(&viewer), "unknown");
    // A failed check shows nothing.
    let body = json!({"preset": "door", "nodeId": "n1", "params": same, "kind": "check"});
    admin.post("/api/jobs", &body).gives(201);
    let failed = agent.claim_id();
    agent.say(&failed, 0, "==> [1/2] Set the port (ok)\n");
    agent.complete(&failed, &json!({"exitCode": 2})).gives(200);
    assert_eq!(state(&viewer), "unknown");
    check(&admin, &agent, json!({"port": 2222}), ["ok", "can't tell"]);
    assert_eq!(state(&viewer), "ok");
    // A new apply is the new desired state, and nothing has checked it.
    apply(&admin, &agent, "n1", 22);
    let row = rows(&viewer, "").remove(0);
    assert_eq!(
        (&row["params"]["port"], &row["state"], &row["steps"]),
        (&json!(22), &json!("unknown"), &json!([]))
    );
    // The row goes with its node.
    admin.delete("/api/nodes/n1").gives(204);
    assert_eq!(rows(&viewer, "").len(), 0);
}

#[test]
fn rows_are_filtered_and_paged() {
    let (_server, admin, first) = ready();
    let second = admin.add_node("n2");
    for (node, agent) in [("n1", &first), ("n2", &second)] {
        apply(&admin, agent, node, 22);
        let job = admin.queue(node);
        agent.claim();
        agent.succeed(&job);
    }
    let places = |query: &str| -> Vec<String> {
        let place = |row: &Value| format!("{} {}", row.field("nodeId"), row.field("preset"));
        rows(&admin, query).iter().map(place).collect()
    };
    assert_eq!(places(""), ["n1 door", "n1 note", "n2 door", "n2 note"]);
    assert_eq!(places("?preset=door&selector=node%3Dn2"), ["n2 door"]);
    assert_eq!(places("?selector=role%3Dweb"), [] as [&str; 0]);
    let page = admin.get("/api/drift?limit=3").ok();
    assert_eq!(page.list("drift").len(), 3);
    let cursor = page.field("nextCursor").replace('/', "%2F");
    assert_eq!(places(&format!("?limit=3&cursor={cursor}")), ["n2 note"]);
    let last = admin
        .get(&format!("/api/drift?limit=1&cursor={cursor}"))
        .ok();
    assert_eq!(last["nextCursor"], Value::Null);
    for (query, field) in [
        ("cursor=x", "cursor"),
        ("limit=0", "limit"),
        ("selector=%3D", "selector"),
        ("node=n1", "node"),
    ] {
        let refused = admin.get(&format!("/api/drift?{query}"));
        assert_eq!(refused.refused(400, "bad_input").fields(), [field]);
    }
}

#[test]
fn check_now_queues_a_run_for_each_preset_and_set_of_params() {
    let (mut server, admin, first) = ready();
    let operator = server.person("operator", "OPERATOR");
    let second = admin.add_node("n2");
    let third = admin.add_node("n3");
    let everywhere = json!({"selector": "node in (n1,n2,n3)"});
    let none = operator.post("/api/drift/check", &everywhere).gives(201);
    assert_eq!(none.json()["runs"], json!([]));
    apply(&admin, &first, "n1", 22);
    apply(&admin, &second, "n2", 22);
    apply(&admin, &third, "n3", 2222);
    let note = admin.queue("n1");
    first.claim();
    first.succeed(&note);

    let only = json!({"selector": "node in (n1,n2,n3)", "preset": "door"});
    let made = operator.post("/api/drift/check", &only).gives(201).json();
    let shown: Vec<Value> = made
        .list("runs")
        .iter()
        .map(|run| json!([run["preset"], run["kind"], run["params"], run["nodeCount"]]))
        .collect();
    assert_eq!(
        shown,
        [
            json!(["door", "check", {"port": 22}, 2]),
            json!(["door", "check", {"port": 2222}, 1])
        ]
    );
    find(&first, ["ok", "can't tell"]);
    find(&second, ["would run", "can't tell"]);
    find(&third, ["ok", "can't tell"]);
    let states: Vec<Value> = rows(&admin, "?preset=door")
        .into_iter()
        .map(|row| row["state"].clone())
        .collect();
    assert_eq!(states, ["ok", "drifted", "ok"]);
    let all = operator.post("/api/drift/check", &everywhere).gives(201);
    assert_eq!(all.json().list("runs").len(), 3);

    let nowhere = json!({"selector": "role=web"});
    let refused = operator.post("/api/drift/check", &nowhere);
    assert_eq!(refused.refused(400, "bad_input").fields(), ["selector"]);
    let empty = operator.post("/api/drift/check", &json!({"selector": ""}));
    assert_eq!(empty.refused(400, "bad_input").fields(), ["selector"]);
    let other = json!({"selector": "node=n1", "preset": "no such preset"});
    let other = operator.post("/api/drift/check", &other).gives(201).json();
    assert_eq!(other["runs"], json!([]));
}

#[test]
fn a_preset_that_gained_a_param_is_still_checked_and_one_that_is_gone_is_left_out() {
    let (server, admin, agent) = ready();
    apply(&admin, &agent, "n1", 22);
    let more = DOOR.replace("  key:", "  mode: { type: string, default: fast }\n  key:");
    write_preset(&server.presets_dir(), "door", &more);
    eventually("the preset has changed", || {
        let preset = admin.get("/api/presets/door").ok().to_string();
        preset.contains("\"mode\"").then_some(())
    });
    let body = json!({"selector": "node=n1"});
    let made = admin.post("/api/drift/check", &body).gives(201).json();
    assert_eq!(
        made["runs"][0]["params"],
        json!({"port": 22, "mode": "fast"})
    );
    find(&agent, ["ok", "can't tell"]);
    assert_eq!(state(&admin), "ok");
    std::fs::remove_file(server.presets_dir().join("door.yaml")).expect("to remove");
    eventually("the preset is gone", || {
        let list = admin.get("/api/presets").ok().to_string();
        (!list.contains("\"door\"")).then_some(())
    });
    let made = admin.post("/api/drift/check", &body).gives(201).json();
    assert_eq!(
        made,
        json!({"runs": [], "leftOut": [{"preset": "door", "because": "Preset not found"}]})
    );
}

#[test]
fn rows_outlive_their_jobs() {
    let (server, admin, agent) = ready();
    apply(&admin, &agent, "n1", 22);
    check(&admin, &agent, json!({}), ["would run", "can't tell"]);
    let before = rows(&admin, "");
    server.database().execute("DELETE FROM jobs");
    assert_eq!(rows(&admin, ""), before);
    assert_eq!(before[0]["state"], "drifted");
}

#[test]
fn the_page_shows_checks_and_applies_again() {
    let (mut server, admin, first) = ready();
    let viewer = server.person("viewer", "VIEWER");
    let second = admin.add_node("n2");
    let page = |person: &Person, path: &str| person.browser("GET", path).gives(200).text();
    assert!(page(&viewer, "/drift").contains("No preset was applied"));
    for (node, agent) in [("n1", &first), ("n2", &second)] {
        apply(&admin, agent, node, 22);
        let job = admin.queue(node);
        agent.claim();
        agent.succeed(&job);
    }
    let post = |path: &str, body: &str| {
        let call = admin.browser("POST", path);
        let call = call.header("sec-fetch-site", "same-origin");
        let call = call.body("application/x-www-form-urlencoded", body.to_owned());
        call.gives(303).header("location")
    };
    let run = post("/drift", "selector=&preset=note");
    assert!(run.starts_with("/runs/"), "{run}");
    for agent in [&first, &second] {
        let job = agent.claim_id();
        agent.say(&job, 0, "==> [1/1] Write the note (would run)\n");
        agent.succeed(&job);
    }
    let shown = page(&admin, "/drift");
    assert!(
        shown.contains("2 have drifted") && shown.contains("drifted: 1"),
        "{shown}"
    );
    let job = rows(&admin, "?preset=note")[0].field("checkJobId");
    assert!(shown.contains(&format!("/jobs/{job}?scope=all")));
    assert!(shown.contains("/drift/again?preset=note"));
    assert!(!page(&viewer, "/drift").contains("/drift/again"));
    assert!(!page(&admin, "/drift?preset=door").contains("drifted: 1"));
    assert!(page(&admin, "/drift?selector=%3D").contains("The selector"));
    let asks = page(&admin, "/drift/again?preset=note");
    assert!(
        asks.contains("n1</a> goes first") || asks.contains("n1 goes first"),
        "{asks}"
    );
    // A preset with a secret is left to its form.
    let secret = page(&admin, "/drift/again?preset=door&node=n1");
    assert!(secret.contains("It takes secrets"), "{secret}");
    let run = post("/drift/again", "preset=note");
    let run = admin.get(&format!("/api{run}?jobs=false")).ok();
    assert_eq!(
        (&run["kind"], &run["plan"]["canary"], &run["nodeCount"]),
        (&json!("apply"), &json!(1), &json!(2))
    );
    assert!(page(&admin, "/nodes/n1").contains("/drift?selector=node%3Dn1"));
    assert!(page(&admin, "/presets/note").contains("/drift?preset=note"));
}

#[test]
fn a_check_shows_the_script_diff_next_to_its_steps() {
    let (server, admin, agent) = ready();
    apply(&admin, &agent, "n1", 22);
    admin.add_node("n2");
    let changed = DOOR.replace("targets:", "title: Another door\ntargets:");
    write_preset(&server.presets_dir(), "door", &changed);
    eventually("the preset has changed", || {
        let list = admin.get("/api/presets").ok().to_string();
        list.contains("Another door").then_some(())
    });
    let page = |path: &str| admin.browser("GET", path).gives(200).text();
    let check = json!({"preset": "door", "nodeId": "n1", "kind": "check"});
    let job = id_of(&admin.post("/api/jobs", &check).gives(201).json());
    let shown = page(&format!("/jobs/{job}"));
    for words in [
        "The script that would be applied",
        "last apply",
        "<ins>+",
        "<del>-",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let check = json!({"preset": "door", "nodes": ["n1", "n2"], "kind": "check"});
    let run = id_of(&admin.post("/api/runs", &check).gives(201).json());
    let shown = page(&format!("/runs/{run}"));
    for words in [
        "On n1: changes since",
        "On n2: not applied before",
        "<ins>+",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    // A job that applies has no such part.
    let job = admin.queue("n1");
    assert!(!page(&format!("/jobs/{job}")).contains("would-change"));
}
