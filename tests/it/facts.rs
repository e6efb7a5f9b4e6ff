//! The facts that agents report about their machines, hostile ones included.

use serde_json::{Value, json};

use crate::harness::{FakeAgent, Field, Person, RealAgent, Server, eventually, with_node};

fn send(agent: &FakeAgent, facts: &Value) {
    let body =
        json!({"instance": "one", "hostname": "host", "intervalSeconds": 30, "facts": facts});
    assert_eq!(agent.heartbeat(&body).ok(), json!({}));
}

fn facts(admin: &Person) -> (Value, Value) {
    let node = admin.get("/api/nodes/n1").ok();
    (node["facts"].clone(), node["factsAt"].clone())
}

fn full() -> Value {
    json!({
        "arch": "x86_64",
        "kernel": "6.12.48+deb13-amd64",
        "cpus": 8,
        "memoryBytes": 16_777_216_000_u64,
        "disks": [{"mount": "/", "sizeBytes": 256_000_000_000_u64, "freeBytes": 64_000_000_000_u64}],
        "addresses": ["192.0.2.7", "2001:db8::7"],
        "virtualization": "kvm",
        "bootedAt": "2026-11-24T09:30:00Z",
        "rebootRequired": true,
        "pendingUpdates": 12,
    })
}

fn unknown() -> Value {
    let names = full()
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect::<Vec<_>>();
    names
        .into_iter()
        .map(|name| (name, Value::Null))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
fn facts_are_kept_and_shown() {
    let (mut server, admin, agent) = with_node();
    assert_eq!(facts(&admin), (Value::Null, Value::Null));
    send(&agent, &full());
    let (kept, at) = facts(&admin);
    let mut wanted = full();
    wanted["bootedAt"] = json!("2026-11-24T09:30:00.000Z");
    assert_eq!(kept, wanted);
    assert!(at.as_str().is_some_and(|at| at.ends_with('Z')), "{at}");
    assert_eq!(admin.get("/api/nodes").ok()["nodes"][0]["facts"], wanted);
    // A heartbeat without facts, and a restart of the server, change nothing.
    agent.beat();
    server.restart();
    assert_eq!(facts(&server.admin()), (kept, at));
}

#[test]
fn what_is_not_a_fact_is_unknown() {
    let (_server, admin, agent) = with_node();
    for (wrong, kept) in [
        (json!({}), unknown()),
        (
            json!({"arch": 5, "cpus": -1, "memoryBytes": 1.5, "disks": {}, "addresses": "x",
            "virtualization": "a\u{0}b", "bootedAt": "soon", "rebootRequired": "no",
            "pendingUpdates": 18_446_744_073_709_551_615_u64, "kernel": "k".repeat(256)}),
            unknown(),
        ),
        (json!({"cpus": 4, "mood": {"today": ["good"]}}), {
            let mut kept = unknown();
            kept["cpus"] = json!(4);
            kept
        }),
        (
            json!({"disks": [{"mount": "/"}, {"sizeBytes": 5}, "x", null, {"mount": "/a", "sizeBytes": "x", "freeBytes": 7}],
            "addresses": ["192.0.2.1", 5, "", null]}),
            {
                let mut kept = unknown();
                kept["disks"] = json!([{"mount": "/", "sizeBytes": null, "freeBytes": null},
                {"mount": "/a", "sizeBytes": null, "freeBytes": 7}]);
                kept["addresses"] = json!(["192.0.2.1"]);
                kept
            },
        ),
    ] {
        send(&agent, &wrong);
        assert_eq!(facts(&admin).0, kept, "{wrong}");
        admin.browser("GET", "/nodes/n1").gives(200);
    }
}

#[test]
fn facts_that_are_too_long_or_no_object_are_ignored_and_logged() {
    let (server, admin, agent) = with_node();
    let with_arch = |length: usize| {
        let rest = json!({"arch": "", "x": ""}).to_string().len();
        json!({"arch": "a", "x": "y".repeat(length - rest - 1)})
    };
    let largest = with_arch(8 * 1024);
    assert_eq!(largest.to_string().len(), 8 * 1024);
    send(&agent, &largest);
    let (kept, at) = facts(&admin);
    assert_eq!(kept["arch"], "a");
    let deep = format!("{}{}", "[".repeat(4_000), "]".repeat(4_000));
    let short_disks = vec![json!({"mount": "/"}); 400];
    for wrong in [
        with_arch(8 * 1024 + 1).to_string(),
        json!({"arch": "b".repeat(1_000_000)}).to_string(),
        json!({"arch": "b", "disks": short_disks}).to_string(),
        deep,
        "[]".to_owned(),
        "5".to_owned(),
        "\"x\"".to_owned(),
        "1e999".to_owned(),
        r#"{"arch": "\ud800"}"#.to_owned(),
    ] {
        let body =
            format!("{{\"instance\": \"one\", \"hostname\": \"still-here\", \"facts\": {wrong}}}");
        let call = agent.call("POST", "/api/nodes/n1/heartbeat");
        call.body("application/json", body).ok();
        let shown: String = wrong.chars().take(60).collect();
        assert_eq!(facts(&admin), (kept.clone(), at.clone()), "{shown}");
    }
    assert_eq!(admin.get("/api/nodes/n1").ok()["hostname"], "still-here");
    server.wait_for_log(&["ignoring the facts that the agent sent"]);
    // Null is nothing to ignore.
    send(&agent, &Value::Null);
    assert_eq!(facts(&admin).0, kept);
}

#[test]
fn garbage_in_the_database_is_no_error() {
    let (server, admin, agent) = with_node();
    send(&agent, &full());
    for garbage in ["{", "[]", "5", ""] {
        server.database().execute(&format!(
            "UPDATE nodes SET facts = '{garbage}' WHERE id = 'n1'"
        ));
        assert_eq!(facts(&admin).0, Value::Null, "{garbage}");
        admin.browser("GET", "/nodes/n1").gives(200);
    }
}

#[test]
fn a_real_agent_reports_its_machine() {
    let mut server = Server::start();
    let admin = server.admin();
    let identity = admin.add_node("n1");
    let _agent = RealAgent::start(&server, &identity);
    eventually("facts", || {
        let node = admin.get("/api/nodes/n1").ok();
        node["facts"].is_object().then_some(())
    });
    let (facts, at) = facts(&admin);
    assert!(at.is_string(), "{at}");
    let machine = std::process::Command::new("uname")
        .arg("-mr")
        .output()
        .expect("uname");
    let machine = String::from_utf8(machine.stdout).expect("UTF-8");
    assert_eq!(
        machine.trim(),
        format!("{} {}", facts.field("kernel"), facts.field("arch"))
    );
    assert!(
        facts.count("cpus") > 0 && facts.count("memoryBytes") > 1_000_000,
        "{facts}"
    );
    assert!(facts.field("bootedAt").ends_with('Z'), "{facts}");
    let disks = facts["disks"].as_array().expect("disks");
    assert!(
        disks.iter().all(|disk| disk["mount"].is_string()),
        "{facts}"
    );
}
