//! Batches, failures, pauses, and the end of a run.

use serde_json::{Value, json};

use super::{
    act, counts, do_job, find_nothing, of_jobs, run, start, start_plan, until_status, with_nodes,
};
use crate::harness::{Field, Server, eventually, id_of};

#[test]
fn a_batch_waits_for_the_whole_batch_before_it() {
    let (_server, admin, agents) = with_nodes(5);
    let id = start_plan(&admin, &agents, json!({"canary": 1, "batch": 2}));
    assert_eq!(of_jobs(&admin, &id, "batch"), [0, 1, 1, 2, 2]);
    find_nothing(&agents[1..]);
    let canary = agents[0].claim_id();
    find_nothing(&agents[1..]);
    agents[0].succeed(&canary);
    let second = agents[1].claim_id();
    find_nothing(&agents[3..]);
    agents[1].succeed(&second);
    find_nothing(&agents[3..]);
    do_job(&agents[2], 0);
    for agent in &agents[3..] {
        assert_eq!(run(&admin, &id)["status"], "RUNNING");
        do_job(agent, 0);
    }
    let ended = run(&admin, &id);
    assert_eq!(ended["status"], "SUCCEEDED");
    assert!(ended["finishedAt"].is_string());
    assert_eq!(counts(&admin, &id), json!({"succeeded": 5}));
    assert_eq!(ended["stoppedBecause"], Value::Null);
}

#[test]
fn a_waiting_poll_gets_the_job_of_a_released_batch_at_once() {
    let (_server, admin, agents) = with_nodes(2);
    start_plan(&admin, &agents, json!({"batch": 1}));
    let waiting = agents[1].poll("wait=60").send_later();
    do_job(&agents[0], 0);
    let answer = waiting.join().expect("a poll").json();
    assert_eq!(answer["job"]["preset"], "note");
}

#[test]
fn held_jobs_show_why_they_wait() {
    let (_server, admin, agents) = with_nodes(2);
    let id = start_plan(&admin, &agents, json!({"batch": 1}));
    let holds = &of_jobs(&admin, &id, "holds")[1];
    assert_eq!(holds[0]["kind"], "batch");
    assert_eq!(
        holds[0]["detail"],
        "batch 1 waits for the batches before it"
    );
    assert!(holds[0]["since"].is_string());
    assert_eq!(of_jobs(&admin, &id, "holds")[0], json!([]));
}

#[test]
fn one_failure_too_many_stops_the_run() {
    let (_server, admin, agents) = with_nodes(3);
    let id = start_plan(&admin, &agents, json!({"canary": 1}));
    do_job(&agents[0], 1);
    find_nothing(&agents);
    let ended = run(&admin, &id);
    assert_eq!(ended["status"], "FAILED");
    assert_eq!(ended["stoppedBecause"], "1 failure, 0 allowed");
    assert_eq!(counts(&admin, &id), json!({"failed": 1, "cancelled": 2}));
    assert_eq!(
        of_jobs(&admin, &id, "errorMsg")[1..],
        ["not started: 1 failure, 0 allowed"; 2]
    );
}

#[test]
fn a_stopped_run_lets_running_jobs_go_on_and_cancels_waiting_ones_of_the_same_batch() {
    let (_server, admin, agents) = with_nodes(4);
    let id = start_plan(&admin, &agents, json!({"maxFailures": 1}));
    let running = agents[0].claim_id();
    do_job(&agents[1], 3);
    let last = agents[2].claim_id();
    agents[2].complete(&last, &json!({"exitCode": 4})).ok();
    agents[3].finds_nothing("");
    let stopped = run(&admin, &id);
    assert_eq!(stopped["status"], "RUNNING");
    assert_eq!(stopped["stoppedBecause"], "2 failures, 1 allowed");
    assert_eq!(
        of_jobs(&admin, &id, "errorMsg")[3],
        "not started: 2 failures, 1 allowed"
    );
    agents[0].succeed(&running);
    assert_eq!(run(&admin, &id)["status"], "FAILED");
    assert_eq!(
        counts(&admin, &id),
        json!({"succeeded": 1, "failed": 2, "cancelled": 1})
    );
}

