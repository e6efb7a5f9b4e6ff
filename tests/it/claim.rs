//! Claims: one winner each, calls that stay open, and what was claimed and never arrived.

use std::collections::HashMap;
use std::panic::{catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{FakeAgent, Field, Raw, eventually, id_of, joined, reaches, with_node};

#[test]
fn a_claim_brings_all_that_a_run_needs() {
    let (_server, admin, agent) = with_node();
    let answer = agent.poll("").ok();
    assert_eq!(
        answer,
        json!({"job": null, "cancel": [], "leaseSeconds": 90})
    );
    let id = admin.queue_with("n1", "note", json!({"text": "hi"}));
    let response = agent.poll("").gives(200);
    assert_eq!(response.header("cache-control"), "no-store");
    let job = response.json()["job"].clone();
    let detail = admin.job(&id);
    for field in [
        "id",
        "preset",
        "script",
        "scriptSha256",
        "timeoutSeconds",
        "createdAt",
    ] {
        assert_eq!(job[field], detail[field], "{field}");
    }
    assert_eq!(job["secrets"], json!({}));
    assert_eq!(detail["status"], "RUNNING");
    assert!(detail["startedAt"].is_string(), "{detail}");
    assert!(
        detail.field("startedAt") >= detail.field("createdAt"),
        "{detail}"
    );
}

#[test]
fn the_oldest_job_of_the_node_goes_first() {
    let (_server, admin, agent) = with_node();
    let other = admin.add_node("n2");
    let elsewhere = admin.queue("n2");
    let queued: Vec<String> = (0..5).map(|_| admin.queue("n1")).collect();
    admin.cancel(&queued[1]).gives(200);
    for id in [0, 2, 3, 4].map(|index| &queued[index]) {
        assert_eq!(&agent.claim_id(), id);
        agent.succeed(id);
    }
    agent.finds_nothing("");
    assert_eq!(other.claim_id(), elsewhere);
}

#[test]
fn many_pollers_over_one_job_make_one_winner() {
    let (_server, admin, agent) = with_node();
    for round in 0..10 {
        let id = admin.queue("n1");
        let calls: Vec<_> = (0..16)
            .map(|index| {
                let agent = agent.instance(&format!("r{round}-{index}"));
                agent.poll("").send_later()
            })
            .collect();
        let answers: Vec<Value> = calls
            .into_iter()
            .map(|call| call.join().expect("an answer").is(200).json())
            .collect();
        let won: Vec<String> = answers
            .iter()
            .filter(|answer| !answer["job"].is_null())
            .map(|answer| id_of(&answer["job"]))
            .collect();
        assert_eq!(won, [id]);
    }
}

/// How often each job was claimed, and by which poller.
type Claims = Mutex<HashMap<String, Vec<usize>>>;

fn pull(agent: &FakeAgent, number: usize, claims: &Claims, left: &AtomicUsize) {
    let agent = agent.instance(&format!("puller-{number}"));
    let mut mine: Vec<String> = Vec::new();
    while left.load(Ordering::SeqCst) > 0 {
        let answer = agent
            .poll(&format!("wait=1&running={}", mine.join(",")))
            .ok();
        if answer["job"].is_null() {
            continue;
        }
        let id = id_of(&answer["job"]);
        claims
            .lock()
            .expect("no panic")
            .entry(id.clone())
            .or_default()
            .push(number);
        mine.push(id);
        left.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn sixty_four_pullers_over_five_hundred_jobs_claim_each_once() {
    const PULLERS: usize = 64;
    const JOBS: usize = 500;
    let (server, admin, agent) = with_node();
    let (claims, left) = (Claims::default(), AtomicUsize::new(JOBS));
    // They wait before the first job is there, and the jobs come in from several sides at once.
    std::thread::scope(|scope| {
        for number in 0..PULLERS {
            let (agent, claims, left) = (&agent, &claims, &left);
            scope.spawn(move || pull(agent, number, claims, left));
        }
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..JOBS / 4 {
                    admin.queue("n1");
                }
            });
        }
        let claimed = || JOBS - left.load(Ordering::SeqCst);
        let all = catch_unwind(|| reaches("every job to be claimed", JOBS, claimed));
        // Pullers that wait in vain must end before the scope does.
        left.store(0, Ordering::SeqCst);
        all.unwrap_or_else(|panic| resume_unwind(panic));
    });
    let claims = claims.into_inner().expect("no panic");
    let twice: Vec<_> = claims.iter().filter(|(_, by)| by.len() != 1).collect();
    assert!(twice.is_empty(), "claimed more than once: {twice:?}");
    assert_eq!(claims.len(), JOBS);
    let running = "SELECT count(*) FROM jobs WHERE status = 'RUNNING'";
    assert_eq!(server.database().number(running), JOBS as i64);
    for (id, by) in &claims {
        let sql = format!("SELECT claimed_by FROM jobs WHERE id = '{id}'");
        assert_eq!(server.database().texts(&sql), [format!("puller-{}", by[0])]);
    }
    assert!(!server.logged(&["busy"]) && !server.logged(&["locked"]));
}

