//! `POST /api/runs`.

use serde_json::{Value, json};

use super::{act, add_nodes, counts, do_job, names, of_jobs, run, start, with_nodes};
use crate::harness::{Field, id_of, ids_of, write_preset};

/// Everything that a run shows, and of these what is null at first.
const FIELDS: &[(&str, bool)] = &[
    ("id", false),
    ("preset", false),
    ("params", false),
    ("kind", false),
    ("selector", true),
    ("plan", false),
    ("status", false),
    ("counts", false),
    ("nodeCount", false),
    ("createdBy", false),
    ("createdByEmail", false),
    ("createdAt", false),
    ("finishedAt", true),
    ("retryOf", true),
    ("scheduleId", true),
    ("stoppedBecause", true),
];

#[test]
fn a_run_shows_every_field_and_its_jobs_are_jobs() {
    let (_server, admin, agents) = with_nodes(3);
    let body = json!({"preset": "note", "nodes": ["n2", "n1", "n2", "n3"], "params": {"text": "hi"},
        "plan": {"canary": 1, "batch": "50%"}, "timeoutSeconds": 30});
    let answer = admin.post("/api/runs", &body).gives(201);
    let made = answer.json();
    let id = id_of(&made);
    assert_eq!(answer.header("location"), format!("/api/runs/{id}"));
    for (field, empty) in FIELDS {
        let value = made.get(field).unwrap_or_else(|| panic!("{field}: {made}"));
        assert_eq!(value.is_null(), *empty, "{field}: {made}");
    }
    assert_eq!(made.as_object().expect("an object").len(), FIELDS.len());
    assert_eq!(made["kind"], "apply");
    assert_eq!(made["status"], "RUNNING");
    assert_eq!(made["params"]["text"], "hi");
    assert_eq!(made["params"]["port"], 22);
    assert_eq!(made["nodeCount"], 3);
    assert_eq!(made["createdByEmail"], "admin@example.org");
    assert_eq!(
        made["plan"],
        json!({"canary": 1, "batch": "50%", "pauseSeconds": 0, "maxFailures": 0})
    );
    assert_eq!(
        made["counts"],
        json!({"held": 2, "queued": 1, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0, "skipped": 0})
    );
    // A node named twice is one job, and the order is the one given.
    assert_eq!(of_jobs(&admin, &id, "nodeId"), ["n2", "n1", "n3"]);
    assert_eq!(of_jobs(&admin, &id, "batch"), [0, 1, 1]);

    let job = admin.job(of_jobs(&admin, &id, "id")[1].as_str().expect("an id"));
    assert_eq!(job["runId"], json!(id));
    assert_eq!(job["batch"], 1);
    assert_eq!(job["kind"], "apply");
    assert_eq!(job["timeoutSeconds"], 30);
    assert_eq!(job["holds"][0]["kind"], "batch");
    assert!(job.field("script").contains("hi"));
    let listed = admin.get(&format!("/api/jobs?runId={id}")).ok();
    assert_eq!(listed.list("jobs").len(), 3);
    let single = admin.queue("n1");
    let listed = admin.get(&format!("/api/jobs?runId={id}")).ok();
    assert!(!ids_of(&listed).contains(&single));
    assert_eq!(admin.job(&single)["runId"], Value::Null);
    assert_eq!(admin.job(&single)["batch"], Value::Null);
    drop(agents);
}

#[test]
fn a_selector_takes_the_nodes_that_match_now_in_the_order_of_their_ids() {
    let (_server, admin, _agents) = with_nodes(0);
    for (id, role) in [("c", "web"), ("a", "web"), ("b", "db"), ("d", "web")] {
        admin
            .post("/api/nodes", &json!({"id": id, "labels": {"role": role}}))
            .gives(201);
    }
    let body = json!({"preset": "note", "selector": "role=web"});
    let made = admin.post("/api/runs", &body).gives(201).json();
    assert_eq!(made["selector"], "role=web");
    let id = id_of(&made);
    assert_eq!(of_jobs(&admin, &id, "nodeId"), ["a", "c", "d"]);
    // A node that is added later takes no part.
    admin
        .post("/api/nodes", &json!({"id": "e", "labels": {"role": "web"}}))
        .gives(201);
    assert_eq!(run(&admin, &id)["nodeCount"], 3);

    let nothing = json!({"preset": "note", "selector": "role=mail"});
    let answer = admin.post("/api/runs", &nothing).gives(400);
    assert_eq!(answer.fields(), ["selector"]);
    let malformed = json!({"preset": "note", "selector": "role in web"});
    let answer = admin.post("/api/runs", &malformed).gives(400);
    assert_eq!(answer.fields(), ["selector"]);
    let empty = json!({"preset": "note", "selector": ""});
    assert_eq!(
        admin.post("/api/runs", &empty).gives(400).fields(),
        ["selector"]
    );
}