#[test]
fn tolerated_failures_leave_a_run_successful() {
    let (_server, admin, agents) = with_nodes(2);
    let id = start_plan(&admin, &agents, json!({"batch": 1, "maxFailures": 1}));
    do_job(&agents[0], 1);
    do_job(&agents[1], 0);
    assert_eq!(run(&admin, &id)["status"], "SUCCEEDED");
    let page = admin.browser("GET", &format!("/runs/{id}")).gives(200);
    assert!(page.text().contains("The run succeeded with 1 failure."));
    // Without any success it is a failure, however many are allowed.
    let id = start_plan(&admin, &agents, json!({"maxFailures": 2}));
    do_job(&agents[0], 1);
    do_job(&agents[1], 1);
    let ended = run(&admin, &id);
    assert_eq!(ended["status"], "FAILED");
    assert_eq!(ended["stoppedBecause"], Value::Null);
}

#[test]
fn a_cancelled_job_is_no_failure() {
    let (_server, admin, agents) = with_nodes(2);
    let id = start_plan(&admin, &agents, json!({"batch": 1}));
    let first = of_jobs(&admin, &id, "id")[0]
        .as_str()
        .expect("an id")
        .to_owned();
    admin.cancel(&first).ok();
    do_job(&agents[1], 0);
    assert_eq!(run(&admin, &id)["status"], "SUCCEEDED");
    assert_eq!(counts(&admin, &id), json!({"succeeded": 1, "cancelled": 1}));
}

#[test]
fn the_pause_between_batches_is_waited_for() {
    let (server, admin, agents) = with_nodes(2);
    let id = start_plan(&admin, &agents, json!({"batch": 1, "pauseSeconds": 3600}));
    do_job(&agents[0], 0);
    agents[1].finds_nothing("");
    assert_eq!(run(&admin, &id)["status"], "RUNNING");
    // The hour is over.
    let waiting = agents[1].poll("wait=60").send_later();
    let past = server.database().ago("1 seconds");
    server.database().execute(&format!(
        "UPDATE runs SET release_at = {past} WHERE id = '{id}'"
    ));
    let answer = waiting.join().expect("a poll").json();
    agents[1].succeed(&id_of(&answer["job"]));
    assert_eq!(run(&admin, &id)["status"], "SUCCEEDED");
}

#[test]
fn a_short_pause_ends_by_itself() {
    let (server, admin, agents) = with_nodes(2);
    start_plan(&admin, &agents, json!({"batch": 1, "pauseSeconds": 1}));
    let first = do_job(&agents[0], 0);
    let answer = agents[1].poll("wait=60").ok();
    let second = id_of(&answer["job"]);
    let gap = match server.database().sqlite() {
        Some(_) => format!(
            "SELECT CAST((julianday(two.started_at) - julianday(one.finished_at)) * 86400000 AS INTEGER)
             FROM jobs one, jobs two WHERE one.id = '{first}' AND two.id = '{second}'"
        ),
        None => format!(
            "SELECT CAST(extract(epoch FROM two.started_at - one.finished_at) * 1000 AS BIGINT)
             FROM jobs one, jobs two WHERE one.id = '{first}' AND two.id = '{second}'"
        ),
    };
    assert!(server.database().number(&gap) >= 990);
}

