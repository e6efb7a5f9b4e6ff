//! Times at which a job may be claimed: `notBefore`, the expiry, and the server's own deadline.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    Field, PATIENCE, Person, Server, Setup, eventually, eventually_within, id_of, unix_time,
    with_node,
};

/// A time that many milliseconds ahead, as the API takes it.
pub(crate) fn ahead(millis: i64) -> String {
    let at = i64::try_from(unix_time().as_millis()).expect("a time") + millis;
    jiff::Timestamp::from_millisecond(at)
        .expect("a time")
        .to_string()
}

fn millis(job: &Value, field: &str) -> i64 {
    let at: jiff::Timestamp = job.field(field).parse().expect("a time");
    at.as_millisecond()
}

/// Queues `note` with more fields.
fn queue_more(admin: &Person, node: &str, more: Value) -> Value {
    let mut body = json!({"preset": "note", "nodeId": node});
    for (name, value) in more.as_object().expect("fields") {
        body[name] = value.clone();
    }
    admin.post("/api/jobs", &body).gives(201).json()
}

#[test]
fn a_job_is_not_handed_out_before_its_time_and_at_once_then() {
    let (_server, admin, agent) = with_node();
    let job = queue_more(&admin, "n1", json!({"notBefore": ahead(1_500)}));
    let id = id_of(&job);
    let holds = job.list("holds");
    assert_eq!(holds.len(), 1, "{job}");
    assert_eq!(holds[0]["kind"], "not_before");
    assert_eq!(holds[0]["since"], job["createdAt"]);
    assert_eq!(
        holds[0].field("detail"),
        format!("not before {}", job.field("notBefore"))
    );
    assert_eq!(job["status"], "QUEUED");
    agent.finds_nothing("");
    // The open poll gets it when its time has come, and not earlier.
    let answer = agent.poll("wait=30").ok();
    assert_eq!(answer["job"]["id"], Value::from(id.as_str()), "{answer}");
    let claimed = admin.job(&id);
    let late = millis(&claimed, "startedAt") - millis(&claimed, "notBefore");
    assert!(late >= 0, "{late} ms: {claimed}");
    assert_eq!(claimed["holds"], json!([]));
    // A later job does not wait for an earlier one that is held.
    queue_more(&admin, "n1", json!({"notBefore": ahead(3_600_000)}));
    let plain = admin.queue("n1");
    agent.succeed(&id);
    assert_eq!(agent.claim_id(), plain);
}

#[test]
fn a_time_in_the_past_is_kept_and_holds_nothing() {
    let (_server, admin, agent) = with_node();
    let job = queue_more(
        &admin,
        "n1",
        json!({"notBefore": "2020-01-01T01:00:00+01:00"}),
    );
    assert_eq!(job["notBefore"], "2020-01-01T00:00:00.000Z");
    assert_eq!(job["holds"], json!([]));
    assert_eq!(agent.claim_id(), id_of(&job));
}

