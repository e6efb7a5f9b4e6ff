//! Several servers over one database: what one does, the others know. Only PostgreSQL allows this.
//! One file, because every part of the server needs a test with a second server.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    Answer, Call, Database, FakeAgent, Field, PASSWORD, Person, Server, Setup, chunk, eventually,
    id_of, joined, once_within,
};

/// Two servers, where the database is one for several.
fn two(variables: &[(&str, &str)]) -> Option<(Server, Server)> {
    let first = Server::with(variables);
    let second = beside(&first, variables)?;
    Some((first, second))
}

/// Another server over the first one's database, with its key.
pub(crate) fn beside(first: &Server, variables: &[(&str, &str)]) -> Option<Server> {
    let database = first.database();
    if database.sqlite().is_some() {
        return None;
    }
    let key = first.setup().data_dir().join("secret.key");
    let setup = variables
        .iter()
        .fold(Setup::new(), |setup, (name, value)| setup.with(name, value))
        .with("HYPRBOX_DATABASE_URL", &database.url())
        .with("HYPRBOX_SECRET_KEY_FILE", key.to_str().expect("UTF-8"));
    Some(setup.start())
}

fn at(person: &Person, server: &Server) -> Person {
    person.at_url(server.url())
}

#[test]
fn one_setup_code_opens_every_server_once() {
    let Some((first, second)) = two(&[]) else {
        return;
    };
    let code = first.setup_code();
    assert_eq!(code, second.setup_code());
    let register = |server: &Server, name: &str| {
        let email = format!("{name}@example.org");
        let body = json!({"email": email, "password": PASSWORD, "setupCode": code});
        server.post("/api/auth/register", &body).send_later()
    };
    let both = [register(&first, "one"), register(&second, "two")];
    let mut statuses = both.map(|call| call.join().expect("an answer").status);
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 403]);
}

#[test]
fn a_poll_that_waits_at_one_server_gets_a_job_queued_at_another() {
    let Some((mut first, second)) = two(&[]) else {
        return;
    };
    let admin = first.admin();
    let agent = admin.add_node("n1").at(&second);
    let there = at(&admin, &second);
    for _ in 0..5 {
        let poll = agent.open_poll(&there, "wait=60");
        let id = admin.queue("n1");
        // Without a message between the servers, each poll would wait for its end.
        let answer = joined("the job", poll).is(200).json();
        assert_eq!(id_of(&answer["job"]), id);
        // The cancel reaches the other server as well.
        let poll = agent.open_poll(&there, &format!("wait=60&capacity=0&running={id}"));
        admin.cancel(&id).gives(202);
        let answer = joined("the cancel", poll).is(200).json();
        assert_eq!(answer["cancel"], json!([id]));
        agent.succeed(&id);
    }
}

#[test]
fn a_live_tail_at_one_server_shows_what_another_one_gets() {
    let Some((mut first, second)) = two(&[]) else {
        return;
    };
    let admin = first.admin();
    let agent = admin.add_node("n1");
    let id = admin.queue("n1");
    agent.claim();
    let mut tail = at(&admin, &second)
        .get(&format!("/api/jobs/{id}/stream"))
        .open();
    tail.until(|event| event.data["status"] == "RUNNING");
    // The agent's server knows that somebody watches elsewhere.
    let mut offset = 0;
    eventually("the agent to be told to send at once", || {
        let answer = agent.say(&id, offset, "x");
        offset += 1;
        (answer["flushMs"] == 50).then_some(())
    });
    tail.output("stdout", offset);
    // Without a message between the servers, the tail would read the database every 5 s, and two
    // lines in turn would take that long at least.
    let five = Duration::from_secs(5);
    once_within(five, "two lines without the tail's own check", || {
        for _ in 0..2 {
            agent.say(&id, offset, "line\n");
            offset += 5;
            assert_eq!(tail.output("stdout", offset), "line\n");
        }
    });
    agent.succeed(&id);
    let events = tail.until_done();
    assert_eq!(events.last().expect("done").data["status"], "SUCCEEDED");
}

