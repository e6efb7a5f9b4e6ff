//! The end of a job: what its agent's report makes of it, once.

use serde_json::{Value, json};

use crate::harness::{FakeAgent, Field, Server, chunk, eventually, with_node};

#[test]
fn every_report_makes_the_end_that_the_contract_names() {
    let (_server, admin, agent) = with_node();
    let null = Value::Null;
    // The report, whether a cancel was asked for; status, exitCode, signal, errorMsg.
    let table = [
        (
            json!({"exitCode": 0}),
            false,
            "SUCCEEDED",
            json!(0),
            &null,
            null.clone(),
        ),
        (
            json!({"exitCode": 0}),
            true,
            "SUCCEEDED",
            json!(0),
            &null,
            null.clone(),
        ),
        (
            json!({"exitCode": 3}),
            false,
            "FAILED",
            json!(3),
            &null,
            null.clone(),
        ),
        (
            json!({"exitCode": 3}),
            true,
            "FAILED",
            json!(3),
            &null,
            null.clone(),
        ),
        (
            json!({"exitCode": 0, "errorMsg": "no bash"}),
            false,
            "FAILED",
            json!(0),
            &null,
            json!("no bash"),
        ),
        (
            json!({"exitCode": null, "errorMsg": "no bash"}),
            false,
            "FAILED",
            null.clone(),
            &null,
            json!("no bash"),
        ),
        (
            json!({"errorMsg": "node restarted while the job was running"}),
            false,
            "FAILED",
            null.clone(),
            &null,
            json!("node restarted while the job was running"),
        ),
        (
            json!({"exitCode": null, "signal": "SIGKILL"}),
            false,
            "FAILED",
            null.clone(),
            &json!("SIGKILL"),
            json!("killed by SIGKILL"),
        ),
        (
            json!({"exitCode": null, "signal": "SIGTERM", "cancelled": true}),
            true,
            "CANCELLED",
            null.clone(),
            &json!("SIGTERM"),
            null.clone(),
        ),
        (
            json!({"exitCode": 143, "cancelled": true}),
            true,
            "CANCELLED",
            json!(143),
            &null,
            null.clone(),
        ),
        // Nobody had asked for it.
        (
            json!({"exitCode": null, "signal": "SIGTERM", "cancelled": true}),
            false,
            "FAILED",
            null.clone(),
            &json!("SIGTERM"),
            json!("killed by SIGTERM"),
        ),
        // An errorMsg always makes FAILED.
        (
            json!({"exitCode": null, "cancelled": true, "errorMsg": "it would not die"}),
            true,
            "FAILED",
            null.clone(),
            &null,
            json!("it would not die"),
        ),
        (
            json!({"exitCode": null, "signal": "SIGTERM", "timedOut": true}),
            false,
            "FAILED",
            null.clone(),
            &json!("SIGTERM"),
            json!("timed out after 600 s"),
        ),
        (
            json!({"exitCode": 0, "cancelled": null, "timedOut": null, "signal": null, "errorMsg": null,
                "stdoutBytes": null, "stderrBytes": null}),
            false,
            "SUCCEEDED",
            json!(0),
            &null,
            null.clone(),
        ),
    ];
    for (report, cancel, status, exit_code, signal, error_msg) in table {
        let id = admin.queue("n1");
        agent.claim();
        if cancel {
            admin.cancel(&id).gives(202);
        }
        let summary = agent.complete(&id, &report).ok();
        let job = admin.job(&id);
        for shown in [&summary, &job] {
            assert_eq!(shown["status"], status, "{report} after a cancel: {cancel}");
            assert_eq!(shown["exitCode"], exit_code, "{report}");
            assert_eq!(shown["signal"], *signal, "{report}");
            assert_eq!(shown["errorMsg"], error_msg, "{report}");
            assert!(shown["finishedAt"].is_string(), "{report}");
            assert_eq!(shown["recoveredAt"], null);
        }
        assert!(summary.get("script").is_none() && job.get("script").is_some());
        assert!(job.field("finishedAt") >= job.field("startedAt"), "{job}");
    }
}

