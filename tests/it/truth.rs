//! One database, one server; and what goes on running after the server gave it up.

use serde_json::{Value, json};

use crate::harness::{Person, RealAgent, Server, Setup, eventually, unix_time, with_node};

pub(crate) fn is_done(admin: &Person, id: &str) -> Option<Value> {
    let job = admin.job(id);
    (job["status"] != "QUEUED" && job["status"] != "RUNNING").then_some(job)
}

#[test]
fn a_script_that_was_changed_after_it_was_queued_is_never_handed_out() {
    let (server, admin, agent) = with_node();
    let (changed, next) = (admin.queue("n1"), admin.queue("n1"));
    let sql = format!("UPDATE jobs SET script = 'true # other' WHERE id = '{changed}'");
    assert_eq!(server.database().execute(&sql), 1);
    let answer = agent.poll("wait=20").ok();
    assert_eq!(answer["job"]["id"], next.as_str());
    let job = admin.job(&changed);
    assert_eq!(job["status"], "FAILED");
    assert_eq!(
        job["errorMsg"],
        "refused: the script was changed after the job was queued"
    );
    let entries = admin.audit(&format!("jobId={changed}"));
    assert!(
        entries.contains(&("server".to_owned(), "job.refuse".to_owned())),
        "{entries:?}"
    );
}

#[test]
fn a_clock_that_was_set_back_changes_no_order_and_makes_no_time_negative() {
    let (server, admin, agent) = with_node();
    let queued: Vec<String> = (0..3).map(|_| admin.queue("n1")).collect();
    // As if the clock had been months ahead when the first one was queued.
    let sql = format!(
        "UPDATE jobs SET created_at = '2099-01-01T00:00:00.000Z' WHERE id = '{}'",
        queued[0]
    );
    assert_eq!(server.database().execute(&sql), 1);
    for id in &queued {
        assert_eq!(&agent.claim_id(), id);
        agent.succeed(id);
    }
    let job = admin.job(&queued[0]);
    assert_eq!(job["startedAt"], "2099-01-01T00:00:00.000Z");
    assert_eq!(job["finishedAt"], "2099-01-01T00:00:00.000Z");
}

#[test]
fn a_clock_that_leaps_ahead_deletes_nothing_for_a_day() {
    let (mut server, admin, agent) = with_node();
    let old = admin.queue("n1");
    agent.claim();
    agent.succeed(&old);
    let database = server.database();
    eventually("the clock to be known", || {
        (database.number("SELECT count(*) FROM retention_clock") == 1).then_some(())
    });
    let ago = |length: &str| database.ago(length);
    server.kill9();
    database.execute(&format!(
        "UPDATE jobs SET finished_at = {} WHERE id = '{old}'",
        ago("49 hours")
    ));
    database.execute(&format!(
        "UPDATE retention_clock SET seen_at = {}",
        ago("25 hours")
    ));
    server.set("HYPRBOX_KEEP_DAYS", "2");
    server.start_again();
    eventually("the leap to be logged", || {
        server.logged(&["the clock leapt ahead"]).then_some(())
    });
    let admin = server.admin();
    assert_eq!(admin.get(&format!("/api/jobs/{old}")).send().status, 200);
    // A day later, without another leap.
    server.kill9();
    database.execute(&format!(
        "UPDATE retention_clock SET steady_since = {}",
        ago("25 hours")
    ));
    server.start_again();
    let admin = server.admin();
    eventually("the old job to go", || {
        (admin.get(&format!("/api/jobs/{old}")).send().status == 404).then_some(())
    });
}

#[test]
fn a_second_server_over_one_sqlite_folder_is_refused_and_names_the_first() {
    let server = Server::start();
    let database = server.database();
    if database.sqlite().is_none() {
        return;
    }
    let data = server.setup().data_dir();
    let folder = data.to_str().expect("UTF-8");
    let by_folder = Setup::new()
        .without("HYPRBOX_DATABASE_URL")
        .with("HYPRBOX_DATA_DIR", folder);
    let by_file = Setup::new().with("HYPRBOX_DATABASE_URL", &database.url());
    for second in [by_folder, by_file] {
        let line = crate::config::refused(&second);
        assert!(
            line.contains("is already in use by another hyprbox"),
            "{line}"
        );
        assert!(
            line.contains(&format!("(process {})", server.pid())),
            "{line}"
        );
    }
    // The kernel releases the lock with its holder, however the holder ends.
    let mut server = server;
    server.kill9();
    server.start_again();
}