#[test]
fn wrong_times_are_refused_all_at_once_and_nothing_is_queued() {
    let (_server, admin, _agent) = with_node();
    let body = |more: Value| {
        let mut body = json!({"preset": "note", "nodeId": "n1"});
        body.as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("fields").clone());
        body
    };
    for (more, field, message) in [
        (
            json!({"notBefore": "tomorrow"}),
            "notBefore",
            "must be a time with its zone, such as 2026-11-24T09:30:00Z",
        ),
        (
            json!({"notBefore": "2026-12-01 08:00:00"}),
            "notBefore",
            "must be a time with its zone, such as 2026-11-24T09:30:00Z",
        ),
        (
            json!({"notBefore": "1969-12-31T00:00:00Z"}),
            "notBefore",
            "must be a time with its zone, such as 2026-11-24T09:30:00Z",
        ),
        (
            json!({"notBefore": ahead(366 * 86_400_000 + 60_000)}),
            "notBefore",
            "must be at most 366 days ahead",
        ),
        (
            json!({"notBefore": ahead(61_000), "expiresInSeconds": 60}),
            "notBefore",
            "must not be later than the job's expiry",
        ),
        (
            json!({"expiresInSeconds": 59}),
            "expiresInSeconds",
            "must be 60 to 31622400",
        ),
        (
            json!({"expiresInSeconds": 31_622_401}),
            "expiresInSeconds",
            "must be 60 to 31622400",
        ),
        (
            json!({"expiresInSeconds": -1}),
            "expiresInSeconds",
            "must be 60 to 31622400",
        ),
    ] {
        let error = admin
            .post("/api/jobs", &body(more.clone()))
            .gives(400)
            .json();
        assert_eq!(error["fields"][field], message, "{more}: {error}");
    }
    for more in [
        json!({"expiresInSeconds": "60"}),
        json!({"expiresInSeconds": 60.5}),
        json!({"notBefore": 5}),
    ] {
        admin.post("/api/jobs", &body(more)).gives(400);
    }
    // With other faults.
    let all = json!({"notBefore": "x", "expiresInSeconds": 1, "timeoutSeconds": 0, "params": {"unknown": 1}});
    let error = admin.post("/api/jobs", &body(all)).gives(400).json();
    let fields = error["fields"].as_object().expect("fields");
    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "expiresInSeconds",
            "notBefore",
            "params.unknown",
            "timeoutSeconds"
        ]
    );
    assert_eq!(admin.get("/api/jobs").ok()["jobs"], json!([]));
    // The edges.
    for seconds in [60, 31_622_400] {
        let job = queue_more(&admin, "n1", json!({"expiresInSeconds": seconds}));
        let waits = millis(&job, "expiresAt") - millis(&job, "createdAt");
        assert_eq!(waits, seconds * 1_000);
    }
    let job = queue_more(
        &admin,
        "n1",
        json!({"notBefore": null, "expiresInSeconds": null}),
    );
    assert_eq!(
        (&job["notBefore"], &job["expiresAt"]),
        (&Value::Null, &Value::Null)
    );
}

/// Moves a job's times back by that many seconds, as if it had been queued earlier.
fn age(server: &Server, id: &str, seconds: i64) {
    let database = server.database();
    let earlier = |column: &str| match database.sqlite() {
        Some(_) => {
            format!("{column} = strftime('%Y-%m-%dT%H:%M:%fZ', {column}, '-{seconds} seconds')")
        }
        None => format!("{column} = {column} - INTERVAL '{seconds} seconds'"),
    };
    let (created, expires) = (earlier("created_at"), earlier("expires_at"));
    database.execute(&format!(
        "UPDATE jobs SET {created}, {expires} WHERE id = '{id}'"
    ));
}

#[test]
fn a_job_that_nobody_came_for_expires() {
    let (server, admin, agent) = with_node();
    for (seconds, words) in [
        (61, "61 s"),
        (90, "90 s"),
        (120, "2 min"),
        (5_400, "90 min"),
        (129_600, "36 h"),
        (86_400, "1 d"),
        (31_622_400, "366 d"),
    ] {
        let id = id_of(&queue_more(
            &admin,
            "n1",
            json!({"expiresInSeconds": seconds}),
        ));
        age(&server, &id, seconds);
        let job = eventually("it to expire", || {
            agent.finds_nothing("");
            let job = admin.job(&id);
            (job["status"] != "QUEUED").then_some(job)
        });
        assert_eq!(job["status"], "CANCELLED");
        let expected = format!("expired: no agent came for it within {words}");
        assert_eq!(job["errorMsg"], Value::from(expected));
        assert!(job["finishedAt"].is_string(), "{job}");
        assert_eq!(job["startedAt"], Value::Null);
        let entries = admin.audit(&format!("jobId={id}"));
        assert_eq!(entries[0], ("server".to_owned(), "job.expire".to_owned()));
    }
    // One whose time is far is not touched by it, held or not.
    let waiting = id_of(&queue_more(
        &admin,
        "n1",
        json!({"expiresInSeconds": 3_600}),
    ));
    assert_eq!(agent.claim_id(), waiting);
}

#[test]
fn a_running_job_does_not_expire() {
    let (server, admin, agent) = with_node();
    let id = id_of(&queue_more(&admin, "n1", json!({"expiresInSeconds": 60})));
    agent.claim();
    age(&server, &id, 60);
    let other = id_of(&queue_more(&admin, "n1", json!({"expiresInSeconds": 60})));
    age(&server, &other, 60);
    eventually("the other one to expire", || {
        (admin.job(&other)["status"] == "CANCELLED").then_some(())
    });
    assert_eq!(admin.job(&id)["status"], "RUNNING");
    agent.succeed(&id);
}