#[test]
fn offline_nodes_are_skipped_when_their_batch_is_released() {
    let (_server, admin, agents) = with_nodes(4);
    agents[0].beat();
    agents[2].beat();
    let plan = json!({"canary": 1, "batch": 1});
    let id = start(&admin, &agents, json!({"plan": plan, "ifOffline": "skip"}));
    assert_eq!(counts(&admin, &id), json!({"queued": 1, "held": 3}));
    // The last one comes in time.
    agents[3].beat();
    do_job(&agents[0], 0);
    assert_eq!(
        of_jobs(&admin, &id, "errorMsg")[1],
        "skipped: n2 is offline"
    );
    do_job(&agents[2], 0);
    do_job(&agents[3], 0);
    assert_eq!(run(&admin, &id)["status"], "SUCCEEDED");
    assert_eq!(counts(&admin, &id), json!({"succeeded": 3, "skipped": 1}));
    // Nobody is there: nothing succeeded.
    let offline = json!({"preset": "note", "nodes": ["n2"], "ifOffline": "skip"});
    let made = admin.post("/api/runs", &offline).gives(201).json();
    assert_eq!(made["status"], "FAILED");
    assert_eq!(made["counts"]["skipped"], 1);
}

#[test]
fn a_job_expires_from_the_release_of_its_batch() {
    let (server, admin, agents) = with_nodes(2);
    let plan = json!({"batch": 1, "maxFailures": 1});
    let fields = json!({"plan": plan, "expiresInSeconds": 129_600});
    let id = start(&admin, &agents, fields);
    let ids = of_jobs(&admin, &id, "id");
    let job = |number: usize| admin.job(ids[number].as_str().expect("an id"));
    assert!(job(0)["expiresAt"].is_string());
    assert_eq!(job(1)["expiresAt"], Value::Null);
    let (past, first) = (server.database().ago("1 seconds"), job(0).field("id"));
    server.database().execute(&format!(
        "UPDATE jobs SET expires_at = {past} WHERE id = '{first}'"
    ));
    // An expired job is a failure, and its end releases the next batch.
    let answer = agents[1].poll("wait=60").ok();
    agents[1].succeed(&id_of(&answer["job"]));
    assert_eq!(
        job(0)["errorMsg"],
        "expired: no agent came for it within 36 h"
    );
    assert!(job(1)["expiresAt"].is_string());
    assert_eq!(run(&admin, &id)["status"], "SUCCEEDED");
    assert_eq!(counts(&admin, &id), json!({"succeeded": 1, "failed": 1}));
}

#[test]
fn not_before_holds_the_first_batch() {
    let (server, admin, agents) = with_nodes(2);
    let fields =
        json!({"plan": {"batch": 1}, "notBefore": super::in_days(300), "expiresInSeconds": 60});
    let id = start(&admin, &agents, fields);
    assert_eq!(counts(&admin, &id), json!({"held": 2}));
    assert_eq!(of_jobs(&admin, &id, "holds")[0][0]["kind"], "not_before");
    find_nothing(&agents);
    let past = server.database().ago("1 seconds");
    server.database().execute(&format!(
        "UPDATE runs SET release_at = {past} WHERE id = '{id}'"
    ));
    let answer = agents[0].poll("wait=60").ok();
    agents[1].finds_nothing("");
    agents[0].succeed(&id_of(&answer["job"]));
    do_job(&agents[1], 0);
    assert_eq!(run(&admin, &id)["status"], "SUCCEEDED");
    // A time in the past holds nothing.
    let id = start(
        &admin,
        &agents,
        json!({"notBefore": "2020-01-01T00:00:00Z"}),
    );
    assert_eq!(counts(&admin, &id), json!({"queued": 2}));
}

#[test]
fn a_late_truth_changes_the_counts_and_not_the_status() {
    let mut server = Server::with(&[("HYPRBOX_LEASE_SECONDS", "3")]);
    let admin = server.admin();
    let agents = super::add_nodes(&admin, 2);
    let id = start_plan(&admin, &agents, json!({"canary": 1}));
    let lost = agents[0].claim_id();
    until_status(&admin, &id, "FAILED");
    assert_eq!(counts(&admin, &id), json!({"failed": 1, "cancelled": 1}));
    agents[0].succeed(&lost);
    assert_eq!(counts(&admin, &id), json!({"succeeded": 1, "cancelled": 1}));
    let ended = run(&admin, &id);
    assert_eq!(ended["status"], "FAILED");
    assert_eq!(ended["stoppedBecause"], "1 failure, 0 allowed");
}