#[test]
fn more_pollers_than_the_store_has_room_for_wait_for_their_turn() {
    // More than the writes that may wait, all woken by one change.
    const POLLERS: usize = 2_300;
    let (server, admin, agent) = with_node();
    let mut polls: Vec<Raw> = (0..POLLERS)
        .map(|number| {
            let mut poll = Raw::open(&server);
            poll.write(format!(
                "GET /api/jobs/pending?nodeId=n1&agent=many-{number}&wait=5 HTTP/1.1\r\nHost: x\r\n\
                 Authorization: Bearer {}\r\nConnection: close\r\n\r\n",
                agent.token
            ));
            poll
        })
        .collect();
    let queued = admin.queue("n1");
    let statuses: Vec<u16> = polls.iter_mut().map(Raw::status).collect();
    let refused = statuses.iter().filter(|status| **status != 200).count();
    assert_eq!(refused, 0, "polls that were refused");
    let winners = polls
        .into_iter()
        .map(Raw::rest)
        .filter(|body| body.contains(&queued))
        .count();
    assert_eq!(winners, 1);
}

#[test]
fn an_open_poll_wakes_as_soon_as_there_is_a_job() {
    let (_server, admin, agent) = with_node();
    let poll = agent.poll("wait=60").send_later();
    eventually("the poll to be open", || {
        (admin.get("/api/nodes/n1").ok()["status"] == "ONLINE").then_some(())
    });
    let id = admin.queue("n1");
    let answer = joined("the job", poll).is(200).json();
    assert_eq!(id_of(&answer["job"]), id);
}

#[test]
fn an_open_poll_ends_with_its_time() {
    let (_server, _admin, agent) = with_node();
    let began = Instant::now();
    agent.finds_nothing("wait=1");
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn without_capacity_there_are_cancels_and_no_job() {
    let (_server, admin, agent) = with_node();
    let (running, waiting) = (admin.queue("n1"), admin.queue("n1"));
    assert_eq!(agent.claim_id(), running);
    let busy = format!("capacity=0&running={running}");
    agent.finds_nothing(&busy);
    assert_eq!(admin.job(&waiting)["status"], "QUEUED");
    // Not even a job that it claimed and does not know of.
    agent.finds_nothing("capacity=0");
    admin.cancel(&running).gives(202);
    assert_eq!(agent.poll(&busy).ok()["cancel"], json!([running]));
    let both = agent.poll(&format!("capacity=1&running={running}")).ok();
    assert_eq!(id_of(&both["job"]), waiting);
}

#[test]
fn a_claim_that_got_lost_goes_again_to_the_same_instance() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue_with("n1", "vault", json!({"key": "hunter2-and-more"}));
    let first = agent.claim();
    // Its next poll does not list the job, so the answer never arrived.
    let again = agent.claim();
    assert_eq!(again, first, "with everything, its secrets too");
    agent.instance("two").finds_nothing("");
    agent.founding().finds_nothing("");
    agent.finds_nothing(&format!("running={id}"));
    agent.finds_nothing(&format!("running=other,{id}"));
    let started = admin.job(&id).field("startedAt");
    assert_eq!(agent.claim(), first);
    assert_eq!(admin.job(&id).field("startedAt"), started);
    agent.succeed(&id);
    agent.finds_nothing("");
}

