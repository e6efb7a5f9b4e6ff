//! Failing a running job by hand.

use serde_json::{Value, json};

use crate::harness::{id_of, with_node};

#[test]
fn an_admin_fails_a_running_job_for_good() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    let path = format!("/api/jobs/{id}/fail");
    let why = json!({"errorMsg": "the machine is gone"});
    admin.post(&path, &why).gives(409);
    agent.claim();
    let job = admin.post(&path, &why).gives(200).json();
    assert_eq!(
        (job["status"].as_str(), job["errorMsg"].as_str()),
        (Some("FAILED"), Some("the machine is gone"))
    );
    assert!(job["finishedAt"].is_string(), "{job}");
    // No later report changes it.
    let refused = agent
        .complete(&id, &json!({"exitCode": 0}))
        .gives(409)
        .json();
    assert_eq!(refused["code"], "wrong_state");
    agent.output_call(&id, &json!({"chunks": []})).gives(409);
    assert_eq!(admin.job(&id)["errorMsg"], "the machine is gone");
    admin.post(&path, &why).gives(409);
    let entries = admin.audit(&format!("jobId={id}"));
    assert_eq!(entries[0], (admin.email.clone(), "job.fail".to_owned()));
}

#[test]
fn only_an_admin_fails_jobs_and_others_only_with_the_scope() {
    let (mut server, admin, agent) = with_node();
    let operator = server.person("ann", "OPERATOR");
    let id = operator.queue("n1");
    agent.claim();
    let (path, why) = (format!("/api/jobs/{id}/fail"), json!({"errorMsg": "x"}));
    operator.post(&path, &why).gives(403);
    operator.post(&format!("{path}?scope=all"), &why).gives(403);
    admin.post(&path, &why).gives(404);
    let job = admin
        .post(&format!("{path}?scope=all"), &why)
        .gives(200)
        .json();
    assert_eq!(id_of(&job), id);
    admin
        .post("/api/jobs/01900000-0000-7000-8000-000000000000/fail", &why)
        .gives(404);
}

#[test]
fn the_reason_has_1_to_4096_characters() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let path = format!("/api/jobs/{id}/fail");
    for bad in [
        json!({"errorMsg": ""}),
        json!({"errorMsg": "é".repeat(4_097)}),
    ] {
        let error = admin.post(&path, &bad).gives(400).json();
        assert_eq!(
            error["fields"]["errorMsg"],
            "must have 1 to 4096 characters"
        );
    }
    for bad in [
        json!({}),
        json!({"errorMsg": null}),
        json!({"errorMsg": "x", "more": 1}),
    ] {
        admin.post(&path, &bad).gives(400);
    }
    let longest = "é".repeat(4_096);
    let job = admin
        .post(&path, &json!({"errorMsg": longest}))
        .gives(200)
        .json();
    assert_eq!(job["errorMsg"], Value::from(longest));
}
