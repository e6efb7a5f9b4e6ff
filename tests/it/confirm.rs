//! Jobs that wait for a confirmation: the API, the page, the command line, and a preset on a real
//! agent.

use serde_json::{Value, json};

use crate::harness::{
    Call, FakeAgent, Field, Person, RealAgent, Server, eventually, with_node, write_preset,
};

/// Two steps that each write a file and can be undone, one that is already done, and one without
/// undo.
const RISKY: &str = r#"name: risky
title: Changes files
targets: [any]
confirm: 1m
params:
  dir:  { type: string, required: true }
  code: { type: int, default: 0 }
  key:  { type: secret }
steps:
  - name: Write one
    run: echo 1 >"$HYPRBOX_UNDO_DIR/kept" && echo "${#key}" >"$dir/one"
    undo: rm "$dir/one" && cat "$HYPRBOX_UNDO_DIR/kept"
  - name: Nothing to do
    unless: "true"
    run: echo never
    undo: echo never
  - name: Write two
    run: touch "$dir/two"; (exit "$code")
    verify: test -e "$dir/two"
    undo: rm -f "$dir/two"
  - name: Say it
    run: echo done
"#;

const WAIT: &str = "2026-12-01T12:34:56.000Z";

/// Reports that the job waits, as an agent does.
fn wait_body(seconds: u64) -> Value {
    json!({"chunks": [], "confirmWait": {"confirmBy": WAIT, "seconds": seconds}})
}

fn waiting() -> (Server, Person, FakeAgent, String) {
    let (server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    agent.output_call(&id, &wait_body(300)).gives(200);
    (server, admin, agent, id)
}

fn confirm(person: &Person, id: &str) -> Call {
    person.call("POST", &format!("/api/jobs/{id}/confirm"))
}

#[test]
fn a_confirmation_reaches_the_agent_that_waits_for_it() {
    let (_server, admin, agent, id) = waiting();
    let job = admin.job(&id);
    assert_eq!(job["confirmBy"], WAIT);
    assert_eq!(job["confirmRequestedAt"], Value::Null);
    assert_eq!(agent.output(&id, &[]).get("confirm"), None);
    let running = format!("running={id}");
    let poll = agent.poll(&format!("wait=60&capacity=0&{running}"));
    let poll = poll.send_later();
    let job = confirm(&admin, &id).gives(202).json();
    assert_eq!(job["status"], "RUNNING");
    let asked = job.field("confirmRequestedAt");
    let answer = poll.join().expect("an answer").is(200).json();
    assert_eq!(answer["confirm"], json!([id]));
    assert_eq!(agent.output(&id, &[])["confirm"], true);
    assert_eq!(
        agent.instance("two").poll("").ok().get("confirm"),
        None,
        "only the claimer gets it"
    );
    // Asked again: it stays as it was.
    let again = confirm(&admin, &id).gives(202).json();
    assert_eq!(again.field("confirmRequestedAt"), asked);
    agent.succeed(&id);
    assert_eq!(admin.job(&id)["status"], "SUCCEEDED");
    confirm(&admin, &id).gives(409);
    let audited = admin.audit("action=job.confirm");
    assert_eq!(audited.len(), 2, "{audited:?}");
}

#[test]
fn a_job_that_does_not_wait_can_not_be_confirmed() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    let refused = confirm(&admin, &id).gives(409).json();
    assert_eq!(refused["code"], "not_waiting");
    agent.claim();
    confirm(&admin, &id).gives(409);
    agent.output_call(&id, &wait_body(60)).gives(200);
    admin.cancel(&id).gives(202);
    confirm(&admin, &id).gives(409);
    for (body, field) in [
        (wait_body(0), "confirmWait.seconds"),
        (wait_body(3_601), "confirmWait.seconds"),
        (
            json!({"chunks": [], "confirmWait": {"confirmBy": "noon", "seconds": 60}}),
            "confirmWait.confirmBy",
        ),
    ] {
        let refused = agent.output_call(&id, &body).gives(400).json();
        assert!(refused["fields"][field].is_string(), "{refused}");
    }
}

#[test]
fn only_the_maker_or_an_admin_with_the_scope_confirms() {
    let (mut server, admin, agent) = with_node();
    let operator = server.person("operator", "OPERATOR");
    let other = server.person("other", "OPERATOR");
    let viewer = server.person("viewer", "VIEWER");
    let id = operator.queue("n1");
    agent.claim();
    agent.output_call(&id, &wait_body(300)).gives(200);
    confirm(&viewer, &id).gives(403);
    confirm(&other, &id).gives(404);
    confirm(&admin, &id).gives(404);
    let all = format!("/api/jobs/{id}/confirm?scope=all");
    other.call("POST", &all).gives(403);
    admin.call("POST", &all).gives(202);
    confirm(&operator, &id).gives(202);
}

