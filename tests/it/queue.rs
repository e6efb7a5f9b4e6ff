//! Queueing: the job that comes of it, every fault at once, and the same request twice.

use serde_json::{Map, Value, json};

use crate::harness::{Field, Person, Server, id_of, write_preset};

fn ready() -> (Server, Person) {
    let mut server = Server::start();
    let admin = server.admin();
    admin.add_node("n1");
    (server, admin)
}

/// Everything that a job shows, and of these what is null at first.
const FIELDS: &[(&str, bool)] = &[
    ("id", false),
    ("preset", false),
    ("nodeId", false),
    ("params", false),
    ("status", false),
    ("createdBy", false),
    ("createdByEmail", false),
    ("createdAt", false),
    ("startedAt", true),
    ("finishedAt", true),
    ("exitCode", true),
    ("signal", true),
    ("errorMsg", true),
    ("timeoutSeconds", false),
    ("cancelRequestedAt", true),
    ("recoveredAt", true),
    ("scriptSha256", false),
    ("stdoutBytes", false),
    ("stderrBytes", false),
    ("stdoutDropped", false),
    ("stderrDropped", false),
    ("runId", true),
    ("batch", true),
    ("kind", false),
    ("notBefore", true),
    ("expiresAt", true),
    ("holds", false),
    ("presetVersion", true),
    ("presetCommit", true),
    ("signedBy", true),
    ("outputVerified", true),
    ("checkResult", true),
    ("confirmBy", true),
    ("confirmRequestedAt", true),
    ("ranMs", true),
];

#[test]
fn a_script_that_no_agent_accepts_is_not_queued() {
    let (server, admin) = ready();
    let names = ["a", "b", "c", "d", "e"];
    let params: String = names
        .map(|name| format!("  {name}: {{ type: string, maxLength: 1048576, default: x }}\n"))
        .concat();
    let preset = format!(
        "name: long\ntitle: Long\ndescription: For tests.\ntargets: [any]\nrisk: low\ntimeout: 10m\n\
         params:\n{params}steps:\n  - name: Do it\n    run: 'true'\n"
    );
    write_preset(&server.presets_dir(), "long", &preset);
    // A single quote takes four bytes in bash, and one more of these in JSON.
    let queue = |count: usize| {
        let params: Map<String, Value> = names[..count]
            .iter()
            .map(|name| ((*name).to_owned(), json!("'".repeat(1_048_576))))
            .collect();
        let body = json!({"preset": "long", "nodeId": "n1", "params": params});
        admin.post("/api/jobs", &body)
    };
    let refused = queue(4).refused(400, "bad_input").json();
    let message = refused["fields"]["params"].as_str().expect("a message");
    assert!(message.contains("more than 16 MiB"), "{message}");
    queue(3).gives(201);
}

#[test]
fn a_queued_job_shows_every_field() {
    let (_server, admin) = ready();
    let body = json!({"preset": "note", "nodeId": "n1", "params": {"text": "hi", "count": 3}});
    let answer = admin.post("/api/jobs", &body).gives(201);
    let job = answer.json();
    let id = id_of(&job);
    assert_eq!(answer.header("location"), format!("/api/jobs/{id}"));
    for (field, empty) in FIELDS {
        let value = job.get(field).unwrap_or_else(|| panic!("{field}: {job}"));
        assert_eq!(value.is_null(), *empty, "{field}: {job}");
    }
    assert_eq!(job.as_object().expect("an object").len(), FIELDS.len());
    assert_eq!(
        uuid::Uuid::parse_str(&id)
            .expect("a UUID")
            .get_version_num(),
        7
    );
    assert_eq!(job["status"], "QUEUED");
    assert_eq!(job["createdBy"], json!(admin.id));
    assert_eq!(job["createdByEmail"], "admin@example.org");
    assert_eq!(job["timeoutSeconds"], 600, "the preset's own");
    // Those used: given, or by default. One that is neither is absent.
    let used = json!({"text": "hi", "port": 22, "count": 3, "loud": false, "colour": "red"});
    assert_eq!(job["params"], used);
    let created = job.field("createdAt");
    assert_eq!(created.len(), "2026-11-24T09:30:00.123Z".len(), "{created}");
    assert!(
        created.ends_with('Z') && created.as_bytes()[19] == b'.',
        "{created}"
    );

    let detail = admin.job(&id);
    let mut shown = job.as_object().expect("an object").clone();
    let script = detail.field("script");
    shown.extend([
        ("script".to_owned(), Value::from(script.as_str())),
        ("stdout".to_owned(), Value::from("")),
        ("stderr".to_owned(), Value::from("")),
    ]);
    assert_eq!(detail, Value::Object(shown));
    assert!(script.starts_with("set -euo pipefail"), "{script}");
}

