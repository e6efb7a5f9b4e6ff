//! What only PostgreSQL has: a line that may be cut, and a start that may find nobody at its end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Answer, Call, Field, Line, Setup, chunk, eventually, id_of, joined, once_within, pass,
};

/// The most lines of output of a job, so that a failed test ends.
const LINES_MAX: usize = 20_000;

/// As long a line may be silent.
const SILENCE: Duration = Duration::from_secs(15);
/// How often a tail reads the database by itself.
const SLOW_POLL: Duration = Duration::from_secs(5);

/// A server to be over a line to its database; `None` on another one.
fn over_a_line() -> Option<(Setup, Line)> {
    let setup = Setup::new();
    if setup.database().sqlite().is_some() {
        return None;
    }
    let (line, url) = Line::to_database(&setup.database().url());
    Some((setup.with("HYPRBOX_DATABASE_URL", &url), line))
}

/// What a server that can't start says: one line, and exit code 2.
pub(crate) fn refused(setup: &Setup) -> String {
    let output = setup.command().output().expect("it runs");
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{said}");
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("hyprbox:"))
        .collect();
    assert_eq!(lines.len(), 1, "{said}");
    lines[0].to_owned()
}

/// Sends a call until it is no longer a 503 that says when to come again.
fn until_taken(call: impl Fn() -> Call) -> Answer {
    eventually("the server to take it", || {
        let answer = call().send();
        if answer.status != 503 {
            return Some(answer);
        }
        assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
        None
    })
}

#[test]
fn a_start_without_a_database_is_one_line() {
    let Some((setup, line)) = over_a_line() else {
        return;
    };
    line.cut();
    let said = refused(&setup);
    assert!(
        said.contains("HYPRBOX_DATABASE_URL=postgres://hyprbox@127.0.0.1:"),
        "{said}"
    );
    let url = setup.database().url();
    let password = url.split([':', '@']).nth(2).expect("a password");
    assert!(!said.contains(password), "{said}");
    let wrong = url.replace(password, "not-the-password");
    let said = refused(&Setup::new().with("HYPRBOX_DATABASE_URL", &wrong));
    assert!(said.contains("password authentication failed"), "{said}");
    assert!(!said.contains("not-the-password"), "{said}");
}

#[test]
fn another_programs_database_is_not_changed() {
    let setup = Setup::new();
    let database = setup.database();
    if database.sqlite().is_some() {
        return;
    }
    database.execute("CREATE TABLE jobs (id TEXT)");
    let said = refused(&setup);
    assert!(said.contains("another program"), "{said}");
    assert_eq!(
        database
            .number("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"),
        1
    );
}

#[test]
fn while_the_line_is_cut_everything_is_a_503_and_then_nothing_is_lost() {
    let Some((setup, line)) = over_a_line() else {
        return;
    };
    let mut server = setup.with("HYPRBOX_LEASE_SECONDS", "3").start();
    let admin = server.admin();
    let agent = admin.add_node("n1");
    let id = admin.queue("n1");
    agent.claim();
    let waiting = admin.add_node("n2");
    let poll = waiting.poll("wait=60").send_later();
    let mut tail = admin.get(&format!("/api/jobs/{id}/stream")).open();
    let (sent, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let text = std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let numbers = 0..LINES_MAX;
            let lines = numbers.map(|number| format!("{number:06}\n"));
            let mut text = String::new();
            for line in lines.take_while(|_| !is_over.load(Ordering::SeqCst)) {
                let body = json!({"chunks": [chunk("stdout", text.len() as u64, &line)]});
                until_taken(|| agent.output_call(&id, &body)).is(200);
                sent.fetch_add(1, Ordering::SeqCst);
                text.push_str(&line);
            }
            text
        });
        for _ in 0..3 {
            let before = sent.load(Ordering::SeqCst);
            eventually("more output to be stored", || {
                (sent.load(Ordering::SeqCst) > before).then_some(())
            });
            line.cut();
            let refused = server.get("/readyz").send();
            assert!(matches!(refused.status, 200 | 503), "{refused:?}");
            let refused = admin.get("/api/jobs").gives(503);
            assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
            server.get("/healthz").gives(200);
            line.mend();
            until_taken(|| admin.get("/api/jobs")).is(200);
        }
        // Longer than a lease, in which nobody could write down that the agent lives.
        line.cut();
        pass(Duration::from_secs(4), "a lease must run out");
        line.mend();
        is_over.store(true, Ordering::SeqCst);
        sending.join().expect("sent")
    });
    let report = json!({"exitCode": 0});
    let job = until_taken(|| agent.complete(&id, &report)).is(200).json();
    assert_eq!(job["status"], "SUCCEEDED");
    assert_eq!(job["recoveredAt"], Value::Null, "the lease failed it");
    assert!(admin.log(&id, "stdout") == text.as_bytes());
    // The tail either held out or was told to come again; what it said is right so far.
    drop(tail.next_within(Duration::from_millis(1)));
    let queued = admin.queue("n2");
    let answer = poll.join().expect("an answer");
    let answer = if answer.status == 503 {
        until_taken(|| waiting.poll("wait=60"))
    } else {
        answer
    };
    assert_eq!(id_of(&answer.is(200).json()["job"]), queued);
    let status = server.terminate();
    assert!(status.success(), "{status}");
}

