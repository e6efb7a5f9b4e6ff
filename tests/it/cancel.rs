//! Calling a job off, before and while it runs.

use serde_json::{Value, json};

use crate::harness::{Field, eventually, with_node};

#[test]
fn a_queued_job_is_cancelled_at_once() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    let job = admin.cancel(&id).gives(200).json();
    assert_eq!(job["status"], "CANCELLED");
    assert!(job["finishedAt"].is_string(), "{job}");
    assert_eq!(
        (&job["startedAt"], &job["exitCode"]),
        (&Value::Null, &Value::Null)
    );
    agent.finds_nothing("");
    admin.cancel(&id).gives(409);
}

#[test]
fn a_running_job_is_asked_to_stop() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let job = admin.cancel(&id).gives(202).json();
    assert_eq!(job["status"], "RUNNING");
    let asked = job.field("cancelRequestedAt");
    // Asked again: it stays as it was.
    let again = admin.cancel(&id).gives(202).json();
    assert_eq!(again.field("cancelRequestedAt"), asked);
    assert_eq!(agent.output(&id, &[])["cancel"], true);
    let running = format!("running={id}");
    assert_eq!(agent.poll(&running).ok()["cancel"], json!([id]));
    assert_eq!(agent.instance("two").poll("").ok()["cancel"], json!([]));
    let report = json!({"exitCode": null, "signal": "SIGTERM", "cancelled": true});
    let job = agent.complete(&id, &report).ok();
    assert_eq!(job["status"], "CANCELLED");
    assert_eq!(job.field("cancelRequestedAt"), asked);
    assert_eq!(agent.poll(&running).ok()["cancel"], json!([]));
    admin.cancel(&id).gives(409);
}

#[test]
fn a_job_that_ended_can_not_be_cancelled() {
    let (_server, admin, agent) = with_node();
    for code in [0, 1] {
        let id = admin.queue("n1");
        agent.claim();
        agent.complete(&id, &json!({"exitCode": code})).ok();
        let before = admin.job(&id);
        admin.cancel(&id).gives(409);
        assert_eq!(admin.job(&id), before);
    }
}

#[test]
fn the_agent_receives_a_cancel_on_its_open_poll() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let poll = agent
        .poll(&format!("wait=60&capacity=0&running={id}"))
        .send_later();
    eventually("the poll to be open", || {
        (admin.get("/api/nodes/n1").ok()["status"] == "ONLINE").then_some(())
    });
    admin.cancel(&id).gives(202);
    let answer = poll.join().expect("an answer").is(200).json();
    assert_eq!(answer["cancel"], json!([id]));
    assert_eq!(answer["job"], Value::Null);
}

#[test]
fn a_cancel_and_a_claim_at_once_have_one_outcome() {
    let (_server, admin, agent) = with_node();
    for _ in 0..20 {
        let id = admin.queue("n1");
        let (cancel, poll) = (admin.cancel(&id).send_later(), agent.poll("").send_later());
        let status = cancel.join().expect("an answer").status;
        let claimed = !poll.join().expect("an answer").json()["job"].is_null();
        let job = admin.job(&id);
        match status {
            200 => {
                assert_eq!(
                    (job.field("status").as_str(), claimed),
                    ("CANCELLED", false)
                );
            }
            202 => {
                assert_eq!((job.field("status").as_str(), claimed), ("RUNNING", true));
                agent
                    .complete(&id, &json!({"exitCode": 143, "cancelled": true}))
                    .ok();
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn cancelling_is_for_operators_and_written_down() {
    let (mut server, admin, _agent) = with_node();
    let ann = server.person("ann", "OPERATOR");
    let id = ann.queue("n1");
    let vera = server.person("vera", "VIEWER");
    vera.cancel(&id).refused(403, "forbidden");
    ann.cancel(&id).gives(200);
    let entries = admin.audit(&format!("jobId={id}"));
    assert_eq!(entries[0], (ann.email, "job.cancel".to_owned()));
    let unknown = "00000000-0000-7000-8000-000000000000";
    admin.cancel(unknown).refused(404, "job_not_found");
}

#[test]
fn a_cancel_outlives_a_kill_of_the_server() {
    let (mut server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    admin.cancel(&id).gives(202);
    server.kill9();
    server.start_again();
    let agent = agent.at(&server);
    let answer = agent.poll(&format!("wait=60&running={id}")).ok();
    assert_eq!(answer["cancel"], json!([id]));
}
