//! Runs: one preset on many nodes, in batches.

mod advance;
mod control;
mod create;
mod read;
mod retry;

use serde_json::{Value, json};

use crate::harness::{FakeAgent, Field, Person, Server, eventually, id_of};

/// A server, its ADMIN, and agents of the nodes `n1` to `nN`.
fn with_nodes(count: usize) -> (Server, Person, Vec<FakeAgent>) {
    let mut server = Server::start();
    let admin = server.admin();
    let agents = add_nodes(&admin, count);
    (server, admin, agents)
}

fn add_nodes(admin: &Person, count: usize) -> Vec<FakeAgent> {
    (1..=count)
        .map(|number| admin.add_node(&format!("n{number}")))
        .collect()
}

fn names(agents: &[FakeAgent]) -> Vec<&str> {
    agents.iter().map(|agent| agent.node_id.as_str()).collect()
}

/// Queues `note` on the nodes of these agents, with more fields; the run's id.
#[track_caller]
fn start(person: &Person, agents: &[FakeAgent], more: Value) -> String {
    let mut body = json!({"preset": "note", "nodes": names(agents)});
    let fields = body.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    id_of(&person.post("/api/runs", &body).gives(201).json())
}

/// Queues it with a plan.
#[track_caller]
fn start_plan(person: &Person, agents: &[FakeAgent], plan: Value) -> String {
    start(person, agents, json!({"plan": plan}))
}

/// A time to come.
fn in_days(days: i64) -> String {
    let day_ms = 24 * 3_600 * 1_000;
    hyprbox::clock::now().plus_millis(days * day_ms).to_string()
}

#[track_caller]
fn run(person: &Person, id: &str) -> Value {
    person.get(&format!("/api/runs/{id}")).ok()
}

/// The counts that are not 0.
#[track_caller]
fn counts(person: &Person, id: &str) -> Value {
    let mut counts = run(person, id)["counts"].clone();
    counts
        .as_object_mut()
        .expect("counts")
        .retain(|_, count| *count != json!(0));
    counts
}

/// The run's jobs by node: what `field` says of each.
#[track_caller]
fn of_jobs(person: &Person, id: &str, field: &str) -> Vec<Value> {
    let jobs = run(person, id).list("jobs");
    jobs.iter().map(|job| job[field].clone()).collect()
}

#[track_caller]
fn act(person: &Person, id: &str, action: &str) -> Value {
    person
        .call("POST", &format!("/api/runs/{id}/{action}"))
        .ok()
}

#[track_caller]
fn refused(person: &Person, id: &str, action: &str, status: u16) {
    person
        .call("POST", &format!("/api/runs/{id}/{action}"))
        .gives(status);
}

/// Claims the node's job and ends it with this code; the job's id.
#[track_caller]
fn do_job(agent: &FakeAgent, exit_code: i64) -> String {
    let id = agent.claim_id();
    agent.complete(&id, &json!({"exitCode": exit_code})).ok();
    id
}

#[track_caller]
fn find_nothing(agents: &[FakeAgent]) {
    for agent in agents {
        agent.finds_nothing("");
    }
}

#[track_caller]
fn until_status(person: &Person, id: &str, status: &str) -> Value {
    eventually(&format!("a run that is {status}"), || {
        let run = run(person, id);
        (run["status"] == status).then_some(run)
    })
}