#[test]
fn a_row_changed_by_hand_advances_the_run() {
    let (server, admin, agents) = with_nodes(3);
    let id = start_plan(&admin, &agents, json!({"batch": 1}));
    let first = agents[0].claim_id();
    let now = server.database().now();
    server.database().execute(&format!(
        "UPDATE jobs SET status = 'SUCCEEDED', finished_at = {now} WHERE id = '{first}'"
    ));
    let answer = agents[1].poll("wait=30").ok();
    let second = id_of(&answer["job"]);
    server.database().execute(&format!(
        "UPDATE jobs SET status = 'FAILED', error_msg = 'by hand', finished_at = {now} WHERE id = '{second}'"
    ));
    until_status(&admin, &id, "FAILED");
    assert_eq!(
        counts(&admin, &id),
        json!({"succeeded": 1, "failed": 1, "cancelled": 1})
    );
}

#[test]
fn a_change_by_hand_while_the_server_was_down_stalls_nothing() {
    let (mut server, admin, agents) = with_nodes(2);
    let id = start_plan(&admin, &agents, json!({"batch": 1}));
    let first = agents[0].claim_id();
    let now = server.database().now();
    server.kill_and_change(&format!(
        "UPDATE jobs SET status = 'SUCCEEDED', finished_at = {now} WHERE id = '{first}'"
    ));
    server.start_again();
    let admin = admin.at_url(server.url());
    let agent = agents[1].at(&server);
    let answer = agent.poll("wait=30").ok();
    agent.succeed(&id_of(&answer["job"]));
    assert_eq!(run(&admin, &id)["status"], "SUCCEEDED");
}

#[test]
fn a_deleted_node_does_not_stall_a_run() {
    let (_server, admin, agents) = with_nodes(3);
    let id = start_plan(&admin, &agents, json!({"batch": 1}));
    admin.delete("/api/nodes/n1").gives(204);
    assert_eq!(of_jobs(&admin, &id, "errorMsg")[0], "node deleted");
    do_job(&agents[1], 0);
    do_job(&agents[2], 0);
    assert_eq!(run(&admin, &id)["status"], "SUCCEEDED");
}

#[test]
fn a_kill_neither_stalls_a_run_nor_starts_a_batch_early() {
    let (mut server, mut admin, mut agents) = with_nodes(4);
    let id = start_plan(&admin, &agents, json!({"batch": 1}));
    for number in 0..4 {
        let job = agents[number].claim_id();
        server.kill9();
        server.start_again();
        admin = admin.at_url(server.url());
        agents = agents.iter().map(|agent| agent.at(&server)).collect();
        find_nothing(&agents[number + 1..]);
        agents[number].succeed(&job);
        server.kill9();
        server.start_again();
        admin = admin.at_url(server.url());
        agents = agents.iter().map(|agent| agent.at(&server)).collect();
    }
    assert_eq!(run(&admin, &id)["status"], "SUCCEEDED");
}

#[test]
fn jobs_that_end_at_the_same_time_release_one_batch() {
    let (_server, admin, agents) = with_nodes(16);
    let id = start_plan(&admin, &agents, json!({"batch": 8}));
    let running: Vec<_> = agents[..8]
        .iter()
        .map(|agent| (agent, agent.claim_id()))
        .collect();
    let ends: Vec<_> = running
        .iter()
        .map(|(agent, job)| agent.complete(job, &json!({"exitCode": 0})).send_later())
        .collect();
    for end in ends {
        end.join().expect("an end").is(200);
    }
    for agent in &agents[8..] {
        do_job(agent, 0);
    }
    assert_eq!(run(&admin, &id)["status"], "SUCCEEDED");
}

#[test]
fn the_end_that_frees_an_agent_may_bring_the_next_batch_to_it() {
    let (_server, admin, agents) = with_nodes(1);
    let first = start(&admin, &agents, json!({}));
    let second = start(&admin, &agents, json!({}));
    let job = agents[0].claim_id();
    let body = json!({"chunks": [], "end": {"exitCode": 0}, "next": true});
    let answer = agents[0].output_call(&job, &body).ok();
    assert_eq!(answer["job"]["preset"], "note", "{answer}");
    assert_eq!(run(&admin, &first)["status"], "SUCCEEDED");
    assert_eq!(run(&admin, &second)["status"], "RUNNING");
}