#[test]
fn a_copied_agent_at_another_server_is_recognised_and_ends_no_job() {
    let Some((mut first, second)) = two(&[]) else {
        return;
    };
    let admin = first.admin();
    let agent = admin.add_node("n1");
    let copy = agent.at(&second);
    let id = admin.queue("n1");
    assert_eq!(agent.poll("process=p1").ok()["job"]["id"], id.as_str());
    let end = |process: &str, server: &FakeAgent| {
        let path = format!("/api/jobs/{id}/complete?agent=one&process={process}");
        server.call("POST", &path).json(&json!({"exitCode": 3}))
    };
    let poll = |process: &str, server: &FakeAgent| {
        let more = format!("process={process}&capacity=0&running={id}");
        server.poll(&more).ok()
    };
    assert_eq!(poll("p2", &copy)["unproven"], true);
    end("p2", &copy).refused(503, "process_unproven");
    eventually("the copy to be recognised", || {
        assert_eq!(poll("p1", &agent).get("newInstance"), None);
        (poll("p2", &copy)["newInstance"] == true).then_some(())
    });
    end("p2", &copy).refused(409, "not_your_process");
    eventually("the node's page to say so", || {
        let node = admin.get("/api/nodes/n1").ok();
        node["copiedAgentAt"].is_string().then_some(())
    });
    end("p1", &agent).ok();
}

#[test]
fn an_operators_change_reaches_every_server() {
    let Some((mut first, second)) = two(&[]) else {
        return;
    };
    let admin = first.admin();
    let agent = admin.add_node("n1");
    let id = admin.queue("n1");
    agent.claim();
    let mut tails = [&first, &second].map(|server| {
        at(&admin, server)
            .get(&format!("/api/jobs/{id}/stream"))
            .open()
    });
    let changed = first.database().execute(&format!(
        "UPDATE jobs SET status='FAILED', error_msg='agent disappeared', finished_at=now() WHERE id='{id}' AND status='RUNNING'"
    ));
    assert_eq!(changed, 1);
    for tail in &mut tails {
        let events = tail.until_done();
        let done = events.last().expect("done");
        assert_eq!(done.data["errorMsg"], "agent disappeared");
    }
    agent.complete(&id, &json!({"exitCode": 0})).gives(409);
}

#[test]
fn a_job_is_kept_while_its_agent_calls_any_server() {
    let lease = [("HYPRBOX_LEASE_SECONDS", "3")];
    let Some((mut first, second)) = two(&lease) else {
        return;
    };
    let admin = first.admin();
    let heard = admin.add_node("n1");
    let silent = admin.add_node("n2");
    let (kept, without_instance) = (admin.queue("n1"), admin.queue("n1"));
    assert_eq!(heard.claim_id(), kept);
    assert_eq!(heard.founding().claim_id(), without_instance);
    for _ in 0..3 {
        let lost = admin.queue("n2");
        let claimed = Instant::now();
        silent.at(&second).claim();
        eventually("the silent one to be lost", || {
            heard.beat();
            (admin.job(&lost)["status"] == "FAILED").then_some(())
        });
        assert!(claimed.elapsed() >= Duration::from_secs(3));
        assert_eq!(
            admin.audit(&format!("jobId={lost}&action=job.lose")).len(),
            1
        );
    }
    for id in [&kept, &without_instance] {
        assert_eq!(admin.job(id)["status"], "RUNNING");
    }
    heard.at(&second).succeed(&kept);
}

#[test]
fn every_server_knows_the_nodes_and_whether_they_live() {
    let Some((mut first, second)) = two(&[]) else {
        return;
    };
    let admin = first.admin();
    let agent = admin.add_node("n1");
    let there = at(&admin, &second);
    let status = |person: &Person| person.get("/api/nodes/n1").ok()["status"].clone();
    assert_eq!(status(&there), "OFFLINE");
    // The second server has not heard of the node before its agent comes there.
    let facts = json!({"instance": "one", "hostname": "box", "intervalSeconds": 30});
    agent.at(&second).heartbeat(&facts).ok();
    assert_eq!(admin.get("/api/nodes/n1").ok()["hostname"], "box");
    for person in [&admin, &there] {
        eventually("it to be ONLINE", || {
            (status(person) == "ONLINE").then_some(())
        });
    }
    let goodbye = json!({"instance": "one", "hostname": "box", "stopping": true});
    agent.heartbeat(&goodbye).ok();
    for person in [&admin, &there] {
        eventually("it to be OFFLINE", || {
            (status(person) == "OFFLINE").then_some(())
        });
    }
    admin.delete("/api/nodes/n1").gives(204);
    there.get("/api/nodes/n1").gives(404);
    agent.at(&second).poll("").gives(401);
}

