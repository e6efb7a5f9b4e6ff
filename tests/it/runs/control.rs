//! Pause, resume and cancel.

use serde_json::{Value, json};

use super::{
    act, add_nodes, counts, do_job, find_nothing, of_jobs, refused, run, start, start_plan,
    with_nodes,
};
use crate::harness::{Field, Server};

#[test]
fn pause_and_resume_need_the_right_state() {
    let (_server, admin, agents) = with_nodes(2);
    let id = start_plan(&admin, &agents, json!({"batch": 1}));
    refused(&admin, &id, "resume", 409);
    let paused = act(&admin, &id, "pause");
    assert_eq!(paused["status"], "PAUSED");
    assert_eq!(paused["counts"]["held"], 1);
    assert!(paused.get("jobs").is_none());
    refused(&admin, &id, "pause", 409);
    assert_eq!(act(&admin, &id, "resume")["status"], "RUNNING");
    do_job(&agents[0], 0);
    do_job(&agents[1], 0);
    for action in ["pause", "resume", "cancel"] {
        refused(&admin, &id, action, 409);
    }
    refused(&admin, "0193a0e0-0000-7000-8000-000000000000", "pause", 404);
    let done = |action: &str| admin.audit(&format!("action=run.{action}")).len();
    assert_eq!((done("pause"), done("resume"), done("cancel")), (1, 1, 0));
}

#[test]
fn a_run_that_was_paused_before_its_time_waits_for_the_resume() {
    let (server, admin, agents) = with_nodes(1);
    let id = start(&admin, &agents, json!({"notBefore": super::in_days(300)}));
    act(&admin, &id, "pause");
    let past = server.database().ago("1 seconds");
    server.database().execute(&format!(
        "UPDATE runs SET release_at = {past} WHERE id = '{id}'"
    ));
    agents[0].finds_nothing("");
    act(&admin, &id, "resume");
    do_job(&agents[0], 0);
    assert_eq!(run(&admin, &id)["status"], "SUCCEEDED");
}

#[test]
fn a_paused_run_ends_when_nothing_is_left() {
    let (_server, admin, agents) = with_nodes(2);
    let id = start_plan(&admin, &agents, json!({"batch": 1}));
    act(&admin, &id, "pause");
    do_job(&agents[0], 1);
    assert_eq!(run(&admin, &id)["status"], "FAILED");
    assert_eq!(counts(&admin, &id), json!({"failed": 1, "cancelled": 1}));
}

#[test]
fn a_paused_run_that_is_cancelled_can_not_be_resumed() {
    let (_server, admin, agents) = with_nodes(2);
    let id = start_plan(&admin, &agents, json!({"batch": 1}));
    let running = agents[0].claim_id();
    act(&admin, &id, "pause");
    assert_eq!(act(&admin, &id, "cancel")["status"], "RUNNING");
    refused(&admin, &id, "resume", 409);
    refused(&admin, &id, "pause", 409);
    agents[0]
        .complete(&running, &json!({"signal": "SIGTERM", "cancelled": true}))
        .ok();
    assert_eq!(run(&admin, &id)["status"], "CANCELLED");
}

#[test]
fn cancel_ends_what_waits_and_stops_what_runs() {
    let (_server, admin, agents) = with_nodes(3);
    let id = start_plan(&admin, &agents, json!({"batch": 2}));
    let running = agents[0].claim_id();
    let waiting = agents[0]
        .poll(&format!("wait=60&capacity=0&running={running}"))
        .send_later();
    let cancelled = act(&admin, &id, "cancel");
    assert_eq!(cancelled["counts"]["cancelled"], 2);
    assert_eq!(cancelled["counts"]["running"], 1);
    assert_eq!(
        cancelled["stoppedBecause"],
        "cancelled by admin@example.org"
    );
    let answer = waiting.join().expect("a poll").json();
    assert_eq!(answer["cancel"], json!([running]));
    find_nothing(&agents[1..]);
    // Again, while it stops.
    act(&admin, &id, "cancel");
    refused(&admin, &id, "pause", 409);
    agents[0]
        .complete(&running, &json!({"signal": "SIGTERM", "cancelled": true}))
        .ok();
    let ended = run(&admin, &id);
    assert_eq!(ended["status"], "CANCELLED");
    assert!(ended["finishedAt"].is_string());
    assert_eq!(
        of_jobs(&admin, &id, "errorMsg"),
        [Value::Null, Value::Null, Value::Null]
    );
    // Nothing ran: it ends at once.
    let id = start(&admin, &agents, json!({}));
    assert_eq!(act(&admin, &id, "cancel")["status"], "CANCELLED");
    let paused = start_plan(&admin, &agents, json!({"batch": 1}));
    act(&admin, &paused, "pause");
    assert_eq!(act(&admin, &paused, "cancel")["status"], "CANCELLED");
}

#[test]
fn other_peoples_runs_need_an_admin_with_scope_all() {
    let mut server = Server::start();
    let admin = server.admin();
    let agents = add_nodes(&admin, 2);
    let ann = server.person("ann", "OPERATOR");
    let ben = server.person("ben", "OPERATOR");
    let id = start_plan(&ann, &agents, json!({"batch": 1}));
    for action in ["pause", "resume", "cancel", "retry"] {
        refused(&ben, &id, action, 404);
        refused(&ben, &id, &format!("{action}?scope=all"), 403);
        refused(&admin, &id, action, 404);
    }
    assert_eq!(act(&admin, &id, "pause?scope=all")["status"], "PAUSED");
    assert_eq!(act(&ann, &id, "resume")["status"], "RUNNING");
    assert_eq!(act(&admin, &id, "cancel?scope=all")["status"], "CANCELLED");
    let by = admin.audit("action=run.cancel");
    assert_eq!(
        by,
        [("admin@example.org".to_owned(), "run.cancel".to_owned())]
    );
    let entry = admin
        .get("/api/audit?action=run.cancel")
        .ok()
        .list("entries")[0]
        .clone();
    assert!(entry.field("detail").contains(&id), "{entry}");
}
