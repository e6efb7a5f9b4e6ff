//! `POST /api/runs/:id/retry`.

use serde_json::{Value, json};

use super::{do_job, names, of_jobs, refused, run, start, start_plan, with_nodes};
use crate::harness::{Field, Server, id_of, write_preset};

#[test]
fn a_retry_takes_the_nodes_that_did_not_succeed() {
    let (_server, admin, agents) = with_nodes(4);
    let body = json!({"preset": "note", "nodes": names(&agents), "params": {"text": "hi"},
        "plan": {"canary": 1, "batch": 1, "maxFailures": 1}, "timeoutSeconds": 77});
    let id = id_of(&admin.post("/api/runs", &body).gives(201).json());
    refused(&admin, &id, "retry", 409);
    do_job(&agents[0], 0);
    do_job(&agents[1], 1);
    do_job(&agents[2], 1);
    assert_eq!(run(&admin, &id)["status"], "FAILED");
    let answer = admin
        .call("POST", &format!("/api/runs/{id}/retry"))
        .gives(201);
    let made = answer.json();
    assert_eq!(made["retryOf"], json!(id));
    assert_eq!(made["leftOut"], json!([]));
    assert_eq!(made["plan"], run(&admin, &id)["plan"]);
    assert_eq!(made["params"]["text"], "hi");
    let again = id_of(&made);
    assert_eq!(answer.header("location"), format!("/api/runs/{again}"));
    assert_eq!(of_jobs(&admin, &again, "nodeId"), ["n2", "n3", "n4"]);
    assert_eq!(of_jobs(&admin, &again, "batch"), [0, 1, 2]);
    let job = admin.job(of_jobs(&admin, &again, "id")[0].as_str().expect("an id"));
    assert_eq!(job["timeoutSeconds"], 77);
    for agent in &agents[1..] {
        do_job(agent, 0);
    }
    refused(&admin, &again, "retry", 409);
    assert_eq!(run(&admin, &again)["status"], "SUCCEEDED");
    // A type without a body.
    let retry = admin.call("POST", &format!("/api/runs/{id}/retry"));
    retry.body("application/json", "").gives(201);
}

#[test]
fn a_retry_renders_todays_preset_and_may_change_params() {
    let (server, admin, agents) = with_nodes(1);
    let id = start(&admin, &agents, json!({"params": {"text": "hi"}}));
    do_job(&agents[0], 1);
    let preset = "name: note\ntitle: Another\ndescription: d\ntargets: [any]\nrisk: low\ntimeout: 1m\nparams:\n  text: { type: string, required: true }\nsteps:\n  - name: Other\n    run: |\n      printf '%s\\n' \"$text\"\n";
    write_preset(&server.presets_dir(), "note", preset);
    let retry = |body: &Value| admin.post(&format!("/api/runs/{id}/retry"), body);
    // Params that the preset no longer has are left out, unless they are given.
    let unknown = json!({"params": {"port": 22}});
    assert_eq!(retry(&unknown).gives(400).fields(), ["params.port"]);
    let made = retry(&json!({})).gives(201).json();
    assert_eq!(made["params"], json!({"text": "hi"}));
    super::act(&admin, &id_of(&made), "cancel");
    let made = retry(&json!({"params": {"text": "ho"}})).gives(201).json();
    assert_eq!(made["params"], json!({"text": "ho"}));
    assert!(agents[0].claim().field("script").contains("Other"));
}

#[test]
fn a_retry_needs_its_secrets_again() {
    let (_server, admin, agents) = with_nodes(1);
    let body = json!({"preset": "vault", "nodes": ["n1"], "params": {"key": "swordfish"}});
    let id = id_of(&admin.post("/api/runs", &body).gives(201).json());
    do_job(&agents[0], 1);
    let retry = |body: &Value| admin.post(&format!("/api/runs/{id}/retry"), body);
    assert_eq!(retry(&json!({})).gives(400).fields(), ["params.key"]);
    retry(&json!({"params": {"key": "another one"}})).gives(201);
    assert_eq!(agents[0].claim()["secrets"], json!({"key": "another one"}));
}

#[test]
fn deleted_nodes_are_left_out_of_a_retry() {
    let (_server, admin, agents) = with_nodes(2);
    let id = start_plan(&admin, &agents, json!({"maxFailures": 2}));
    do_job(&agents[0], 1);
    do_job(&agents[1], 1);
    admin.delete("/api/nodes/n1").gives(204);
    let made = admin
        .call("POST", &format!("/api/runs/{id}/retry"))
        .gives(201)
        .json();
    assert_eq!(made["leftOut"], json!(["n1"]));
    assert_eq!(of_jobs(&admin, &id_of(&made), "nodeId"), ["n2"]);
    do_job(&agents[1], 1);
    admin.delete("/api/nodes/n2").gives(204);
    refused(&admin, &id, "retry", 409);
}

#[test]
fn an_admin_retries_somebody_elses_run_with_scope_all() {
    let mut server = Server::start();
    let admin = server.admin();
    let agents = super::add_nodes(&admin, 1);
    let ann = server.person("ann", "OPERATOR");
    let id = start(&ann, &agents, json!({}));
    do_job(&agents[0], 1);
    let made = admin
        .call("POST", &format!("/api/runs/{id}/retry?scope=all"))
        .gives(201)
        .json();
    assert_eq!(made["createdByEmail"], "admin@example.org");
    assert_eq!(made["retryOf"], json!(id));
}