#[test]
fn a_lost_claim_is_delivered_again_after_a_restart_of_the_server() {
    let (mut server, admin, agent) = with_node();
    let id = admin.queue("n1");
    let first = agent.claim();
    server.kill9();
    server.start_again();
    let agent = agent.at(&server);
    agent.instance("two").finds_nothing("");
    agent.finds_nothing(&format!("running={id}"));
    assert_eq!(agent.claim(), first);
}

#[test]
fn a_claim_without_an_instance_is_never_given_again() {
    let (_server, admin, agent) = with_node();
    let founding = agent.founding();
    let id = admin.queue("n1");
    assert_eq!(founding.claim_id(), id);
    founding.finds_nothing("");
    agent.finds_nothing("");
}

#[test]
fn an_open_poll_sees_a_job_that_an_operator_put_back() {
    let (server, admin, agent) = with_node();
    let id = admin.queue("n1");
    admin.cancel(&id).gives(200);
    let poll = agent.poll("wait=60").send_later();
    eventually("the poll to be open", || {
        (admin.get("/api/nodes/n1").ok()["status"] == "ONLINE").then_some(())
    });
    server.database().execute(&format!(
        "UPDATE jobs SET status = 'QUEUED', finished_at = NULL WHERE id = '{id}'"
    ));
    let answer = joined("the job", poll).is(200).json();
    assert_eq!(id_of(&answer["job"]), id);
}

#[test]
fn a_head_claims_nothing() {
    let (server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.call("HEAD", "/api/jobs/pending?nodeId=n1").gives(405);
    let mut raw = Raw::open(&server);
    raw.write(format!(
        "HEAD /api/jobs/pending?nodeId=n1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        agent.token
    ));
    assert_eq!(raw.status(), 405);
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        agent.call(method, "/api/jobs/pending?nodeId=n1").gives(405);
    }
    assert_eq!(admin.job(&id)["status"], "QUEUED");
}

#[test]
fn a_polls_parameters_have_bounds() {
    let (_server, _admin, agent) = with_node();
    agent.poll("wait=0").ok();
    for bad in [
        "wait=61",
        "wait=-1",
        "wait=x",
        "wait=1.5",
        "capacity=-1",
        "capacity=x",
    ] {
        let (field, _) = bad.split_once('=').expect("a pair");
        assert_eq!(agent.poll(bad).gives(400).fields(), [field], "{bad}");
    }
    let path = "/api/jobs/pending";
    assert_eq!(agent.call("GET", path).gives(400).fields(), ["nodeId"]);
    let long = "a".repeat(10_000);
    agent
        .call("GET", &format!("{path}?nodeId=n1&agent={long}"))
        .gives(400);
    agent
        .call("GET", &format!("{path}?nodeId=n1&agent="))
        .gives(400);
    // Parameters of a newer agent are ignored.
    agent.poll("mood=good").ok();
}

#[test]
fn a_poller_that_disconnected_keeps_no_job() {
    let (server, admin, agent) = with_node();
    let mut raw = Raw::open(&server);
    raw.write(format!(
        "GET /api/jobs/pending?nodeId=n1&agent=one&wait=60 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        agent.token
    ));
    eventually("the poll to be open", || {
        (admin.get("/api/nodes/n1").ok()["status"] == "ONLINE").then_some(())
    });
    drop(raw);
    let id = admin.queue("n1");
    // Whether the server claimed it for the dead call or not: the next poll of the instance has it.
    assert_eq!(agent.claim_id(), id);
    assert_eq!(admin.job(&id)["status"], "RUNNING");
}