#[test]
fn a_replica_with_another_key_file_is_refused() {
    let server = Server::start();
    let database = server.database();
    if database.sqlite().is_some() {
        return;
    }
    let other = Setup::new().with("HYPRBOX_DATABASE_URL", &database.url());
    let line = crate::config::refused(&other);
    assert!(line.contains("HYPRBOX_SECRET_KEY_FILE"), "{line}");
    assert!(
        line.contains("does not hold the key that this database was created with"),
        "{line}"
    );
}

#[test]
fn what_counted_as_lost_can_be_stopped_once_its_agent_is_back() {
    let mut server = Server::with(&[("HYPRBOX_LEASE_SECONDS", "3")]);
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let id = admin.queue("n1");
    agent.claim();
    eventually("the lease to run out", || is_done(&admin, &id));
    admin.cancel(&id).refused(409, "wrong_state");
    let busy = format!("capacity=0&running={id}");
    assert_eq!(agent.poll(&busy).ok()["cancel"], json!([]));
    still_runs(&server, &admin, &id);
    admin.cancel(&id).gives(202);
    assert_eq!(agent.poll(&busy).ok()["cancel"], json!([id]));
    assert_eq!(agent.output(&id, &[])["cancel"], true);
    agent
        .complete(
            &id,
            &json!({"exitCode": null, "signal": "SIGTERM", "cancelled": true}),
        )
        .ok();
    let job = admin.job(&id);
    assert_eq!(job["status"], "CANCELLED", "{job}");
    assert!(job["recoveredAt"].is_string(), "{job}");
    assert_eq!(admin.get("/api/nodes/n1").ok()["runningJobId"], Value::Null);
}

