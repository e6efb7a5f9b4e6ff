//! The founding document, word for word: its agent's calls, its states and the SQL that it tells
//! operators to type.

use serde_json::{Value, json};

use crate::harness::{FakeAgent, Field, Person, Server, id_of};

fn ready() -> (Server, Person, FakeAgent) {
    let mut server = Server::start();
    let ann = server.person("ann", "OPERATOR");
    let agent = server.admin().add_node("prod-eu-1").founding();
    (server, ann, agent)
}

#[test]
fn a_job_from_the_queue_to_its_end() {
    let (server, ann, agent) = ready();
    let body = json!({"preset": "note", "nodeId": "prod-eu-1", "params": {"port": 2222}});
    let id = id_of(&ann.post("/api/jobs", &body).gives(201).json());
    let listed = ann.get("/api/jobs?nodeId=prod-eu-1&status=QUEUED").ok();
    assert_eq!(id_of(&listed["jobs"][0]), id);

    // GET /api/jobs/pending → atomic claim
    let pending = "/api/jobs/pending?nodeId=prod-eu-1";
    let job = agent.call("GET", pending).ok()["job"].clone();
    assert_eq!(id_of(&job), id);
    assert_eq!(job.field("script"), ann.job(&id).field("script"));
    assert_eq!(agent.call("GET", pending).ok()["job"], Value::Null);
    assert_eq!(ann.job(&id)["status"], "RUNNING");

    // The browser's tail, with its cookie.
    let mut stream = ann.browser("GET", &format!("/api/jobs/{id}/stream")).open();
    stream.until(|event| event.data["status"] == "RUNNING");
    // streams /output every 1.5s
    let output = format!("/api/jobs/{id}/output");
    let flush = |body: Value| agent.call("POST", &output).json(&body).ok();
    flush(json!({"stdout": "==> [1/1] Say it\n"}));
    flush(json!({"stdout": "hello\n", "stderr": "warning\n"}));
    assert_eq!(stream.output("stderr", 8), "warning\n");
    // POST /api/jobs/:id/complete
    let complete = format!("/api/jobs/{id}/complete");
    let end = agent
        .call("POST", &complete)
        .json(&json!({"exitCode": 0}))
        .ok();
    assert_eq!(end["status"], "SUCCEEDED");
    let done = stream.until_done().pop().expect("done");
    assert_eq!(done.data["status"], "SUCCEEDED");
    let job = ann.job(&id);
    assert_eq!(job["stdout"], "==> [1/1] Say it\nhello\n");
    assert_eq!(job["stderr"], "warning\n");
    // What the operator sees in the database.
    let row = format!("SELECT status FROM jobs WHERE id = '{id}'");
    assert_eq!(server.database().texts(&row), ["SUCCEEDED"]);
    let log = format!("SELECT stdout FROM job_logs WHERE job_id = '{id}'");
    assert_eq!(server.database().texts(&log), ["==> [1/1] Say it\nhello\n"]);
}

#[test]
fn a_script_that_fails_and_a_bash_that_does_not_start() {
    let (_server, ann, agent) = ready();
    for (report, exit_code, error_msg) in [
        (json!({"exitCode": 2}), json!(2), Value::Null),
        (
            json!({"exitCode": -1, "errorMsg": "bash failed to start"}),
            json!(-1),
            json!("bash failed to start"),
        ),
    ] {
        let id = ann.queue("prod-eu-1");
        assert_eq!(agent.claim_id(), id);
        agent.complete(&id, &report).ok();
        let job = ann.job(&id);
        assert_eq!(job["status"], "FAILED");
        assert_eq!(
            (&job["exitCode"], &job["errorMsg"]),
            (&exit_code, &error_msg)
        );
    }
}

#[test]
fn the_update_for_a_stuck_job() {
    let (server, ann, agent) = ready();
    let id = ann.queue("prod-eu-1");
    agent.claim();
    let now = server.database().now();
    let update = format!(
        "UPDATE jobs SET status='FAILED', error_msg='agent disappeared',\n finished_at={now} \
         WHERE id='{id}' AND status='RUNNING';"
    );
    assert_eq!(server.database().execute(&update), 1);
    assert_eq!(server.database().execute(&update), 0);
    let job = ann.job(&id);
    assert_eq!(
        (job.field("status").as_str(), job.field("errorMsg").as_str()),
        ("FAILED", "agent disappeared")
    );
    // A new agent process won't pick the same job back up.
    agent.finds_nothing("");
    let next = ann.queue("prod-eu-1");
    assert_eq!(agent.claim_id(), next);
}

#[test]
fn a_time_that_an_operator_mistyped_hides_no_job() {
    let (server, ann, agent) = ready();
    let id = ann.queue("prod-eu-1");
    agent.claim();
    if server.database().sqlite().is_none() {
        // PostgreSQL takes no such time.
        return;
    }
    let slip = format!("UPDATE jobs SET status='FAILED', finished_at='yesterday' WHERE id='{id}'");
    assert_eq!(server.database().execute(&slip), 1);
    let job = ann.job(&id);
    assert_eq!(job["status"], "FAILED");
    assert_eq!(job["finishedAt"], Value::Null);
    let listed = ann.get("/api/jobs").ok();
    assert_eq!(id_of(&listed["jobs"][0]), id);
}

#[test]
fn the_claim_as_one_update_on_the_state() {
    let (server, ann, agent) = ready();
    let id = ann.queue("prod-eu-1");
    // An operator's own tool may claim, too: whoever is first.
    let claim = format!("UPDATE jobs SET status='RUNNING' WHERE id='{id}' AND status='QUEUED'");
    assert_eq!(server.database().execute(&claim), 1);
    assert_eq!(server.database().execute(&claim), 0);
    agent.finds_nothing("");
    assert_eq!(ann.job(&id)["status"], "RUNNING");
}

#[test]
fn a_revoked_token_and_a_token_of_another_node() {
    let (mut server, _ann, agent) = ready();
    let admin = server.admin();
    admin.add_node("other");
    agent
        .call("GET", "/api/jobs/pending?nodeId=other")
        .gives(403);
    let tokens = admin.get("/api/nodes/prod-eu-1/tokens").ok();
    let token = id_of(&tokens["tokens"][0]);
    admin
        .delete(&format!("/api/nodes/prod-eu-1/tokens/{token}"))
        .gives(204);
    agent
        .call("GET", "/api/jobs/pending?nodeId=prod-eu-1")
        .gives(401);
}

#[test]
fn a_job_of_somebody_else_is_not_found() {
    let (mut server, ann, _agent) = ready();
    let bob = server.person("bob", "OPERATOR");
    let id = ann.queue("prod-eu-1");
    for refused in [bob.get(&format!("/api/jobs/{id}")), bob.cancel(&id)] {
        assert_eq!(refused.gives(404).json()["error"], "Job not found");
    }
    let owner = format!("SELECT created_by FROM jobs WHERE id = '{id}'");
    assert_eq!(server.database().texts(&owner), [ann.id]);
}