#[test]
fn every_fault_is_named_at_once_and_nothing_is_queued() {
    let (_server, admin, _agents) = with_nodes(1);
    let faults = |body: Value| admin.post("/api/runs", &body).gives(400).fields();
    assert_eq!(
        faults(
            json!({"preset": "note", "nodes": ["n1"], "selector": "x", "params": {"port": 0},
            "plan": {"canary": -1, "batch": "0%", "pauseSeconds": -1, "maxFailures": -1},
            "timeoutSeconds": 0, "expiresInSeconds": 59})
        ),
        [
            "expiresInSeconds",
            "params.port",
            "plan.batch",
            "plan.canary",
            "plan.maxFailures",
            "plan.pauseSeconds",
            "selector",
            "timeoutSeconds",
        ]
    );
    let with = |field: &str, value: Value| {
        let mut body = json!({"preset": "note", "nodes": ["n1"]});
        body[field] = value;
        body
    };
    assert_eq!(faults(json!({"preset": "note"})), ["nodes"]);
    assert_eq!(faults(json!({"preset": "note", "nodes": []})), ["nodes"]);
    let many: Vec<String> = (0..5_001).map(|number| format!("m{number}")).collect();
    assert_eq!(faults(with("nodes", json!(many))), ["nodes"]);
    for batch in [
        json!(0),
        json!(-1),
        json!("101%"),
        json!("5"),
        json!(1.5),
        json!(true),
    ] {
        assert_eq!(
            faults(with("plan", json!({"batch": batch}))),
            ["plan.batch"]
        );
    }
    assert_eq!(
        faults(with("plan", json!({"canaries": 1}))),
        ["plan.canaries"]
    );
    assert_eq!(
        faults(with("plan", json!({"pauseSeconds": 86_401}))),
        ["plan.pauseSeconds"]
    );
    assert_eq!(faults(with("ifOffline", json!("panic"))), ["ifOffline"]);
    assert_eq!(faults(with("kind", json!("destroy"))), ["kind"]);
    assert_eq!(faults(with("colour", json!("red"))), ["colour"]);
    // As for a job.
    let no_zone = "must be a time with its zone, such as 2026-11-24T09:30:00Z";
    let far = super::in_days(367);
    for (at, message) in [
        ("tomorrow", no_zone),
        ("2026-12-01T08:00:00", no_zone),
        ("2026-12-01 08:00:00", no_zone),
        ("2026-12-01", no_zone),
        ("", no_zone),
        (&far, "must be at most 366 days ahead"),
    ] {
        for path in ["/api/runs", "/api/runs?dryRun=true"] {
            let body = with("notBefore", json!(at));
            let error = admin.post(path, &body).gives(400).json();
            assert_eq!(error["fields"], json!({"notBefore": message}), "{at}");
        }
    }
    admin
        .post("/api/runs", &with("preset", json!("nonsense")))
        .gives(404);
    let answer = admin.post("/api/runs?dryrun=true", &with("preset", json!("note")));
    assert_eq!(answer.gives(400).fields(), ["dryrun"]);
    assert_eq!(admin.get("/api/jobs").ok().list("jobs").len(), 0);
    assert_eq!(admin.get("/api/runs").ok().list("runs").len(), 0);
}

#[test]
fn unknown_nodes_are_all_named() {
    let (_server, admin, _agents) = with_nodes(1);
    let unknown: Vec<String> = (1..=40).map(|number| format!("gone-{number}")).collect();
    let mut nodes = unknown.clone();
    nodes.push("n1".to_owned());
    let body = json!({"preset": "note", "nodes": nodes});
    let answer = admin.post("/api/runs", &body).gives(404).json();
    for id in &unknown {
        assert!(answer.field("error").contains(id.as_str()), "{answer}");
    }
    assert!(!answer.field("error").contains("n1,"), "{answer}");
    assert_eq!(admin.get("/api/jobs").ok().list("jobs").len(), 0);
}