#[test]
fn due_times_pass_while_the_server_is_down() {
    let mut server = Setup::new().start();
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let held = id_of(&queue_more(
        &admin,
        "n1",
        json!({"notBefore": ahead(1_000)}),
    ));
    let expiring = id_of(&queue_more(&admin, "n1", json!({"expiresInSeconds": 60})));
    server.kill9();
    age(&server, &expiring, 60);
    eventually("the time to come", || {
        let at = ahead(0);
        (at > admin_free_time(&server, &held)).then_some(())
    });
    server.start_again();
    let (admin, agent) = (server.admin(), agent.at(&server));
    assert_eq!(
        agent.poll("wait=30").ok()["job"]["id"],
        Value::from(held.as_str())
    );
    eventually("it to expire", || {
        (admin.job(&expiring)["status"] == "CANCELLED").then_some(())
    });
}

/// A job's `not_before`, from the database, in the API's form.
fn admin_free_time(server: &Server, id: &str) -> String {
    let database = server.database();
    let column = match database.sqlite() {
        Some(_) => "not_before".to_owned(),
        None => {
            "to_char(not_before AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')".to_owned()
        }
    };
    let times = database.texts(&format!("SELECT {column} FROM jobs WHERE id = '{id}'"));
    times.into_iter().next().expect("a time")
}

/// Copies a QUEUED job until there are that many, each behind the one before it. `expires_at` is
/// the expiry of copy `n` in SQL.
fn copy_job(server: &Server, id: &str, count: usize, expires_at: &str) {
    server.database().execute(&format!(
        "INSERT INTO jobs (id, status, preset, node_id, created_by, created_by_email, created_at, timeout_seconds,
             script_sha256, lines, params, script, queue_no, kind, not_before, expires_at, held, holds, envelope, signature)
         SELECT '0199' || substr('00000', length(CAST(n AS TEXT)) + 1) || CAST(n AS TEXT), status, preset, node_id, created_by,
             created_by_email, created_at, timeout_seconds, script_sha256, lines, params, script, queue_no + n, kind, not_before,
             {expires_at}, held, holds, envelope, signature
         FROM jobs, (WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {})
             SELECT n FROM numbers) AS numbers WHERE id = '{id}'",
        count - 1
    ));
}

/// The expiry and a claim at the same instant: exactly one of them wins. A job expires every 3 ms,
/// and a claim takes longer, so the oldest job is always about to expire when it is claimed.
#[test]
fn an_expiry_and_a_claim_at_once_have_one_winner() {
    const JOBS: usize = 1_000;
    let (server, admin, agent) = with_node();
    let database = server.database();
    let first = id_of(&queue_more(&admin, "n1", json!({"expiresInSeconds": 60})));
    let begin = ahead(2_500);
    database.execute(&format!(
        "UPDATE jobs SET expires_at = '{begin}' WHERE id = '{first}'"
    ));
    let later = match database.sqlite() {
        Some(_) => "strftime('%Y-%m-%dT%H:%M:%fZ', expires_at, '+' || (n * 0.003) || ' seconds')",
        None => "expires_at + n * INTERVAL '3 milliseconds'",
    };
    copy_job(&server, &first, JOBS, later);
    eventually("the first expiry", || {
        (admin.job(&first)["status"] == "CANCELLED").then_some(())
    });
    let mut claimed = std::collections::BTreeSet::new();
    loop {
        let job = agent.poll("").ok()["job"].clone();
        if job.is_object() {
            let id = id_of(&job);
            agent.succeed(&id);
            assert!(claimed.insert(id), "claimed twice");
        } else if database.number("SELECT count(*) FROM jobs WHERE status = 'QUEUED'") == 0 {
            break;
        }
    }
    let count = |condition: &str| {
        let sql = format!("SELECT count(*) FROM jobs WHERE {condition}");
        usize::try_from(database.number(&sql)).expect("a count")
    };
    let expired = count("status = 'CANCELLED'");
    assert_eq!(count("status = 'SUCCEEDED'"), claimed.len());
    assert_eq!(claimed.len() + expired, JOBS);
    assert!(
        !claimed.is_empty() && expired > 1,
        "{} claimed, {expired} expired",
        claimed.len()
    );
    assert_eq!(
        count("status = 'SUCCEEDED' AND started_at >= expires_at"),
        0
    );
    let wrong = "(started_at IS NOT NULL OR finished_at < expires_at)";
    assert_eq!(count(&format!("status = 'CANCELLED' AND {wrong}")), 0);
}