#[test]
fn a_credential_revoked_at_one_server_is_invalid_at_the_other_at_once() {
    let Some((mut first, second)) = two(&[]) else {
        return;
    };
    let admin = first.admin();
    admin.add_node("n1");
    for _ in 0..20 {
        let made = admin.call("POST", "/api/nodes/n1/tokens").gives(201).json();
        let poll = |server: &Server| {
            server
                .get("/api/jobs/pending?nodeId=n1&capacity=0")
                .bearer(&made.field("token"))
        };
        poll(&second).ok();
        let path = format!("/api/nodes/n1/tokens/{}", id_of(&made));
        admin.delete(&path).gives(204);
        poll(&second).gives(401);
        let other = first.login(&admin.email, PASSWORD);
        let there = at(&other, &second);
        there.get("/api/auth/me").ok();
        other.call("POST", "/api/auth/logout").gives(204);
        there.get("/api/auth/me").gives(401);
    }
}

#[test]
fn wrong_passwords_count_at_every_server() {
    let Some((mut first, second)) = two(&[]) else {
        return;
    };
    first.admin();
    let try_at = |server: &Server| {
        let body = json!({"email": "admin@example.org", "password": "wrong password"});
        server.post("/api/auth/login", &body).send_later()
    };
    let tries: Vec<_> = (0..20)
        .map(|number| {
            try_at(if usize::is_multiple_of(number, 2) {
                &first
            } else {
                &second
            })
        })
        .collect();
    let mut statuses = BTreeMap::new();
    for call in tries {
        *statuses
            .entry(call.join().expect("an answer").status)
            .or_insert(0) += 1;
    }
    assert_eq!(statuses, BTreeMap::from([(401, 10), (429, 10)]));
}

#[test]
fn an_idempotency_key_makes_one_job_at_whichever_server() {
    let Some((mut first, second)) = two(&[]) else {
        return;
    };
    let admin = first.admin();
    admin.add_node("n1");
    let body = json!({"preset": "note", "nodeId": "n1"});
    for key in ["a", "b", "c"] {
        let calls: Vec<_> = (0..16)
            .map(|number| {
                let server = if usize::is_multiple_of(number, 2) {
                    &first
                } else {
                    &second
                };
                let call = at(&admin, server).post("/api/jobs", &body);
                call.header("idempotency-key", key).send_later()
            })
            .collect();
        let answers: Vec<Value> = calls
            .into_iter()
            .map(|call| {
                let answer = call.join().expect("an answer");
                assert!(matches!(answer.status, 200 | 201), "{answer:?}");
                answer.json()
            })
            .collect();
        assert!(answers.iter().all(|job| id_of(job) == id_of(&answers[0])));
    }
    assert_eq!(admin.get("/api/jobs").ok().list("jobs").len(), 3);
}

#[test]
fn a_node_is_not_deleted_under_a_job_that_is_queued_or_claimed_elsewhere() {
    let Some((mut first, second)) = two(&[]) else {
        return;
    };
    let admin = first.admin();
    let there = at(&admin, &second);
    for number in 0..20 {
        let name = format!("n{number}");
        let agent = admin.add_node(&name).at(&second);
        admin.queue(&name);
        let body = json!({"preset": "note", "nodeId": name});
        let queue = there.post("/api/jobs", &body).send_later();
        let claim = agent.poll("").send_later();
        let delete = admin.delete(&format!("/api/nodes/{name}")).send();
        let queued = queue.join().expect("an answer");
        let claimed = claim.join().expect("an answer");
        assert!(matches!(queued.status, 201 | 404), "{queued:?}");
        assert!(matches!(claimed.status, 200 | 401), "{claimed:?}");
        let running = claimed.status == 200 && !claimed.json()["job"].is_null();
        let open = "status=QUEUED&status=RUNNING";
        let left = admin.get(&format!("/api/jobs?nodeId={name}&{open}")).ok();
        match delete.status {
            204 => assert_eq!(left.list("jobs").len(), 0, "running: {running}"),
            409 => assert!(running, "{delete:?}"),
            _ => panic!("{delete:?}"),
        }
    }
}

#[test]
fn appends_at_two_servers_give_every_byte_one_place() {
    let Some((mut first, second)) = two(&[]) else {
        return;
    };
    let admin = first.admin();
    let agent = admin.add_node("n1");
    let id = admin.queue("n1");
    agent.claim();
    let text: String = (0..400).map(|number| format!("{number:04}\n")).collect();
    // The same bytes at both at once, in steps that overlap otherwise, and more to the other
    // stream.
    std::thread::scope(|scope| {
        for (server, step) in [(&first, 35), (&second, 50)] {
            let (agent, text, id) = (agent.at(server), &text, &id);
            scope.spawn(move || {
                for start in (0..text.len()).step_by(step) {
                    let end = (start + step).min(text.len());
                    let chunks = [
                        chunk("stdout", start as u64, &text[start..end]),
                        chunk("stderr", start as u64, &text[start..end]),
                    ];
                    agent.output(id, &chunks);
                }
            });
        }
    });
    for stream in ["stdout", "stderr"] {
        let kept = String::from_utf8(admin.log(&id, stream)).expect("text");
        assert!(kept == text || job_dropped(&admin, &id) > 0, "{kept}");
    }
    let places = "SELECT count(DISTINCT position) - count(*) FROM chunks";
    assert_eq!(first.database().number(places), 0);
    let sum = "SELECT max(position + length(data)) - (SELECT max(position) FROM jobs) FROM chunks";
    assert_eq!(first.database().number(sum), 0);
}