#[test]
fn a_statement_that_takes_too_long_is_a_503_and_changes_nothing() {
    let Some((setup, _line)) = over_a_line() else {
        return;
    };
    let database = setup.database();
    let mut server = setup.start();
    let admin = server.admin();
    admin.add_node("n1");
    database.execute_all(
        "CREATE FUNCTION take_long() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END';
         CREATE TRIGGER jobs_take_long BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION take_long();",
    );
    let body = json!({"preset": "note", "nodeId": "n1"});
    let asked = Instant::now();
    let refused = admin.post("/api/jobs", &body).gives(503);
    let took = asked.elapsed();
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    // If the server had waited for the trigger, the job would be there.
    assert!(took >= Duration::from_secs(10), "{took:?}");
    database.execute("DROP TRIGGER jobs_take_long ON jobs");
    assert_eq!(admin.get("/api/jobs").ok().list("jobs").len(), 0);
    admin.queue("n1");
}

/// As when a firewall has forgotten the connections, or a machine has stopped within its network:
/// nobody is told, and what is sent is taken.
#[test]
fn lines_that_fall_silent_are_left_all_at_once() {
    let Some((setup, line)) = over_a_line() else {
        return;
    };
    let key = setup.folder().join("key");
    let key = key.to_str().expect("UTF-8").to_owned();
    let direct = setup.database().url();
    let mut server = setup.with("HYPRBOX_SECRET_KEY_FILE", &key).start();
    let other = Setup::new()
        .with("HYPRBOX_DATABASE_URL", &direct)
        .with("HYPRBOX_SECRET_KEY_FILE", &key)
        .start();
    let admin = server.admin();
    let agent = admin.add_node("n1").at(&other);
    let id = admin.queue("n1");
    agent.claim();
    line.hush();
    let asked = Instant::now();
    // Several, so that each has a line of its own.
    let mut calls: Vec<_> = (0..8)
        .map(|_| admin.get("/api/jobs").send_later())
        .collect();
    let refused = |answer: Answer| {
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
    };
    refused(calls.remove(0).join().expect("an answer"));
    assert!(asked.elapsed() >= SILENCE, "{:?}", asked.elapsed());
    // No call waits for its own silence after another one's: together they would take 105 s.
    for call in calls {
        refused(joined("an answer at the same time", call));
    }
    // No other one is waited for as long: what is left of the old ones is not asked.
    let mut answers = 0;
    eventually("thirty answers", || {
        answers += u32::from(admin.get("/api/jobs").send().status == 200);
        (answers >= 30).then_some(())
    });
    eventually("the one that listens to be left, too", || {
        server
            .logged(&[
                "can't receive changes of other servers",
                "no answer for 15 s",
            ])
            .then_some(())
    });
    // It hears again what the agent sends to the other server. Without that, a tail looks every
    // five seconds.
    let mut tail = admin.get(&format!("/api/jobs/{id}/stream")).open();
    tail.until(|event| event.data["status"] == "RUNNING");
    let mut offset = 0;
    once_within(SLOW_POLL, "two lines without the tail's own check", || {
        for _ in 0..2 {
            agent.say(&id, offset, "line\n");
            offset += 5;
            tail.output("stdout", offset);
        }
    });
    agent.succeed(&id);
}

#[test]
fn a_server_ends_in_time_though_its_database_is_gone() {
    let Some((setup, line)) = over_a_line() else {
        return;
    };
    let mut server = setup.start();
    let admin = server.admin();
    admin.add_node("n1");
    line.cut();
    server.signal(Signal::SIGTERM);
    // It does not wait for the database's answers.
    let status = server.ended_within(SILENCE);
    assert!(status.success(), "{status}");
}