#[test]
fn many_jobs_of_the_same_second_are_all_handed_out_and_none_early() {
    const JOBS: usize = 10_000;
    let (server, admin, agent) = with_node();
    let first = queue_more(&admin, "n1", json!({"notBefore": ahead(4_000)}));
    let database = server.database();
    copy_job(&server, &id_of(&first), JOBS, "expires_at");
    agent.finds_nothing("");
    let free = "SELECT count(*) FROM jobs WHERE status = 'QUEUED' AND held = 0";
    eventually("all to be free", || {
        (database.number(free) == i64::try_from(JOBS).expect("small")).then_some(())
    });
    // Each poll gets one. A part is enough to see that none is handed out twice or early.
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..300 {
        let id = agent.poll("").ok()["job"].field("id");
        agent.succeed(&id);
        assert!(ids.insert(id), "handed out twice");
    }
    let early = "SELECT count(*) FROM jobs WHERE started_at < not_before";
    assert_eq!(database.number(early), 0);
}

/// The founding document's agent names no instance, and its polls keep the lease of its job alive:
/// only the deadline ends a job whose end it never reports.
#[test]
fn a_job_whose_end_never_arrives_fails_a_minute_after_its_timeout() {
    let (_server, admin, agent) = with_node();
    let founding = agent.founding();
    let (silent, beating) = (
        id_of(&queue_more(&admin, "n1", json!({"timeoutSeconds": 1}))),
        id_of(&queue_more(&admin, "n1", json!({"timeoutSeconds": 2}))),
    );
    let began = Instant::now();
    assert_eq!(founding.claim_id(), silent);
    assert_eq!(agent.claim_id(), beating);
    let ended = eventually_within(5 * PATIENCE, "both jobs to time out", || {
        founding.poll("capacity=0").ok();
        agent.beat();
        let jobs = [admin.job(&silent), admin.job(&beating)];
        let are_over = jobs.iter().all(|job| job["status"] != "RUNNING");
        are_over.then_some(jobs)
    });
    assert!(began.elapsed() >= Duration::from_secs(61));
    for (job, seconds) in ended.iter().zip([1, 2]) {
        assert_eq!(job["status"], "FAILED");
        assert_eq!(
            job["errorMsg"],
            Value::from(format!("timed out after {seconds} s"))
        );
        let ran = millis(job, "finishedAt") - millis(job, "startedAt");
        assert!(ran >= (seconds + 60) * 1_000, "{ran} ms");
    }
    let entries = admin.audit(&format!("jobId={silent}"));
    assert_eq!(entries[0], ("server".to_owned(), "job.time_out".to_owned()));
    // What arrives late is taken, as after a lost lease.
    agent.say(&beating, 0, "late\n");
    let job = agent.succeed(&beating);
    assert_eq!(job["status"], "SUCCEEDED");
    assert!(job["recoveredAt"].is_string(), "{job}");
    assert_eq!(admin.log(&beating, "stdout"), b"late\n");
    let report = json!({"exitCode": 3});
    assert_eq!(founding.complete(&silent, &report).ok()["exitCode"], 3);
}

/// The form takes both times and shows their faults, and the pages show why a job waits.
#[test]
fn pages_show_why_a_job_waits_and_until_when() {
    let (_server, admin, _agent) = with_node();
    let form = |fields: &str| {
        admin
            .browser("POST", "/presets/note")
            .header("sec-fetch-site", "same-origin")
            .body(
                "application/x-www-form-urlencoded",
                format!("node=n1&do=queue&{fields}"),
            )
    };
    let page = form("not_before=tomorrow").send();
    assert_eq!(page.status, 400);
    let text = page.text();
    assert!(text.contains("Must be a time with its zone"), "{text}");
    let page = form("expiry=59s").send().text();
    assert!(page.contains("Must be a time from 1m to 366d"), "{page}");
    let at = ahead(3_600_000);
    let queued = form(&format!("not_before={at}&expiry=36h")).send();
    assert_eq!(queued.status, 303, "{queued:?}");
    let jobs = admin.get("/api/jobs").ok().list("jobs");
    assert_eq!(jobs.len(), 1);
    assert_eq!(
        millis(&jobs[0], "expiresAt") - millis(&jobs[0], "createdAt"),
        36 * 3_600_000
    );
    let id = id_of(&jobs[0]);
    let page = admin.browser("GET", &format!("/jobs/{id}")).send().text();
    assert!(page.contains("Waiting: not before "), "{page}");
    assert!(page.contains("Expires"), "{page}");
    let list = admin.browser("GET", "/jobs").send().text();
    assert!(list.contains("held"), "{list}");
}
