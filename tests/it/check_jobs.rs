//! Checks: jobs that only ask whether each step of a preset is already done.

use serde_json::{Value, json};

use crate::harness::{Field, Person, RealAgent, Server, eventually, id_of, ids_of, write_preset};

/// Two steps that depend on a file, one that can't tell, and one that needs a secret.
const FILES: &str = r#"name: files
title: Keeps a file
targets: [any]
params:
  path: { type: string, required: true }
  key:  { type: secret, required: true }
steps:
  - name: Write the file
    unless: test -e "$path"
    run: echo "$key" >"$path"
  - name: Give it content
    unless: grep -q . "$path" 2>/dev/null
    run: echo x >"$path"
    verify: test -s "$path"
  - name: Say it
    run: echo done
  - name: Use the key
    unless: grep -q "$key" "$path"
    run: "true"
"#;

/// Ends with exit code 2 at its guard.
const FOREIGN: &str =
    "name: foreign\ntargets: [plan9]\nsteps:\n  - { name: One, unless: 'true', run: 'true' }\n";

fn ready() -> (Server, Person) {
    let mut server = Server::start();
    let admin = server.admin();
    write_preset(&server.presets_dir(), "files", FILES);
    write_preset(&server.presets_dir(), "foreign", FOREIGN);
    eventually("the presets are there", || {
        let list = admin.get("/api/presets").ok().to_string();
        (list.contains("\"files\"") && list.contains("\"foreign\"")).then_some(())
    });
    (server, admin)
}

fn ended(person: &Person, id: &str) -> Value {
    eventually("the job ends", || {
        let job = person.job(id);
        (!job["finishedAt"].is_null()).then_some(job)
    })
}

#[test]
fn a_check_says_what_would_run_and_changes_nothing() {
    let (server, admin) = ready();
    let file = server.presets_dir().join("../made-by-a-job");
    let params = json!({"path": file.to_str().expect("UTF-8")});
    let body = json!({"preset": "files", "nodeId": "n1", "params": params, "kind": "check"});
    let agent = admin.add_node("n1");
    let id = id_of(&admin.post("/api/jobs", &body).gives(201).json());
    let queued = admin.job(&id);
    assert_eq!(
        (&queued["kind"], &queued["checkResult"]),
        (&json!("check"), &Value::Null)
    );
    assert_eq!(queued["params"], params);
    assert!(
        !queued["script"]
            .as_str()
            .expect("a script")
            .contains("echo x")
    );

    let _agent = RealAgent::start(&server, &agent);
    let job = ended(&admin, &id);
    let found = json!({"ok": 0, "wouldRun": 2, "cantTell": 2});
    assert_eq!(
        (&job["status"], &job["checkResult"]),
        (&json!("SUCCEEDED"), &found)
    );
    assert_eq!(
        job["stdout"],
        "==> [1/4] Write the file (would run)\n==> [2/4] Give it content (would run)\n\
         ==> [3/4] Say it (can't tell)\n==> [4/4] Use the key (can't tell)\n"
    );
    assert!(!file.exists());
    let list = admin.get("/api/jobs?kind=check").ok();
    assert_eq!(list["jobs"][0]["checkResult"], found);
    assert_eq!(
        ids_of(&admin.get("/api/jobs?kind=apply").ok()),
        [] as [&str; 0]
    );

    // Applied, the same check finds it done.
    let apply = json!({"path": params["path"], "key": "a good secret"});
    let applied = admin.queue_with("n1", "files", apply);
    let applied = ended(&admin, &applied);
    assert_eq!(
        (&applied["status"], &applied["checkResult"]),
        (&json!("SUCCEEDED"), &Value::Null)
    );
    let again = ended(
        &admin,
        &id_of(&admin.post("/api/jobs", &body).gives(201).json()),
    );
    assert_eq!(
        again["checkResult"],
        json!({"ok": 2, "wouldRun": 0, "cantTell": 2})
    );
    let page = admin
        .browser("GET", &format!("/jobs/{id}"))
        .gives(200)
        .text();
    for words in ["Write the file (would run)", "Say it (can't tell)"] {
        assert!(page.contains(words), "{words}");
    }
}

#[test]
fn secrets_given_to_a_check_go_nowhere() {
    let (_server, admin) = ready();
    let agent = admin.add_node("n1");
    let params = json!({"path": "/x", "key": "a good secret"});
    let body = json!({"preset": "files", "nodeId": "n1", "params": params, "kind": "check"});
    let id = id_of(&admin.post("/api/jobs", &body).gives(201).json());
    assert_eq!(admin.job(&id)["params"], json!({"path": "/x"}));
    let claim = agent.poll("").ok();
    assert_eq!(claim["job"]["id"], id.as_str());
    assert!(!claim.to_string().contains("a good secret"), "{claim}");
    // Other faults are still found.
    let missing = json!({"preset": "files", "nodeId": "n1", "kind": "check"});
    let refused = admin.post("/api/jobs", &missing).refused(400, "bad_input");
    assert_eq!(refused.fields(), ["params.path"]);
    let kind = json!({"preset": "note", "nodeId": "n1", "kind": "plan"});
    admin.post("/api/jobs", &kind).gives(400);
}

#[test]
fn a_run_of_checks_tolerates_failures() {
    let (server, admin) = ready();
    let _agents = ["n1", "n2"].map(|node| RealAgent::start(&server, &admin.add_node(node)));
    let body = json!({"preset": "foreign", "nodes": ["n1", "n2"], "kind": "check",
        "plan": {"canary": 1}});
    let run = admin.post("/api/runs", &body).gives(201).json();
    assert_eq!(run["kind"], "check");
    let id = id_of(&run);
    let end = eventually("the run ends", || {
        let run = admin.get(&format!("/api/runs/{id}")).ok();
        (!run["finishedAt"].is_null()).then_some(run)
    });
    // Both began, although the first one failed.
    assert_eq!(
        (&end["status"], &end["counts"]["failed"]),
        (&json!("FAILED"), &json!(2))
    );
    let jobs = admin.get(&format!("/api/jobs?runId={id}")).ok();
    for job in jobs.list("jobs") {
        assert_eq!(
            job["checkResult"],
            json!({"ok": 0, "wouldRun": 0, "cantTell": 0})
        );
    }
    let retried = admin
        .call("POST", &format!("/api/runs/{id}/retry"))
        .gives(201)
        .json();
    assert_eq!(retried["kind"], "check");
}
