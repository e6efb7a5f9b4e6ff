//! One identity, one process; one database, one server; and what goes on running after the server
//! gave it up.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{
    FakeAgent, Person, RealAgent, Server, Setup, eventually, unix_time, with_node,
};

fn lines_of(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

fn is_done(admin: &Person, id: &str) -> Option<Value> {
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
        "the script was changed after the job was queued: it no longer matches scriptSha256"
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

fn as_process<'a>(agent: &'a FakeAgent, process: &'a str) -> impl Fn(&str) -> Value + 'a {
    move |more| agent.poll(&format!("process={process}&{more}")).ok()
}

#[test]
fn a_claim_goes_again_only_to_the_process_that_took_it() {
    let (_server, admin, agent) = with_node();
    let (one, two) = (as_process(&agent, "p1"), as_process(&agent, "p2"));
    let id = admin.queue("n1");
    assert_eq!(one("")["job"]["id"], id.as_str());
    // The answer got lost: the same process gets it again, a copy of it does not.
    assert_eq!(two("")["job"], Value::Null);
    assert_eq!(one("")["job"]["id"], id.as_str());
    // That poll has shown that both live.
    let told = two("");
    assert_eq!(
        (&told["job"], &told["newInstance"]),
        (&Value::Null, &json!(true))
    );
    assert_eq!(one(&format!("running={id}")).get("newInstance"), None);
    let node = admin.get("/api/nodes/n1").ok();
    assert!(node["copiedAgentAt"].is_string(), "{node}");
    let entries = admin.audit("nodeId=n1");
    assert!(
        entries.contains(&("node:n1".to_owned(), "node.copied_agent".to_owned())),
        "{entries:?}"
    );
    let page = admin.browser("GET", "/nodes/n1").gives(200).text();
    assert!(page.contains("copy of this node's agent state"), "{page}");
    // As an instance of its own it is an agent like any other.
    agent.succeed(&id);
    let next = admin.queue("n1");
    let own = agent.instance("own");
    assert_eq!(as_process(&own, "p2")("")["job"]["id"], next.as_str());
}

#[test]
fn a_process_that_said_goodbye_leaves_its_claim_to_the_next_one() {
    let (_server, admin, agent) = with_node();
    let id = admin.queue("n1");
    assert_eq!(as_process(&agent, "p1")("")["job"]["id"], id.as_str());
    let goodbye = json!({"instance": "one", "process": "p1", "stopping": true});
    agent.heartbeat(&goodbye).gives(200);
    assert_eq!(as_process(&agent, "p2")("")["job"]["id"], id.as_str());
}

#[test]
fn a_process_that_fell_silent_leaves_its_claim_after_a_lease() {
    let mut server = Server::with(&[("HYPRBOX_LEASE_SECONDS", "3")]);
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let id = admin.queue("n1");
    assert_eq!(as_process(&agent, "p1")("")["job"]["id"], id.as_str());
    assert_eq!(as_process(&agent, "p2")("")["job"], Value::Null);
    let again = eventually("the claim to come again", || {
        let answer = as_process(&agent, "p2")("wait=1");
        answer["job"].is_object().then_some(answer)
    });
    assert_eq!(again["job"]["id"], id.as_str());
}

#[test]
fn output_and_ends_are_taken_only_from_the_process_that_claimed_the_job() {
    let (_server, admin, agent) = with_node();
    let (one, two) = (as_process(&agent, "p1"), as_process(&agent, "p2"));
    let call = |process: &str, call: &str, id: &str, body: Value| {
        let path = format!("/api/jobs/{id}/{call}?agent=one&process={process}");
        agent.call("POST", &path).json(&body)
    };
    let output = json!({"chunks": [{"stream": "stdout", "offset": 0, "data": "from a copy"}]});
    let end = json!({"errorMsg": "node restarted while the job was running"});
    let id = admin.queue("n1");
    assert_eq!(one("")["job"]["id"], id.as_str());
    // It is not known yet whether the claiming process is still alive.
    let running = format!("capacity=0&running={id}");
    assert_eq!(two(&running)["unproven"], true);
    call("p2", "output", &id, output.clone()).refused(503, "process_unproven");
    call("p2", "complete", &id, end.clone()).refused(503, "process_unproven");
    assert_eq!(one(&running).get("unproven"), None);
    assert_eq!(two(&running)["newInstance"], true);
    call("p2", "output", &id, output).refused(409, "not_your_process");
    call("p2", "complete", &id, end).refused(409, "not_your_process");
    let said = json!({"chunks": [{"stream": "stdout", "offset": 0, "data": "true"}]});
    call("p1", "output", &id, said).ok();
    call("p1", "complete", &id, json!({"exitCode": 3})).ok();
    let job = admin.job(&id);
    assert_eq!(
        (&job["stdout"], &job["exitCode"], &job["errorMsg"]),
        (&json!("true"), &json!(3), &Value::Null)
    );
}

#[test]
fn the_next_process_reports_on_a_job_once_the_claiming_one_is_gone() {
    let mut server = Server::with(&[("HYPRBOX_LEASE_SECONDS", "3")]);
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let id = admin.queue("n1");
    assert_eq!(as_process(&agent, "p1")("")["job"]["id"], id.as_str());
    let running = format!("capacity=0&running={id}");
    let two = as_process(&agent, "p2");
    assert_eq!(two(&running)["unproven"], true);
    eventually("the first process to count as stopped", || {
        two(&running).get("unproven").is_none().then_some(())
    });
    let path = format!("/api/jobs/{id}/complete?agent=one&process=p2");
    let end = json!({"errorMsg": "node restarted while the job was running"});
    let job = agent.call("POST", &path).json(&end).ok();
    assert_eq!(job["errorMsg"], end["errorMsg"]);
}

#[test]
fn a_state_folder_that_is_copied_while_a_job_runs_does_not_touch_the_job() {
    let (server, admin, node) = with_node();
    let folder = tempfile::tempdir().expect("a folder");
    let go = folder.path().join("go");
    let first = RealAgent::start(&server, &node);
    let code = format!(
        "echo before; until [ -e '{}' ]; do sleep 0.05; done; echo after; exit 3",
        go.display()
    );
    let id = admin.queue_with("n1", "shell", json!({"code": code}));
    eventually("the first line", || {
        let job = admin.job(&id);
        (job["stdout"] == "==> [1/1] Run it\nbefore\n").then_some(())
    });
    let second = first.copy();
    eventually("the copy to become another instance", || {
        second
            .logged("starting as a new agent instance")
            .then_some(())
    });
    eventually("both agents to live", || {
        (admin.get("/api/nodes/n1").ok()["liveInstances"] == 2).then_some(())
    });
    assert_eq!(admin.job(&id)["status"], "RUNNING");
    std::fs::write(&go, "").expect("writes");
    let job = eventually("the job's end", || is_done(&admin, &id));
    assert_eq!(
        (&job["status"], &job["exitCode"], &job["errorMsg"]),
        (&json!("FAILED"), &json!(3), &Value::Null),
        "{job}"
    );
    assert_eq!(job["stdout"], "==> [1/1] Run it\nbefore\nafter\n");
    assert!(!first.logged("starting as a new agent instance"));
    // The copy is now an agent like any other.
    drop(first);
    let next = admin.queue_with("n1", "shell", json!({"code": "echo next"}));
    let job = eventually("the next job's end", || is_done(&admin, &next));
    assert_eq!(job["status"], "SUCCEEDED", "{job}");
}

#[test]
fn a_restarted_agent_reports_the_end_of_its_job_at_once() {
    let (server, admin, node) = with_node();
    let folder = tempfile::tempdir().expect("a folder");
    let (ready, go) = (folder.path().join("ready"), folder.path().join("go"));
    let mut agent = RealAgent::start(&server, &node);
    let code = format!(
        "touch '{}'; until [ -e '{}' ]; do sleep 0.05; done; echo end",
        ready.display(),
        go.display()
    );
    let id = admin.queue_with("n1", "shell", json!({"code": code}));
    eventually("the script's start", || ready.exists().then_some(()));
    agent.kill9();
    std::fs::write(&go, "").expect("writes");
    agent.start_again();
    let job = eventually("the job's end", || is_done(&admin, &id));
    assert_eq!((&job["status"], &job["stdout"]), (&json!("SUCCEEDED"), &json!("==> [1/1] Run it\nend\n")));
}

#[test]
fn a_copied_agent_runs_no_job_twice_and_becomes_an_instance_of_its_own() {
    let (server, admin, node) = with_node();
    let folder = tempfile::tempdir().expect("a folder");
    let runs = folder.path().join("runs");
    let mut first = RealAgent::start(&server, &node);
    let code = format!("echo run >> '{}'; sleep 0.2", runs.display());
    let queue = || admin.queue_with("n1", "shell", json!({"code": code}));
    let id = queue();
    eventually("the first job", || is_done(&admin, &id));
    assert!(first.terminate().success());
    let second = first.copy();
    first.start_again();
    eventually("both agents to live", || {
        let node = admin.get("/api/nodes/n1").ok();
        (node["liveInstances"] == 2 && node["copiedAgentAt"].is_string()).then_some(())
    });
    eventually("the copy to become another instance", || {
        (first.logged("starting as a new agent instance")
            || second.logged("starting as a new agent instance"))
        .then_some(())
    });
    let ids: Vec<String> = (0..4).map(|_| queue()).collect();
    for id in &ids {
        let job = eventually("a job's end", || is_done(&admin, id));
        assert_eq!(job["status"], "SUCCEEDED", "{job}");
    }
    assert_eq!(lines_of(&runs), 5);
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
fn what_was_ended_by_hand_can_be_stopped_while_its_script_runs() {
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
