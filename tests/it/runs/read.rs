//! Lists, scopes and events of runs.

use serde_json::{Value, json};

use super::{act, add_nodes, counts, do_job, of_jobs, run, start, start_plan, with_nodes};
use crate::harness::{Field, Server, Sse, id_of};

fn ids(page: &Value) -> Vec<String> {
    page.list("runs").iter().map(id_of).collect()
}

#[test]
fn runs_are_listed_newest_first_by_status_and_preset() {
    let (_server, admin, agents) = with_nodes(1);
    let first = start(&admin, &agents, json!({}));
    do_job(&agents[0], 0);
    let second = start(&admin, &agents, json!({}));
    let third = start(
        &admin,
        &agents,
        json!({"preset": "shell", "params": {"code": "true"}}),
    );
    let list = |query: &str| ids(&admin.get(&format!("/api/runs{query}")).ok());
    assert_eq!(list(""), [third.clone(), second.clone(), first.clone()]);
    assert_eq!(list("?status=SUCCEEDED"), std::slice::from_ref(&first));
    assert_eq!(list("?status=SUCCEEDED&status=RUNNING").len(), 3);
    assert_eq!(list("?preset=shell"), std::slice::from_ref(&third));
    assert!(list("?preset=nonsense").is_empty());
    let page = admin.get("/api/runs?limit=2").ok();
    assert_eq!(ids(&page), [third, second]);
    let cursor = page.field("nextCursor");
    let rest = admin
        .get(&format!("/api/runs?limit=2&cursor={cursor}"))
        .ok();
    assert_eq!(ids(&rest), [first]);
    assert_eq!(rest["nextCursor"], Value::Null);
    for wrong in [
        "status=DONE",
        "limit=0",
        "limit=201",
        "cursor=x",
        "since=yesterday",
        "since=2026-12-01",
        "colour=red",
        "scope=some",
    ] {
        admin.get(&format!("/api/runs?{wrong}")).gives(400);
    }
}

#[test]
fn runs_are_listed_by_who_queued_them_and_when() {
    let (mut server, admin, agents) = with_nodes(1);
    let bob = server.person("Bob", "OPERATOR");
    let first = start(&admin, &agents, json!({}));
    let second = start(&bob, &agents, json!({}));
    let list = |query: &str| ids(&admin.get(&format!("/api/runs{query}")).ok());
    assert_eq!(
        list("?scope=all&by=BOB@example.org"),
        std::slice::from_ref(&second)
    );
    assert!(list("?by=bob@example.org").is_empty());
    assert!(list("?scope=all&by=nobody@example.org").is_empty());
    let queued = admin
        .get(&format!("/api/runs/{first}"))
        .ok()
        .field("createdAt");
    assert_eq!(
        list(&format!("?since={queued}")),
        std::slice::from_ref(&first)
    );
    server.database().execute(&format!(
        "UPDATE runs SET created_at = '2026-01-01T00:00:00.000Z' WHERE id = '{first}'"
    ));
    let since = format!("?scope=all&since={queued}");
    assert_eq!(list(&since), [second]);
    assert_eq!(
        list("?scope=all&since=2026-01-01T01:00:00%2B01:00").len(),
        2
    );
}

#[test]
fn jobs_can_be_left_out() {
    let (_server, admin, agents) = with_nodes(1);
    let id = start(&admin, &agents, json!({}));
    let whole = run(&admin, &id);
    let job = &whole["jobs"][0];
    let fields: Vec<&str> = job
        .as_object()
        .expect("a job")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        fields,
        [
            "batch",
            "errorMsg",
            "exitCode",
            "finishedAt",
            "holds",
            "id",
            "nodeId",
            "startedAt",
            "status",
            "step"
        ]
    );
    let without = admin.get(&format!("/api/runs/{id}?jobs=false")).ok();
    assert!(without.get("jobs").is_none());
    assert_eq!(without["counts"], whole["counts"]);
    admin.get(&format!("/api/runs/{id}?jobs=maybe")).gives(400);
    admin.get("/api/runs/nonsense").gives(404);
}

#[test]
fn somebody_elses_run_is_not_found() {
    let mut server = Server::start();
    let admin = server.admin();
    let agents = add_nodes(&admin, 1);
    let ann = server.person("ann", "OPERATOR");
    let viewer = server.person("vic", "VIEWER");
    let id = start(&ann, &agents, json!({}));
    assert!(ids(&admin.get("/api/runs").ok()).is_empty());
    assert_eq!(
        ids(&admin.get("/api/runs?scope=all").ok()),
        std::slice::from_ref(&id)
    );
    assert_eq!(
        ids(&viewer.get("/api/runs?scope=all").ok()),
        std::slice::from_ref(&id)
    );
    admin.get(&format!("/api/runs/{id}")).gives(404);
    admin.get(&format!("/api/events?run={id}")).gives(404);
    assert_eq!(admin.audit("action=run.look").len(), 0);
    assert_eq!(
        viewer.get(&format!("/api/runs/{id}?scope=all")).ok()["id"],
        json!(id)
    );
    let entry = admin.get("/api/audit?action=run.look").ok().list("entries")[0].clone();
    assert_eq!(entry["actor"], "vic@example.org");
    assert!(entry.field("detail").contains(&id), "{entry}");
}

#[test]
fn an_operator_may_be_kept_to_their_own_runs() {
    let mut server = Server::with(&[("HYPRBOX_OPERATOR_SCOPE", "own")]);
    let admin = server.admin();
    let agents = add_nodes(&admin, 1);
    let ann = server.person("ann", "OPERATOR");
    let id = start(&admin, &agents, json!({}));
    ann.get("/api/runs?scope=all").gives(403);
    ann.get(&format!("/api/runs/{id}?scope=all")).gives(403);
    ann.get(&format!("/api/runs/{id}")).gives(404);
}

/// Reads events until one fulfils the condition.
fn until(stream: &mut Sse, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
    loop {
        let event = stream.next();
        if event.name == kind && fits(&event.data) {
            return event.data;
        }
    }
}

#[test]
fn events_of_a_run_have_the_run_and_its_jobs() {
    let (_server, admin, agents) = with_nodes(3);
    let id = start_plan(&admin, &agents, json!({"batch": 1}));
    do_job(&agents[0], 0);
    let first = of_jobs(&admin, &id, "id")[0].clone();
    let mut stream = admin.get(&format!("/api/events?run={id}")).open();
    let opening = until(&mut stream, "run", |_| true);
    assert_eq!(opening["counts"], run(&admin, &id)["counts"]);
    assert!(opening.get("jobs").is_none());
    // Jobs that have ended are there as well.
    until(&mut stream, "job", |job| job["id"] == first);
    do_job(&agents[1], 0);
    let seen = until(&mut stream, "run", |run| run["counts"]["succeeded"] == 2);
    assert_eq!(seen["status"], "RUNNING");
    act(&admin, &id, "pause");
    until(&mut stream, "run", |run| run["status"] == "PAUSED");
    act(&admin, &id, "cancel");
    until(&mut stream, "job", |job| {
        job["nodeId"] == "n3" && job["status"] == "CANCELLED"
    });
    let ended = until(&mut stream, "run", |run| run["status"] == "CANCELLED");
    assert_eq!(ended["counts"]["cancelled"], 1);
    assert_eq!(counts(&admin, &id), json!({"succeeded": 2, "cancelled": 1}));
}