#[test]
fn the_digest_is_the_scripts() {
    use sha2::{Digest, Sha256};
    let (_server, admin) = ready();
    let job = admin.job(&admin.queue("n1"));
    let digest: String = Sha256::digest(job.field("script"))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(job.field("scriptSha256"), digest);
}

#[test]
fn every_fault_is_named_at_once() {
    let (_server, admin) = ready();
    let params = json!({"port": "22", "count": 6, "loud": "yes", "colour": "blue", "text": 1, "nonsense": 1});
    let body =
        json!({"preset": "note", "nodeId": "n1", "params": params, "timeoutSeconds": 604_801});
    let fields = admin.post("/api/jobs", &body).gives(400).fields();
    let expected = [
        "params.colour",
        "params.count",
        "params.loud",
        "params.nonsense",
        "params.port",
        "params.text",
        "timeoutSeconds",
    ];
    assert_eq!(fields, expected);
    assert_eq!(admin.get("/api/jobs").ok().list("jobs").len(), 0);
}

#[test]
fn params_are_json_of_their_type() {
    let (_server, admin) = ready();
    let queue = |name: &str, value: &Value| {
        let body = json!({"preset": "note", "nodeId": "n1", "params": {name: value}});
        admin.post("/api/jobs", &body).send()
    };
    for (name, good) in [
        ("port", json!(1)),
        ("port", json!(65_535)),
        ("count", json!(5)),
        ("loud", json!(true)),
        ("colour", json!("green")),
        ("text", json!("")),
        ("text", json!("\u{e9}'\"$(x)`x`\\\n")),
        ("text", json!("\u{e9}".repeat(2_000))),
    ] {
        let job = queue(name, &good).is(201).json();
        assert_eq!(job["params"][name], good);
    }
    for (name, bad) in [
        ("port", json!("22")),
        ("port", json!(null)),
        ("port", json!(22.0)),
        ("port", json!(0)),
        ("port", json!(65_536)),
        ("port", json!(-1)),
        ("port", json!(1e300)),
        ("port", json!([22])),
        ("count", json!(0)),
        ("count", json!("1")),
        ("loud", json!(1)),
        ("loud", json!("true")),
        ("loud", json!(null)),
        ("colour", json!("RED")),
        ("colour", json!(null)),
        ("text", json!(null)),
        ("text", json!(22)),
        ("text", json!("a\u{0}b")),
        ("text", json!("\u{e9}".repeat(2_001))),
        ("text", json!({})),
    ] {
        let refused = queue(name, &bad).is(400);
        assert_eq!(refused.fields(), [format!("params.{name}")], "{bad}");
    }
    // 22.0 as a client may write it; serde_json above may, too.
    let text = r#"{"preset":"note","nodeId":"n1","params":{"port":22.0}}"#;
    let refused = admin
        .call("POST", "/api/jobs")
        .body("application/json", text)
        .gives(400);
    assert_eq!(refused.fields(), ["params.port"]);
}