#[test]
fn the_page_says_what_is_undone_and_confirms() {
    let (server, admin, agent) = with_node();
    let folder = tempfile::tempdir().expect("a folder");
    let params = json!({"dir": folder.path(), "key": "a good secret"});
    let id = risky(&server, &admin, params);
    agent.claim();
    let lines = "==> [1/4] Write one\n==> [2/4] Nothing to do (already done)\n==> [3/4] Write two\n==> [4/4] Say it\n";
    agent.say(&id, 0, lines);
    let path = format!("/jobs/{id}");
    let page = |path: &str| admin.browser("GET", path).gives(200).text();
    assert!(!page(&path).contains("hyprbox-agent confirm"));
    assert!(page(&path).contains("Steps that have begun are undone."));
    agent.output_call(&id, &wait_body(60)).gives(200);
    for shown in [page(&path), page(&format!("{path}?view=plain"))] {
        assert!(
            shown.contains("Waits for your confirmation until"),
            "{shown}"
        );
        assert!(shown.contains("<li><bdi>Write two</bdi></li><li><bdi>Write one</bdi></li>"));
        assert!(shown.contains("these steps have no undo: <bdi>Say it</bdi>"));
        assert!(shown.contains(&format!("sudo hyprbox-agent confirm {id}")));
        assert!(shown.contains(&format!("action=\"/jobs/{id}/confirm\"")));
    }
    let done = admin.browser("POST", &format!("{path}/confirm"));
    done.header("sec-fetch-site", "same-origin").gives(303);
    assert!(admin.job(&id)["confirmRequestedAt"].is_string());
    assert!(page(&path).contains("keeps the changes as soon as"));
}

/// Queues the preset with these params.
fn risky(server: &Server, admin: &Person, params: Value) -> String {
    write_preset(&server.presets_dir(), "risky", RISKY);
    eventually("the preset is there", || {
        let list = admin.get("/api/presets").ok().to_string();
        list.contains("\"risky\"").then_some(())
    });
    admin.queue_with("n1", "risky", params)
}

fn wait_for(admin: &Person, id: &str, field: &str) -> Value {
    eventually(field, || {
        let job = admin.job(id);
        (!job[field].is_null()).then_some(job)
    })
}

/// A real agent whose job of the preset waits, or has failed.
fn on_a_real_agent(code: i64) -> (Server, Person, RealAgent, tempfile::TempDir, String) {
    let (server, admin, agent) = with_node();
    let folder = tempfile::tempdir().expect("a folder");
    let params = json!({"dir": folder.path(), "code": code, "key": "a good secret"});
    let id = risky(&server, &admin, params);
    let agent = RealAgent::start(&server, &agent);
    (server, admin, agent, folder, id)
}

#[test]
fn a_preset_is_shown_with_its_wait() {
    let (server, admin, _agent) = with_node();
    let id = risky(
        &server,
        &admin,
        json!({"dir": "/x", "key": "a good secret"}),
    );
    assert_eq!(admin.get("/api/presets/risky").ok()["confirmSeconds"], 60);
    let page = admin.browser("GET", "/presets/risky").gives(200).text();
    assert!(page.contains("To be confirmed."), "{page}");
    let list = admin.browser("GET", "/presets").gives(200).text();
    assert!(list.contains("to be confirmed"));
    let script = admin.job(&id).field("script");
    assert!(script.starts_with("set -euo pipefail # hyprbox: confirm 60\n"));
}

#[test]
fn a_confirmed_preset_keeps_its_changes() {
    let (_server, admin, _agent, folder, id) = on_a_real_agent(0);
    let job = wait_for(&admin, &id, "confirmBy");
    assert_eq!(job["status"], "RUNNING");
    confirm(&admin, &id).gives(202);
    let job = wait_for(&admin, &id, "finishedAt");
    assert_eq!(job["status"], "SUCCEEDED", "{job}");
    assert!(job.field("stdout").ends_with("Z\n==> confirmed\n"));
    let one = std::fs::read_to_string(folder.path().join("one"));
    assert_eq!(one.expect("written"), "13\n");
    assert!(folder.path().join("two").exists());
}

#[test]
fn a_cancelled_preset_is_undone() {
    let (_server, admin, _agent, folder, id) = on_a_real_agent(0);
    wait_for(&admin, &id, "confirmBy");
    admin.cancel(&id).gives(202);
    let job = wait_for(&admin, &id, "finishedAt");
    assert_eq!(job["status"], "CANCELLED", "{job}");
    let undone = "==> undo [3/4] Write two\n==> undo [1/4] Write one\n1\n";
    assert!(job.field("stdout").ends_with(undone), "{job}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("reads").count(), 0);
}

#[test]
fn a_step_that_fails_is_undone_and_keeps_its_code() {
    let (_server, admin, _agent, folder, id) = on_a_real_agent(7);
    let job = wait_for(&admin, &id, "finishedAt");
    let end = (&job["status"], &job["exitCode"], &job["errorMsg"]);
    assert_eq!(end, (&json!("FAILED"), &json!(7), &Value::Null));
    assert!(!job.field("stdout").contains("waits"));
    assert_eq!(std::fs::read_dir(folder.path()).expect("reads").count(), 0);
}