/// A faster server may leave the slower one's start behind: never, as each sends in order from 0.
fn job_dropped(admin: &Person, id: &str) -> u64 {
    let job = admin.job(id);
    job.count("stdoutDropped") + job.count("stderrDropped")
}

#[test]
fn pullers_at_two_servers_claim_each_job_once() {
    let Some((mut first, second)) = two(&[]) else {
        return;
    };
    const JOBS: usize = 200;
    let admin = first.admin();
    let agent = admin.add_node("n1");
    let ids: Vec<String> = (0..JOBS).map(|_| admin.queue("n1")).collect();
    let began = Instant::now();
    let mut claimed: Vec<String> = std::thread::scope(|scope| {
        let pull = |number: usize| {
            let server = if usize::is_multiple_of(number, 2) {
                &first
            } else {
                &second
            };
            let agent: FakeAgent = agent.instance(&format!("puller-{number}")).at(server);
            scope.spawn(move || {
                let mut mine: Vec<String> = Vec::new();
                loop {
                    let running = mine.join(",");
                    let answer = agent.poll(&format!("running={running}")).ok();
                    if answer["job"].is_null() {
                        return mine;
                    }
                    mine.push(id_of(&answer["job"]));
                }
            })
        };
        let pullers: Vec<_> = (0..32).map(pull).collect();
        let claims = pullers
            .into_iter()
            .map(|puller| puller.join().expect("no panic"));
        claims.flatten().collect()
    });
    eprintln!("{JOBS} claims at two servers in {:?}", began.elapsed());
    claimed.sort_unstable();
    assert_eq!(claimed, ids, "ids are in the order of queueing");
}

/// Starts six servers with one key at the same moment; returns the database's versions.
fn start_at_once(database: &Database) -> Vec<String> {
    let url = database.url();
    let with_key = Server::start();
    let key = with_key.setup().data_dir().join("secret.key");
    let servers: Vec<_> = (0..6)
        .map(|_| {
            let setup = Setup::new()
                .with("HYPRBOX_DATABASE_URL", &url)
                .with("HYPRBOX_SECRET_KEY_FILE", key.to_str().expect("UTF-8"));
            std::thread::spawn(move || setup.start())
        })
        .collect();
    for server in servers {
        server.join().expect("it starts").get("/readyz").gives(200);
    }
    database.texts("SELECT CAST(version AS TEXT) FROM schema_version")
}

#[test]
fn servers_that_start_at_once_make_one_schema_or_bring_it_up_to_date() {
    let (fresh, old) = (Setup::new(), Setup::new());
    if fresh.database().sqlite().is_some() {
        return;
    }
    let newest = start_at_once(&fresh.database());
    assert_eq!(newest.len(), 1, "{newest:?}");
    old.database().make_version_1();
    assert_eq!(start_at_once(&old.database()), newest);
    assert_eq!(old.database().shape(), fresh.database().shape());
}

#[test]
fn connections_that_are_cut_are_opened_again() {
    let Some((mut first, second)) = two(&[]) else {
        return;
    };
    let admin = first.admin();
    let agent = admin.add_node("n1").at(&second);
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for _ in 0..5 {
        let poll = agent.open_poll(&at(&admin, &second), "wait=30");
        assert!(first.database().number(cut) > 0);
        // What was cut in the middle is a 503, and nothing else; the very next try finds a
        // connection.
        let body = json!({"preset": "note", "nodeId": "n1"});
        let queue = || admin.post("/api/jobs", &body);
        let id = id_of(&patiently(queue().send(), queue).is(201).json());
        let waited = poll.join().expect("an answer");
        let answer = patiently(waited, || agent.poll("wait=30")).is(200).json();
        assert_eq!(id_of(&answer["job"]), id);
        agent.succeed(&id);
        assert_eq!(admin.job(&id)["status"], "SUCCEEDED");
    }
}