#[test]
fn unknown_fields_are_named() {
    let (_server, admin) = ready();
    let body = json!({"preset": "note", "nodeId": "n1", "parameters": {}, "node": "n1"});
    let fields = admin.post("/api/jobs", &body).gives(400).fields();
    assert_eq!(fields, ["node", "parameters"]);
    for (body, field) in [
        (json!({"nodeId": "n1"}), "preset"),
        (json!({"preset": "note"}), "nodeId"),
        (json!({"preset": 1, "nodeId": "n1"}), "preset"),
        (
            json!({"preset": "note", "nodeId": "n1", "params": []}),
            "params",
        ),
    ] {
        let fields = admin.post("/api/jobs", &body).gives(400).fields();
        assert_eq!(fields, [field], "{body}");
    }
}

#[test]
fn an_unknown_preset_or_node_is_a_404() {
    let (_server, admin) = ready();
    let queue = |preset: &str, node: &str| {
        admin.post("/api/jobs", &json!({"preset": preset, "nodeId": node}))
    };
    queue("none", "n1").refused(404, "preset_not_found");
    queue("note", "none").refused(404, "node_not_found");
    queue("../note", "n1").gives(404);
    queue("note", "").gives(404);
}

#[test]
fn a_timeout_is_a_second_to_a_week() {
    let (_server, admin) = ready();
    let queue = |seconds: Value| {
        let body = json!({"preset": "note", "nodeId": "n1", "timeoutSeconds": seconds});
        admin.post("/api/jobs", &body).send()
    };
    for seconds in [1, 604_800] {
        assert_eq!(
            queue(json!(seconds)).is(201).json()["timeoutSeconds"],
            seconds
        );
    }
    for bad in [
        json!(0),
        json!(-1),
        json!(604_801),
        json!(1.5),
        json!("60"),
        json!(99_999_999_999_999_999_999_u128 as f64),
    ] {
        assert_eq!(
            queue(bad.clone()).is(400).fields(),
            ["timeoutSeconds"],
            "{bad}"
        );
    }
}

#[test]
fn the_same_key_and_request_give_the_same_job() {
    let (mut server, admin) = ready();
    let body = json!({"preset": "note", "nodeId": "n1", "params": {"count": 2, "text": "x"}});
    let queue = |person: &Person, key: &str, body: &str| {
        person
            .call("POST", "/api/jobs")
            .header("idempotency-key", key)
            .body("application/json", body)
            .send()
    };
    let first = queue(&admin, "k1", &body.to_string()).is(201);
    let id = id_of(&first.json());
    // The same value, written otherwise.
    let again = r#" {"params": {"text":"\u0078","count":2}, "nodeId":"n1","preset":"note"} "#;
    let second = queue(&admin, "k1", again).is(200);
    assert_eq!(second.json(), first.json());
    assert_eq!(second.header("location"), format!("/api/jobs/{id}"));
    // Another request under the same key.
    for other in [
        r#"{"preset":"note","nodeId":"n1"}"#,
        r#"{"preset":"note","nodeId":"n1","params":{"count":2,"text":"y"}}"#,
        r#"{"preset":"note","nodeId":"n1","params":{"count":2,"text":"x"},"timeoutSeconds":600}"#,
    ] {
        queue(&admin, "k1", other).is(409);
    }
    // Another key, another user: another job.
    let other_key = id_of(&queue(&admin, "k2", again).is(201).json());
    assert_ne!(other_key, id);
    let ann = server.person("ann", "OPERATOR");
    assert_ne!(id_of(&queue(&ann, "k1", again).is(201).json()), id);
    // A refused request uses no key up.
    let bad = r#"{"preset":"note","nodeId":"n1","params":{"count":9}}"#;
    queue(&admin, "k3", bad).is(400);
    queue(&admin, "k3", again).is(201);
    // It holds over a restart, and whatever became of the job.
    admin.cancel(&id).gives(200);
    server.restart();
    let admin = server.admin();
    let third = queue(&admin, "k1", again).is(200).json();
    assert_eq!(
        (id_of(&third), third.field("status")),
        (id, "CANCELLED".to_owned())
    );
    for bad in ["", &"k".repeat(256), "k\u{e9}"] {
        queue(&admin, bad, again).is(400);
    }
}