#[test]
fn five_thousand_nodes_are_one_run() {
    let (server, admin, _agents) = with_nodes(0);
    let now = server.database().now();
    let ids: Vec<String> = (0..5_000).map(|number| format!("n{number:04}")).collect();
    let rows: Vec<String> = ids
        .iter()
        .map(|id| format!("('{id}', '{id}', '{{}}', {now})"))
        .collect();
    server.database().execute(&format!(
        "INSERT INTO nodes (id, name, labels, created_at) VALUES {}",
        rows.join(", ")
    ));
    let id = id_of(
        &admin
            .post(
                "/api/runs",
                &json!({"preset": "note", "nodes": ids, "plan": {"batch": 50}}),
            )
            .gives(201)
            .json(),
    );
    assert_eq!(counts(&admin, &id), json!({"queued": 50, "held": 4_950}));
    let batches = of_jobs(&admin, &id, "batch");
    assert_eq!((batches.len(), &batches[4_999]), (5_000, &json!(99)));
    // One text for all of them.
    let scripts = server.database().number("SELECT count(*) FROM scripts");
    assert_eq!(scripts, 1);
    act(&admin, &id, "cancel");
    assert_eq!(counts(&admin, &id), json!({"cancelled": 5_000}));
}

#[test]
fn the_script_and_the_nodes_are_frozen() {
    let (server, admin, agents) = with_nodes(2);
    let id = start(&admin, &agents, json!({"plan": {"batch": 1}}));
    let text = "name: note\ntitle: Another\ndescription: d\ntargets: [any]\nrisk: low\ntimeout: 1m\nsteps:\n  - name: Other\n    run: echo other\n";
    write_preset(&server.presets_dir(), "note", text);
    let script = |number: usize| {
        let job = of_jobs(&admin, &id, "id")[number]
            .as_str()
            .expect("an id")
            .to_owned();
        admin.job(&job).field("script")
    };
    do_job(&agents[0], 0);
    let claimed = agents[1].claim();
    assert!(claimed.field("script").contains("Say it"), "{claimed}");
    assert_eq!(claimed.field("script"), script(0));
    assert_eq!(script(0), script(1));
    let ids = of_jobs(&admin, &id, "id");
    let (one, two) = (ids[0].as_str().expect("id"), ids[1].as_str().expect("id"));
    let diff = admin.get(&format!("/api/jobs/{one}/diff/{two}")).gives(200);
    assert_eq!(diff.body.len(), 0);
}

#[test]
fn the_same_key_returns_the_same_run() {
    let (_server, admin, agents) = with_nodes(2);
    let body = json!({"preset": "note", "nodes": names(&agents)});
    let post = |body: &Value| {
        admin
            .post("/api/runs", body)
            .header("idempotency-key", "k1")
    };
    let first = post(&body).gives(201);
    let again = post(&body).gives(200);
    assert_eq!(id_of(&first.json()), id_of(&again.json()));
    assert_eq!(again.header("location"), first.header("location"));
    let other = json!({"preset": "note", "nodes": ["n1"]});
    post(&other).gives(409);
    let job = json!({"preset": "note", "nodeId": "n1"});
    admin
        .post("/api/jobs", &job)
        .header("idempotency-key", "k1")
        .gives(409);
    // Too long to compare with a repetition: refused, instead of queued twice.
    let named = vec!["n1"; 11_000];
    let long = json!({"preset": "note", "nodes": named});
    assert_eq!(post(&long).gives(400).fields(), ["Idempotency-Key"]);
    assert_eq!(admin.get("/api/jobs").ok().list("jobs").len(), 2);
    let made = admin.post("/api/runs", &long).gives(201).json();
    assert_eq!(made["nodeCount"], 1);
}