#[test]
fn a_report_must_say_how_it_ended() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    for bad in [
        json!({}),
        json!({"exitCode": null}),
        json!({"exitCode": "0"}),
        json!({"exitCode": 0.5}),
        json!({"exitCode": 1e300}),
        json!({"exitCode": 99_999_999_999_u64}),
        json!({"exitCode": 0, "stdoutBytes": -1}),
        json!({"exitCode": 0, "stdoutBytes": 9_007_199_254_740_993_u64}),
        json!({"exitCode": 0, "errorMsg": 7}),
        json!({"exitCode": 0, "signal": ["SIGKILL"]}),
        json!({"exitCode": 0, "cancelled": "yes"}),
        json!([]),
        json!(0),
        json!(null),
    ] {
        agent.complete(&id, &bad).gives(400);
    }
    assert_eq!(admin.job(&id)["status"], "RUNNING");
    // What a newer agent adds is ignored.
    agent
        .complete(&id, &json!({"exitCode": 0, "mood": "good"}))
        .ok();
}

/// The answer to an agent's report, without the ledger's end, which goes on meanwhile.
fn complete(agent: &FakeAgent, id: &str, report: &Value) -> Value {
    let mut job = agent.complete(id, report).ok();
    job["ledgerHead"].take();
    job
}

#[test]
fn the_same_report_again_is_harmless_and_another_one_is_not_taken() {
    let (mut server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let report = json!({"exitCode": 3, "stdoutBytes": 0});
    let first = complete(&agent, &id, &report);
    assert_eq!(complete(&agent, &id, &report), first);
    for other in [
        json!({"exitCode": 0}),
        json!({"exitCode": 3, "stdoutBytes": 1}),
        json!({"exitCode": 3, "stdoutBytes": 0, "errorMsg": "x"}),
    ] {
        agent.complete(&id, &other).gives(409);
    }
    server.kill9();
    server.start_again();
    let agent = agent.at(&server);
    assert_eq!(complete(&agent, &id, &report), first);
    agent.complete(&id, &json!({"exitCode": 0})).gives(409);
    assert_eq!(server.admin().job(&id)["exitCode"], 3);
}

#[test]
fn two_reports_at_once_make_one_end() {
    let (_server, admin, agent) = with_node();
    for _ in 0..10 {
        let id = admin.queue("n1");
        agent.claim();
        let calls =
            [0, 1, 2, 3].map(|code| agent.complete(&id, &json!({"exitCode": code})).send_later());
        let statuses = calls.map(|call| call.join().expect("an answer").status);
        let taken: Vec<usize> = (0..4).filter(|code| statuses[*code] == 200).collect();
        assert_eq!(taken.len(), 1, "{statuses:?}");
        assert_eq!(admin.job(&id)["exitCode"], taken[0]);
    }
}

#[test]
fn a_report_is_for_running_jobs() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.complete(&id, &json!({"exitCode": 0})).gives(409);
    assert_eq!(admin.job(&id)["status"], "QUEUED");
    admin.cancel(&id).gives(200);
    agent.complete(&id, &json!({"exitCode": 0})).gives(409);
    assert_eq!(admin.job(&id)["status"], "CANCELLED");
    let unknown = "00000000-0000-7000-8000-000000000000";
    agent
        .complete(unknown, &json!({"exitCode": 0}))
        .refused(404, "job_not_found");
}

#[test]
fn bytes_that_never_arrived_count_as_dropped() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    agent.output(&id, &[chunk("stdout", 0, "abc"), chunk("stderr", 4, "xy")]);
    let report = json!({"exitCode": 0, "stdoutBytes": 10, "stderrBytes": 2});
    let job = agent.complete(&id, &report).ok();
    assert_eq!(
        (job.count("stdoutBytes"), job.count("stdoutDropped")),
        (10, 7)
    );
    // Fewer than arrived: what arrived counts.
    assert_eq!(
        (job.count("stderrBytes"), job.count("stderrDropped")),
        (6, 4)
    );
    assert_eq!(admin.job(&id)["stdout"], "abc");
    let id = admin.queue("n1");
    agent.claim();
    let most = 9_007_199_254_740_992_u64;
    let job = agent
        .complete(&id, &json!({"exitCode": 0, "stderrBytes": most}))
        .ok();
    assert_eq!(
        (job.count("stderrBytes"), job.count("stderrDropped")),
        (most, most)
    );
}