#[test]
fn a_key_is_forgotten_after_a_day() {
    let (mut server, admin) = ready();
    let body = json!({"preset": "note", "nodeId": "n1"});
    let queue = |person: &Person| {
        let call = person.post("/api/jobs", &body);
        call.header("idempotency-key", "daily").send()
    };
    let first = id_of(&queue(&admin).is(201).json());
    let database = server.database();
    let made = |hours: u32| {
        let then = database.ago(&format!("{hours} hours"));
        format!("UPDATE idempotency_keys SET created_at = {then}")
    };
    server.kill_and_change(&made(23));
    server.start_again();
    assert_eq!(id_of(&queue(&server.admin()).is(200).json()), first);
    server.kill_and_change(&made(25));
    server.start_again();
    assert_ne!(id_of(&queue(&server.admin()).is(201).json()), first);
}

#[test]
fn the_same_key_from_many_at_once_makes_one_job() {
    let (_server, admin) = ready();
    let calls: Vec<_> = (0..16)
        .map(|_| {
            let call = admin.post("/api/jobs", &json!({"preset": "note", "nodeId": "n1"}));
            call.header("idempotency-key", "burst").send_later()
        })
        .collect();
    let answers: Vec<_> = calls
        .into_iter()
        .map(|call| call.join().expect("an answer"))
        .collect();
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(made, 1, "{answers:?}");
    let mut ids: Vec<String> = answers.iter().map(|answer| id_of(&answer.json())).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(admin.get("/api/jobs").ok().list("jobs").len(), 1);
}

#[test]
fn a_viewer_queues_nothing() {
    let (mut server, _admin) = ready();
    let body = json!({"preset": "note", "nodeId": "n1"});
    server
        .person("vera", "VIEWER")
        .post("/api/jobs", &body)
        .refused(403, "forbidden");
    server
        .person("ann", "OPERATOR")
        .post("/api/jobs", &body)
        .gives(201);
}

#[test]
fn a_secret_goes_only_to_its_agent_and_is_erased_at_the_end() {
    let (server, admin) = ready();
    let secret = "hunter2-and-more";
    let id = admin.queue_with("n1", "vault", json!({"key": secret}));
    let detail = admin.job(&id);
    assert_eq!(detail["params"], json!({"key": "***"}));
    assert!(!detail.to_string().contains(secret), "{detail}");
    assert!(!server.database().files_hold(secret), "in the database");
    let token = admin.call("POST", "/api/nodes/n1/tokens").gives(201).json();
    let poll = "/api/jobs/pending?nodeId=n1&agent=one";
    let claimed = server.get(poll).bearer(&token.field("token")).ok();
    assert_eq!(claimed["job"]["secrets"], json!({"key": secret}));
    let kept = "SELECT count(*) FROM job_secrets";
    assert_eq!(server.database().number(kept), 1);
    server
        .post(
            &format!("/api/jobs/{id}/complete?agent=one"),
            &json!({"exitCode": 0}),
        )
        .bearer(&token.field("token"))
        .ok();
    assert_eq!(server.database().number(kept), 0);
    for bad in [
        json!("abc"),
        json!(1),
        json!(null),
        json!("a".repeat(65_537)),
    ] {
        let body = json!({"preset": "vault", "nodeId": "n1", "params": {"key": bad}});
        let refused = admin.post("/api/jobs", &body).gives(400);
        assert_eq!(refused.fields(), ["params.key"]);
        assert!(!refused.text().contains("aaaa"), "{refused:?}");
    }
    let body = json!({"preset": "vault", "nodeId": "n1"});
    let refused = admin.post("/api/jobs", &body).gives(400);
    assert_eq!(refused.fields(), ["params.key"]);
}
