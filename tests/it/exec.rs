//! Scripts: imported as a preset, and run once without one.

use serde_json::{Value, json};

use crate::harness::{Field, Person, RealAgent, Server, eventually, id_of, ids_of};

fn ready() -> (Server, Person) {
    let mut server = Server::start();
    let admin = server.admin();
    (server, admin)
}

fn job_of(person: &Person, run: &str) -> String {
    let page = person.get(&format!("/api/jobs?runId={run}")).ok();
    ids_of(&page).remove(0)
}

fn ended(person: &Person, run: &str) -> Value {
    eventually("the run ends", || {
        let run = person.get(&format!("/api/runs/{run}")).ok();
        (!run["finishedAt"].is_null()).then_some(run)
    })
}

#[test]
fn a_script_runs_as_it_is_and_is_shown_compared_and_run_again_like_any_job() {
    let (server, admin) = ready();
    let agent = RealAgent::start(&server, &admin.add_node("n1"));
    let script =
        "#!/bin/bash\n# as it is\t \necho \"$UNSET and on\"\nfalse\ncat <<'E'\n  text\nE\nexit 3";
    let body = json!({"script": script, "nodes": ["n1"], "timeoutSeconds": 77});
    let answer = admin.post("/api/exec", &body).gives(201);
    let run = id_of(&answer.json());
    assert_eq!(answer.header("location"), format!("/api/runs/{run}"));
    assert_eq!(answer.json()["preset"], "-");
    let end = ended(&admin, &run);
    assert_eq!(end["status"], "FAILED");
    let id = job_of(&admin, &run);
    let job = admin.job(&id);
    assert_eq!(job["script"], script);
    assert_eq!((&job["preset"], &job["exitCode"]), (&json!("-"), &json!(3)));
    assert_eq!(job["stdout"], " and on\n  text\n");
    assert_eq!(job["params"], json!({}));
    assert_eq!(job["timeoutSeconds"], 77);
    assert_eq!(
        (&job["presetVersion"], &job["presetCommit"]),
        (&Value::Null, &Value::Null)
    );
    let listed = admin.get("/api/jobs?preset=-").ok();
    assert_eq!(ids_of(&listed), [id.as_str()]);
    assert_eq!(admin.get("/api/runs?preset=-").ok().list("runs").len(), 1);
    assert_eq!(admin.audit("action=run.exec").len(), 1);

    let retried = admin
        .call("POST", &format!("/api/runs/{run}/retry"))
        .gives(201);
    let again = id_of(&retried.json());
    assert_eq!(retried.json()["retryOf"], run.as_str());
    ended(&admin, &again);
    let other = job_of(&admin, &again);
    assert_eq!(admin.job(&other)["script"], script);
    let diff = admin
        .get(&format!("/api/jobs/{id}/diff/{other}"))
        .gives(200);
    assert_eq!(diff.text(), "");
    admin
        .post(
            &format!("/api/runs/{run}/retry"),
            &json!({"params": {"x": 1}}),
        )
        .refused(400, "bad_input");
    for page in [
        format!("/runs/{run}"),
        format!("/jobs/{id}"),
        format!("/jobs/{id}/compare?with={other}"),
        "/jobs?preset=-".to_owned(),
        "/runs?preset=-".to_owned(),
        format!("/exec?from={id}"),
    ] {
        let text = admin.browser("GET", &page).gives(200).text();
        assert!(
            !text.contains("/presets/-?"),
            "{page} links to a preset that does not exist"
        );
        assert!(
            !text.contains("\"/presets/-\""),
            "{page} links to a preset that does not exist"
        );
    }
    drop(agent);
}