#[test]
fn a_long_error_message_is_cut() {
    let (_server, admin, agent) = with_node();
    let long = "\u{e9}".repeat(4_096);
    for (sent, kept) in [
        (long.clone(), long.clone()),
        (format!("{long}x"), long.clone()),
        ("x".repeat(1_000_000), "x".repeat(4_096)),
    ] {
        let id = admin.queue("n1");
        agent.claim();
        let report = json!({"exitCode": 1, "errorMsg": sent});
        agent.complete(&id, &report).ok();
        assert_eq!(admin.job(&id).field("errorMsg"), kept);
        agent.complete(&id, &report).ok();
    }
    let id = admin.queue("n1");
    agent.claim();
    agent
        .complete(&id, &json!({"exitCode": 1, "errorMsg": "a\u{0}b"}))
        .ok();
    assert_eq!(admin.job(&id)["status"], "FAILED");
}

#[test]
fn a_row_that_an_operator_ended_stays_ended() {
    let (server, admin, agent) = with_node();
    for instance in [Some("one"), None] {
        let mut agent = agent.clone();
        agent.instance = instance.map(str::to_owned);
        let id = admin.queue("n1");
        assert_eq!(agent.claim_id(), id);
        // As the founding document has it, with the database's own now.
        let now = server.database().now();
        let changed = server.database().execute(&format!(
            "UPDATE jobs SET status='FAILED', error_msg='agent disappeared', finished_at={now} \
             WHERE id='{id}' AND status='RUNNING'"
        ));
        assert_eq!(changed, 1);
        let job = admin.job(&id);
        assert_eq!(job["status"], "FAILED", "at once");
        assert_eq!(job["errorMsg"], "agent disappeared");
        assert_eq!(
            job.field("finishedAt").len(),
            "2026-11-24T09:30:00.123Z".len()
        );
        agent.complete(&id, &json!({"exitCode": 0})).gives(409);
        agent
            .output_call(&id, &json!({"chunks": [chunk("stdout", 0, "late")]}))
            .gives(409);
        let job = admin.job(&id);
        assert_eq!(
            (job.field("status"), job["recoveredAt"].clone()),
            ("FAILED".to_owned(), Value::Null)
        );
        // A new poll does not pick it up: only QUEUED rows are given.
        agent.finds_nothing("");
    }
}

#[test]
fn an_operators_datetime_is_read() {
    let (server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let now = server.database().now_in_seconds();
    server.database().execute(&format!(
        "UPDATE jobs SET status='FAILED', error_msg='agent disappeared', finished_at={now} WHERE id='{id}'"
    ));
    let finished = admin.job(&id).field("finishedAt");
    assert!(
        finished.ends_with(".000Z") && finished.as_bytes()[10] == b'T',
        "{finished}"
    );
    let listed = admin.get("/api/jobs").ok();
    assert_eq!(listed["jobs"][0].field("finishedAt"), finished);
}

#[test]
fn a_job_that_the_lease_failed_is_completed_late_by_its_instance() {
    let mut server = Server::with(&[("HYPRBOX_LEASE_SECONDS", "3")]);
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let id = admin.queue("n1");
    agent.claim();
    agent.say(&id, 0, "before\n");
    let lost = eventually("the lease to run out", || {
        let job = admin.job(&id);
        (job["status"] == "FAILED").then_some(job)
    });
    assert_eq!(lost["errorMsg"], "agent disappeared");
    assert_eq!(lost["recoveredAt"], Value::Null);
    let report = json!({"exitCode": 0, "stdoutBytes": 13});
    agent
        .instance("two")
        .complete(&id, &report)
        .refused(409, "not_your_claim");
    agent
        .founding()
        .complete(&id, &report)
        .refused(409, "not_your_claim");
    // What it still has to tell is taken, and then the truth.
    agent.say(&id, 7, "after\n");
    let job = complete(&agent, &id, &report);
    assert_eq!(
        (job.field("status"), &job["exitCode"]),
        ("SUCCEEDED".to_owned(), &json!(0))
    );
    assert_eq!(job["errorMsg"], Value::Null);
    assert!(job["recoveredAt"].is_string(), "{job}");
    assert_eq!(admin.job(&id)["stdout"], "before\nafter\n");
    let entries = admin.audit(&format!("jobId={id}"));
    let by_node = entries.iter().filter(|(actor, _)| actor == "node:n1");
    assert_eq!(by_node.count(), 1, "{entries:?}");
    // Once: then it is as ended as any other.
    assert_eq!(complete(&agent, &id, &report), job);
    agent.complete(&id, &json!({"exitCode": 1})).gives(409);
    agent
        .output_call(&id, &json!({"chunks": [chunk("stdout", 13, "x")]}))
        .gives(409);
}