#[test]
fn the_step_of_each_job_is_shown() {
    let (_server, admin, agents) = with_nodes(2);
    let id = start(&admin, &agents, json!({}));
    assert_eq!(of_jobs(&admin, &id, "step"), [Value::Null, Value::Null]);
    let job = agents[0].claim_id();
    let step = || of_jobs(&admin, &id, "step")[0].clone();
    agents[0].say(&job, 0, "==> [1/2] Say it\nsome output\n==> [9");
    assert_eq!(step(), json!({"index": 1, "count": 2, "name": "Say it"}));
    // A line in two pieces; a line that only looks like a step.
    agents[0].say(&job, 38, "/2] No step\nand ==> [2/2] no\n==> [2/");
    assert_eq!(step()["index"], 1);
    agents[0].say(&job, 74, "2] Say more (already done)\n");
    assert_eq!(step(), json!({"index": 2, "count": 2, "name": "Say more"}));
    agents[0].succeed(&job);
    assert_eq!(step()["index"], 2);
}

#[test]
fn many_runs_on_one_node_wait_for_each_other_in_order() {
    let (_server, admin, agents) = with_nodes(1);
    let first = start(&admin, &agents, json!({}));
    let single = admin.queue("n1");
    let second = start(&admin, &agents, json!({}));
    let of = |id: &str| of_jobs(&admin, id, "id")[0].clone();
    let expected = [of(&first), json!(single), of(&second)];
    for id in expected {
        assert_eq!(json!(do_job(&agents[0], 0)), id);
    }
}

#[test]
fn a_paused_run_releases_no_batch() {
    let (_server, admin, agents) = with_nodes(3);
    let id = start_plan(&admin, &agents, json!({"batch": 1}));
    act(&admin, &id, "pause");
    // What is released can still be claimed.
    do_job(&agents[0], 0);
    find_nothing(&agents);
    assert_eq!(run(&admin, &id)["status"], "PAUSED");
    let kinds: Vec<Value> = of_jobs(&admin, &id, "holds")[1]
        .as_array()
        .expect("holds")
        .iter()
        .map(|hold| hold["kind"].clone())
        .collect();
    assert_eq!(kinds, ["batch", "paused_run"]);
    let waiting = agents[1].poll("wait=60").send_later();
    act(&admin, &id, "resume");
    let answer = waiting.join().expect("a poll").json();
    agents[1].succeed(&id_of(&answer["job"]));
    do_job(&agents[2], 0);
    assert_eq!(run(&admin, &id)["status"], "SUCCEEDED");
}

/// Otherwise it would deadlock with a cancel of the run, which has the run and waits for the job.
#[test]
fn an_end_waits_for_its_run_without_locking_its_job() {
    let (server, admin, agents) = with_nodes(2);
    let database = server.database();
    if database.sqlite().is_some() {
        return;
    }
    start(&admin, &agents, json!({}));
    let jobs: Vec<String> = agents.iter().map(|agent| agent.claim_id()).collect();
    let with_output = json!({"chunks": [], "end": {"exitCode": 0}});
    for (job, call) in [
        (&jobs[0], agents[0].complete(&jobs[0], &with_output["end"])),
        (&jobs[1], agents[1].output_call(&jobs[1], &with_output)),
    ] {
        let hold = database.hold_table("runs");
        let answer = call.send_later();
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        eventually("the end to wait", || {
            (database.number(waits) > 0).then_some(())
        });
        let unlocked = format!(
            "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE id = '{job}' FOR UPDATE SKIP LOCKED) AS unlocked"
        );
        assert_eq!(database.number(&unlocked), 1);
        drop(hold);
        answer.join().expect("an answer").is(200);
    }
}