#[test]
fn what_can_not_run_is_refused() {
    let (mut server, admin) = ready();
    admin.add_node("n1");
    let exec = |script: &str| admin.post("/api/exec", &json!({"script": script, "nodes": ["n1"]}));
    for script in [
        "",
        "# nothing\n",
        "echo\0",
        "#!/usr/bin/python3\nprint(1)\n",
        &"x".repeat((1 << 20) + 1),
    ] {
        let refused = exec(script).refused(400, "bad_input");
        assert_eq!(refused.fields(), ["script"]);
    }
    let long = format!("{}\n", "# \u{e9}\u{1f600} '\n".repeat(100_000));
    let long = format!("true\n{}", &long[..long.floor_char_boundary((1 << 20) - 5)]);
    let run = id_of(&exec(&long).gives(201).json());
    assert_eq!(admin.job(&job_of(&admin, &run))["script"], long.as_str());
    let all = json!({"script": "", "nodes": [], "selector": "x", "timeoutSeconds": 0});
    let refused = admin.post("/api/exec", &all).refused(400, "bad_input");
    assert_eq!(refused.fields(), ["script", "selector", "timeoutSeconds"]);
    let missing = json!({"script": "true", "nodes": ["none"]});
    admin
        .post("/api/exec", &missing)
        .refused(404, "node_not_found");
    for (path, body) in [
        ("/api/jobs", json!({"preset": "-", "nodeId": "n1"})),
        ("/api/runs", json!({"preset": "-", "nodes": ["n1"]})),
        ("/api/presets/-/render", json!({})),
    ] {
        let refused = admin.post(path, &body).refused(400, "bad_input");
        assert_eq!(refused.fields(), ["preset"]);
    }
    let keyed = |script: &str| exec(script).header("idempotency-key", "k");
    let first = id_of(&keyed("true").gives(201).json());
    assert_eq!(id_of(&keyed("true").gives(200).json()), first);
    keyed("false").refused(409, "idempotency_key_reused");
    // Their own run, from when they were an ADMIN.
    let former = server.person("former", "ADMIN");
    let run = id_of(
        &former
            .post("/api/exec", &json!({"script": "true", "nodes": ["n1"]}))
            .gives(201)
            .json(),
    );
    former
        .call("POST", &format!("/api/runs/{run}/cancel"))
        .gives(200);
    let path = format!("/api/users/{}", former.id);
    admin
        .call("PATCH", &path)
        .json(&json!({"role": "OPERATOR"}))
        .gives(200);
    let former = server.login("former@example.org", crate::harness::PASSWORD);
    former
        .call("POST", &format!("/api/runs/{run}/retry"))
        .refused(403, "forbidden");
}

#[test]
fn an_imported_script_is_saved_run_edited_run_again_and_compared() {
    let (server, admin) = ready();
    let agent = RealAgent::start(&server, &admin.add_node("n1"));
    let script =
        "#!/bin/bash\necho \"hello $1\"\ngrep nothing /dev/null | sort\necho \"$NOWHERE.\"\n";
    let body = json!({"script": script, "name": "greet"});
    let imported = admin.post("/api/presets/import", &body).ok();
    let findings: Vec<String> = imported
        .list("findings")
        .iter()
        .map(|it| format!("{} {}", it["line"], it.field("rule")))
        .collect();
    for finding in ["3 pipe-failure", "4 unset-variable"] {
        assert!(findings.iter().any(|it| it == finding), "{findings:?}");
    }
    let source = imported.field("source");
    let save = |source: &str| {
        let call = admin
            .call("PUT", "/api/presets/greet")
            .json(&json!({"source": source}));
        match admin.get("/api/presets/greet").send().header("etag") {
            tag if tag.is_empty() => call.header("if-none-match", "*").gives(201),
            tag => call.header("if-match", &tag).gives(200),
        }
    };
    save(&source);
    let run = || {
        let id = admin.queue_with("n1", "greet", json!({"arg1": "Ada"}));
        eventually("the job ends", || {
            let job = admin.job(&id);
            (!job["finishedAt"].is_null()).then_some(job)
        })
    };
    let first = run();
    assert_eq!(first["status"], "FAILED", "grep found nothing");
    assert_eq!(first["stdout"], "==> [1/1] Run the script\nhello Ada\n");
    assert_eq!(first["presetVersion"], 1);
    save(&source.replace(
        "grep nothing /dev/null",
        "{ grep nothing /dev/null || true; }",
    ));
    let second = run();
    assert_eq!(second["status"], "SUCCEEDED");
    assert_eq!(second["stdout"], "==> [1/1] Run the script\nhello Ada\n.\n");
    assert_eq!(second["presetVersion"], 2);
    let (a, b) = (id_of(&first), id_of(&second));
    let diff = admin
        .get(&format!("/api/jobs/{a}/diff/{b}"))
        .gives(200)
        .text();
    assert!(
        diff.contains("+{ grep nothing /dev/null || true; } | sort"),
        "{diff}"
    );
    drop(agent);
}

#[test]
fn an_import_needs_a_name_and_a_script_that_fit() {
    let (_server, admin) = ready();
    let import = |body: Value| admin.post("/api/presets/import", &body);
    let unnamed = import(json!({"script": "true"})).ok();
    assert!(unnamed.field("source").starts_with("name: imported\n"));
    for (body, field) in [
        (json!({"script": "true", "name": "A b"}), "name"),
        (json!({"script": "true", "name": "-"}), "name"),
        (json!({"script": "# none"}), "script"),
        (json!({"script": "a\0b"}), "script"),
        (json!({"script": "true\n".repeat(220_000)}), "script"),
        (json!({}), "script"),
    ] {
        let refused = import(body).refused(400, "bad_input");
        assert_eq!(refused.fields(), [field]);
    }
    import(json!({"script": "true", "more": 1})).refused(400, "bad_input");
}