#[test]
fn a_job_that_was_ended_by_hand_can_be_stopped_while_its_script_runs() {
    let (server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let sql = format!(
        "UPDATE jobs SET status = 'FAILED', error_msg = 'by hand', finished_at = {} WHERE id = '{id}'",
        server.database().now()
    );
    server.database().execute(&sql);
    agent.poll(&format!("capacity=0&running={id}")).ok();
    still_runs(&server, &admin, &id);
    admin.cancel(&id).gives(202);
    let answer = agent.poll(&format!("wait=20&capacity=0&running={id}")).ok();
    assert_eq!(answer["cancel"], json!([id]));
    agent.complete(&id, &json!({"exitCode": 0})).gives(409);
    agent.finds_nothing("");
    assert_eq!(admin.get("/api/nodes/n1").ok()["runningJobId"], Value::Null);
    assert_eq!(admin.job(&id)["status"], "FAILED");
}

/// The node, the waiting job's page and doctor say what the node is still busy with.
fn still_runs(server: &Server, admin: &Person, id: &str) {
    let node = admin.get("/api/nodes/n1").ok();
    assert_eq!(node["runningJobId"], id, "{node}");
    assert_eq!(node["stillRunningJobId"], id, "{node}");
    let page = admin.browser("GET", "/nodes/n1").gives(200).text();
    assert!(page.contains("The node is still running job"), "{page}");
    let waiting = admin.queue("n1");
    let page = admin
        .browser("GET", &format!("/jobs/{waiting}"))
        .gives(200)
        .text();
    assert!(page.contains("still running job"), "{page}");
    admin.cancel(&waiting).gives(200);
    let output = server.setup().run(&["doctor"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(&format!("n1 still runs job {id}")), "{text}");
}

#[test]
fn a_node_that_cant_run_jobs_says_why() {
    let (server, admin, agent) = with_node();
    let problem = "state folder: /var/lib/x is on a disk that is full";
    let beat = |problem: Value, sent_at_ms: i64| json!({"instance": "one", "problem": problem, "sentAtMs": sent_at_ms});
    let now = || i64::try_from(unix_time().as_millis()).expect("fits");
    agent.heartbeat(&beat(json!(problem), now())).gives(200);
    assert_eq!(admin.get("/api/nodes/n1").ok()["problem"], problem);
    let page = admin.browser("GET", "/nodes/n1").gives(200).text();
    assert!(page.contains(problem), "{page}");
    let waiting = admin.queue("n1");
    let page = admin
        .browser("GET", &format!("/jobs/{waiting}"))
        .gives(200)
        .text();
    assert!(page.contains(problem), "{page}");
    let metrics = admin.get("/metrics").gives(200).text();
    assert!(
        metrics.contains("hyprbox_nodes_with_problem 1"),
        "{metrics}"
    );
    let output = server.setup().run(&["doctor"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(problem), "{text}");
    // A clock that is far off, and then nothing.
    agent
        .heartbeat(&beat(Value::Null, now() - 3_630_000))
        .gives(200);
    assert_eq!(
        admin.get("/api/nodes/n1").ok()["problem"],
        "the node's clock is 60 minutes behind the server's"
    );
    agent.heartbeat(&beat(Value::Null, now())).gives(200);
    assert_eq!(admin.get("/api/nodes/n1").ok()["problem"], Value::Null);
}

#[test]
fn an_agent_without_a_state_folder_takes_no_job_until_it_has_one() {
    let (server, admin, node) = with_node();
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("place");
    std::fs::write(&place, "not a folder").expect("writes");
    let agent = RealAgent::with_state(&server, &node, &place.join("state"));
    let problem = eventually("the problem", || {
        let node = admin.get("/api/nodes/n1").ok();
        node["problem"].as_str().map(str::to_owned)
    });
    assert!(problem.starts_with("state folder: "), "{problem}");
    let id = admin.queue("n1");
    assert_eq!(admin.job(&id)["status"], "QUEUED");
    std::fs::remove_file(&place).expect("removes");
    let job = eventually("the job's end", || is_done(&admin, &id));
    assert_eq!(job["status"], "SUCCEEDED", "{job}");
    eventually("no problem", || {
        admin.get("/api/nodes/n1").ok()["problem"]
            .is_null()
            .then_some(())
    });
    drop(agent);
}

#[test]
fn single_bytes_in_turns_take_bounded_rows_and_keep_their_order() {
    const PER_CALL: u64 = 16_384;
    let (server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let turn = |number: u64| {
        let stream = if number.is_multiple_of(2) {
            "stdout"
        } else {
            "stderr"
        };
        let data = char::from(b'a' + (number / 2 % 26) as u8).to_string();
        crate::harness::chunk(stream, number / 2, &data)
    };
    const CALLS: u64 = 12;
    for call in 0..CALLS {
        let turns: Vec<Value> = (call * PER_CALL..(call + 1) * PER_CALL).map(turn).collect();
        agent.output(&id, &turns);
    }
    agent.succeed(&id);
    let produced = CALLS * PER_CALL / 2;
    let job = admin.job(&id);
    let kept = ["stdout", "stderr"].map(|stream| {
        let rows =
            format!("SELECT count(*) FROM chunks WHERE job_id = '{id}' AND stream = '{stream}'");
        let rows = server.database().number(&rows).unsigned_abs();
        // 65,536 rows, and 200 for each second that the job has run.
        assert!((65_536..80_000).contains(&rows), "{rows}");
        assert_eq!(job[format!("{stream}Bytes")], produced, "{job}");
        assert_eq!(job[format!("{stream}Dropped")], produced - rows, "{job}");
        rows
    });
    let both: Vec<u8> = (0..2 * produced)
        .filter(|turn| turn / 2 >= produced - kept[usize::from(turn % 2 == 1)])
        .map(|turn| b'a' + (turn / 2 % 26) as u8)
        .collect();
    assert!(admin.log(&id, "both") == both, "not the tail, in order");
}

#[test]
fn short_lines_that_arrive_one_by_one_keep_their_whole_tail() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    agent.claim();
    let line = |number: u64| format!("line {number:05}\n");
    for call in 0..3 {
        let lines: Vec<Value> = (call * 16_384..(call + 1) * 16_384)
            .map(|number| crate::harness::chunk("stdout", 11 * number, &line(number)))
            .collect();
        agent.output(&id, &lines);
    }
    agent.succeed(&id);
    let job = admin.job(&id);
    assert_eq!(job["stdoutDropped"], 0, "{}", job["stdoutBytes"]);
    let whole: String = (0..3 * 16_384).map(line).collect();
    assert!(admin.log(&id, "stdout") == whole.as_bytes());
}