#[test]
fn a_dry_run_shows_the_batches_and_queues_nothing() {
    let (server, admin, agents) = with_nodes(3);
    let debian = "name: debian-only\ntitle: t\ndescription: d\ntargets: [debian]\nrisk: low\ntimeout: 1m\nsteps:\n  - name: s\n    run: echo x\n";
    write_preset(&server.presets_dir(), "debian-only", debian);
    agents[0].beat();
    let os = json!({"id": "fedora", "versionId": "41", "prettyName": "Fedora 41"});
    let beat = json!({"instance": "one", "hostname": "h", "agentVersion": "0.1.0", "os": os, "intervalSeconds": 30});
    agents[1].heartbeat(&beat).ok();
    admin
        .call("PATCH", "/api/nodes/n2")
        .json(&json!({"paused": true}))
        .ok();
    let body = json!({"preset": "debian-only", "nodes": ["n1", "n2", "n3"], "plan": {"canary": 1, "batch": 1}});
    let shown = admin.post("/api/runs?dryRun=true", &body).gives(200).json();
    assert_eq!(
        shown["nodes"],
        json!([
            {"id": "n1", "status": "ONLINE", "paused": false, "matchesTargets": true, "batch": 0},
            {"id": "n2", "status": "ONLINE", "paused": true, "matchesTargets": false, "batch": 1},
            {"id": "n3", "status": "OFFLINE", "paused": false, "matchesTargets": null, "batch": 2},
        ])
    );
    let rendered = admin
        .post("/api/presets/debian-only/render", &json!({"params": {}}))
        .ok();
    assert_eq!(shown["scriptSha256"], rendered["scriptSha256"]);
    assert_eq!(admin.get("/api/runs").ok().list("runs").len(), 0);
    assert_eq!(admin.get("/api/jobs").ok().list("jobs").len(), 0);
    // The same request without it queues, also on the node of another distribution, as a job does.
    admin.post("/api/runs", &body).gives(201);
    admin.post("/api/runs?dryRun=maybe", &body).gives(400);
}

#[test]
fn a_paused_node_takes_part_and_its_job_waits() {
    let (_server, admin, agents) = with_nodes(1);
    let pause = |paused: bool| {
        admin
            .call("PATCH", "/api/nodes/n1")
            .json(&json!({"paused": paused}))
            .ok()
    };
    pause(true);
    let id = start(&admin, &agents, json!({}));
    agents[0].finds_nothing("");
    assert_eq!(of_jobs(&admin, &id, "holds"), [json!([])]);
    let page = |path: &str| admin.browser("GET", path).gives(200).text();
    assert!(page(&format!("/runs/{id}")).contains("the node is paused"));
    for path in ["/", "/jobs"] {
        assert!(page(path).contains("node paused"), "{path}");
    }
    pause(false);
    assert!(!page(&format!("/runs/{id}")).contains("the node is paused"));
    assert!(!page("/jobs").contains("node paused"));
    do_job(&agents[0], 0);
    assert_eq!(run(&admin, &id)["status"], "SUCCEEDED");
}

#[test]
fn every_job_of_a_run_gets_its_secret() {
    let (server, admin, agents) = with_nodes(2);
    let body = json!({"preset": "vault", "nodes": names(&agents), "params": {"key": "swordfish"}, "plan": {"batch": 1}});
    let made = admin.post("/api/runs", &body).gives(201).json();
    assert_eq!(made["params"]["key"], "***");
    let sealed = || server.database().number("SELECT count(*) FROM job_secrets");
    assert_eq!(sealed(), 2);
    for agent in &agents {
        let job = agent.claim();
        assert_eq!(job["secrets"], json!({"key": "swordfish"}));
        agent.succeed(&id_of(&job));
    }
    assert_eq!(sealed(), 0);
    let missing = json!({"preset": "vault", "nodes": names(&agents)});
    assert_eq!(
        admin.post("/api/runs", &missing).gives(400).fields(),
        ["params.key"]
    );
}

#[test]
fn a_viewer_queues_no_run() {
    let (mut server, admin, _agents) = with_nodes(0);
    add_nodes(&admin, 1);
    let viewer = server.person("vic", "VIEWER");
    let body = json!({"preset": "note", "nodes": ["n1"]});
    viewer.post("/api/runs", &body).gives(403);
    viewer.post("/api/runs?dryRun=true", &body).gives(403);
    assert_eq!(admin.audit("action=run.queue").len(), 0);
    admin.post("/api/runs", &body).gives(201);
    assert_eq!(admin.audit("action=run.queue").len(), 1);
}
