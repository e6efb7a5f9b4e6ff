//! Leases: a RUNNING job lives as long as its agent instance does.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{FakeAgent, Field, Person, Server, eventually};

const LEASE: Duration = Duration::from_secs(3);

fn ready() -> (Server, Person, FakeAgent) {
    let mut server = Server::with(&[("HYPRBOX_LEASE_SECONDS", "3")]);
    let admin = server.admin();
    let agent = admin.add_node("n1");
    (server, admin, agent)
}

fn is_lost(admin: &Person, id: &str) -> Option<Value> {
    let job = admin.job(id);
    (job["status"] == "FAILED").then_some(job)
}

/// What an agent may do to show that it lives.
type Sign = fn(&FakeAgent, &str);

#[test]
fn a_job_whose_agent_disappeared_fails() {
    let (_server, admin, agent) = ready();
    for instance in [Some("one"), None] {
        let mut agent = agent.clone();
        agent.instance = instance.map(str::to_owned);
        let id = admin.queue("n1");
        let claimed = Instant::now();
        let answer = agent.poll("").ok();
        assert_eq!(answer["leaseSeconds"], 3);
        let job = eventually("the lease to run out", || is_lost(&admin, &id));
        assert!(claimed.elapsed() >= LEASE, "{:?}", claimed.elapsed());
        assert_eq!(job["errorMsg"], "agent disappeared");
        assert!(job["finishedAt"].is_string(), "{job}");
        assert_eq!(
            (&job["exitCode"], &job["signal"]),
            (&Value::Null, &Value::Null)
        );
        // A new agent does not pick it up.
        agent.finds_nothing("");
        agent.instance("two").finds_nothing("");
        let entries = admin.audit(&format!("jobId={id}"));
        assert_eq!(entries[0].0, "server", "{entries:?}");
    }
}

#[test]
fn every_call_of_its_instance_keeps_it_alive() {
    let (_server, admin, agent) = ready();
    let signs: [(&str, Sign); 4] = [
        ("heartbeat", |agent, _| agent.beat()),
        ("poll", |agent, id| {
            agent.poll(&format!("capacity=0&running={id}")).ok();
        }),
        ("output", |agent, id| {
            agent.output(id, &[]);
        }),
        // Even one that is refused.
        ("complete", |agent, id| {
            agent.complete(id, &json!({})).gives(400);
            agent.output(id, &[]);
        }),
    ];
    let agents: Vec<(FakeAgent, String, Sign)> = signs
        .iter()
        .map(|(name, sign)| {
            let agent = admin.add_node(name);
            let id = admin.queue(name);
            assert_eq!(agent.claim_id(), id);
            (agent, id, *sign)
        })
        .collect();
    // A job beside them whose agent is silent tells when a lease and a half has passed.
    for _ in 0..2 {
        let silent = admin.queue("n1");
        agent.claim();
        eventually("the silent one to be lost", || {
            for (agent, id, sign) in &agents {
                sign(agent, id);
            }
            is_lost(&admin, &silent)
        });
    }
    for (agent, id, _) in &agents {
        assert_eq!(admin.job(id)["status"], "RUNNING", "{}", agent.node_id);
        agent.succeed(id);
    }
}

#[test]
fn another_instance_of_the_node_keeps_nothing_alive() {
    let (_server, admin, agent) = ready();
    let id = admin.queue("n1");
    agent.claim();
    eventually("the lease to run out", || {
        agent.instance("two").beat();
        agent.instance("two").poll("").ok();
        is_lost(&admin, &id)
    });
}

#[test]
fn a_lease_that_runs_out_is_a_failure_whatever_was_due() {
    let (_server, admin, agent) = ready();
    let id = admin.queue("n1");
    agent.claim();
    admin.cancel(&id).gives(202);
    let job = eventually("the lease to run out", || is_lost(&admin, &id));
    assert_eq!(job["errorMsg"], "agent disappeared");
    // It comes back, and tells the truth.
    let report = json!({"exitCode": null, "signal": "SIGTERM", "cancelled": true});
    let job = agent.complete(&id, &report).ok();
    assert_eq!(job["status"], "CANCELLED");
    assert!(job["recoveredAt"].is_string(), "{job}");
}

#[test]
fn time_that_the_server_was_down_does_not_count() {
    let (mut server, admin, agent) = ready();
    let id = admin.queue("n1");
    agent.claim();
    // As if the claim had been long ago: what counts is the time that this server ran.
    server.kill_and_change(&format!(
        "UPDATE jobs SET started_at = '2020-01-01T00:00:00.000Z' WHERE id = '{id}'"
    ));
    let started = Instant::now();
    server.start_again();
    let admin = server.admin();
    assert_eq!(admin.job(&id)["status"], "RUNNING");
    eventually("the lease to run out", || is_lost(&admin, &id));
    assert!(started.elapsed() >= LEASE, "{:?}", started.elapsed());
}

#[test]
fn an_agent_that_is_there_after_a_restart_keeps_its_job() {
    let (mut server, admin, agent) = ready();
    let (id, silent) = (admin.queue("n1"), admin.queue("n1"));
    agent.claim();
    agent.instance("two").claim();
    server.kill9();
    server.start_again();
    let (admin, agent) = (server.admin(), agent.at(&server));
    eventually("the silent one to be lost", || {
        agent.beat();
        is_lost(&admin, &silent)
    });
    assert_eq!(agent.succeed(&id)["status"], "SUCCEEDED");
    assert_eq!(admin.job(&id)["recoveredAt"], Value::Null);
    assert_eq!(admin.job(&id).field("status"), "SUCCEEDED");
}

#[test]
fn an_open_poll_is_a_life_that_lasts() {
    // Longer than a lease: the agent's word at its beginning and end is enough only if the poll
    // itself counts, so a lease is told to the agent, which shows life every third of it. Here it
    // does, beside its open poll.
    let (_server, admin, agent) = ready();
    let other = admin.add_node("n2");
    let id = admin.queue("n1");
    agent.claim();
    let poll = agent
        .poll(&format!("wait=60&capacity=0&running={id}"))
        .send_later();
    let silent = admin.queue("n2");
    other.claim();
    eventually("the silent one to be lost", || {
        agent.beat();
        is_lost(&admin, &silent)
    });
    assert_eq!(admin.job(&id)["status"], "RUNNING");
    admin.cancel(&id).gives(202);
    let answer = poll.join().expect("an answer").is(200).json();
    assert_eq!(answer["cancel"], json!([id]));
}