/// A claim waits within the database; meanwhile the server that asked for it is killed, and its
/// agent finds nothing at another one. The claim is brought to its end all the same, by nobody who
/// could tell of it.
#[test]
fn a_claim_that_outlives_its_server_goes_to_its_agent_at_another_one() {
    let mut first = Server::start();
    let admin = first.admin();
    let agent = admin.add_node("n1");
    agent.beat();
    // It knows from the beginning that the node is alive: that would be news, at which a poll looks
    // once more.
    let Some(second) = beside(&first, &[]) else {
        return;
    };
    let there = agent.at(&second);
    let database = first.database();
    database.execute_all(
        "CREATE TABLE gate (open BOOLEAN);
         CREATE FUNCTION pass_gate() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN LOCK TABLE gate IN SHARE MODE; RETURN NULL; END';
         CREATE TRIGGER jobs_pass_gate AFTER UPDATE OF status ON jobs FOR EACH ROW
         WHEN (NEW.status = 'RUNNING') EXECUTE FUNCTION pass_gate();",
    );
    let gate = database.hold_table("gate");
    let id = admin.queue("n1");
    // A job that was queued just now is looked for in any case.
    database.execute("UPDATE jobs SET created_at = now() - INTERVAL '5 minutes'");
    let poll = agent.poll("");
    let broken = std::thread::spawn(move || poll.try_send().is_err());
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("the claim to wait", || {
        (database.number(waits) == 1).then_some(())
    });
    first.kill9();
    assert!(broken.join().expect("no panic"), "it was answered");
    there.finds_nothing("running=");
    // It has no reason to look once more.
    let poll = there.poll("wait=20&running=").send_later();
    drop(gate);
    let answer = poll.join().expect("an answer").is(200).json();
    assert_eq!(id_of(&answer["job"]), id);
    // Once: it knows of it now.
    there.finds_nothing(&format!("running={id}"));
    let done = there.succeed(&id);
    assert_eq!(done["status"], "SUCCEEDED");
}

/// Tries again as long as the answer is a 503 that says when.
fn patiently(answer: Answer, again: impl Fn() -> Call) -> Answer {
    let mut answer = Some(answer);
    eventually("an answer other than 503", || {
        let answer = answer.take().unwrap_or_else(|| again().send());
        assert!(answer.status != 503 || !answer.header("retry-after").is_empty());
        (answer.status != 503).then_some(answer)
    })
}

#[test]
fn a_preset_saved_at_one_server_is_in_effect_at_the_next_request_to_another() {
    let Some((mut first, second)) = two(&[]) else {
        return;
    };
    let admin = first.admin();
    admin.add_node("n1");
    let other = at(&admin, &second);
    let source = |line: &str| {
        format!("name: hi\ntargets: [any]\nsteps:\n  - name: One\n    run: echo {line}\n")
    };
    let put = |person: &Person, line: &str, condition: (&str, &str)| {
        let body = json!({"source": source(line)});
        let call = person.call("PUT", "/api/presets/hi").json(&body);
        call.header(condition.0, condition.1)
    };
    put(&admin, "line0", ("if-none-match", "*")).gives(201);
    for version in 1..10 {
        let (saves, queues) = if version % 2 == 0 {
            (&admin, &other)
        } else {
            (&other, &admin)
        };
        let job = queues.job(&queues.queue_with("n1", "hi", json!({})));
        assert_eq!(job["presetVersion"], version);
        let line = format!("echo line{}\n", version - 1);
        assert!(job.field("script").contains(&line), "version {version}");
        let tag = saves.get("/api/presets/hi").gives(200).header("etag");
        put(saves, &format!("line{version}"), ("if-match", &tag)).gives(200);
    }
    // At the same time at both: one wins.
    let tag = admin.get("/api/presets/hi").gives(200).header("etag");
    let calls: Vec<_> = (0..6)
        .map(|n| {
            let person = if n % 2 == 0 { &admin } else { &other };
            put(person, &format!("race{n}"), ("if-match", &tag)).send_later()
        })
        .collect();
    let answers = calls
        .into_iter()
        .map(|call| call.join().expect("an answer"));
    let statuses: Vec<u16> = answers.map(|answer| answer.status).collect();
    let won = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(won, 1, "{statuses:?}");
    assert_eq!(other.get("/api/presets/hi").ok()["version"], 11);
    other
        .delete("/api/presets/hi")
        .header("if-match", "*")
        .gives(204);
    admin
        .get("/api/presets/hi")
        .refused(404, "preset_not_found");
}
