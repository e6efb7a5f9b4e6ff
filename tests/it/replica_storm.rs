//! Three servers over one database, one of which is killed every few seconds, and many agents that
//! work all the while.
//!
//! Most agents are threads of this test that keep the agent's rules over real HTTP: an instance, a
//! journal (`running=`), offsets, the same call again until it is answered, now at this server and
//! now at that one. Three are real ones.
//!
//! | variable | default | in full |
//! | --- | --- | --- |
//! | `HYPRBOX_TEST_STORM_SECONDS` | 12 | 180 |
//! | `HYPRBOX_TEST_STORM_AGENTS` | 24 | 200 |
//! | `HYPRBOX_TEST_STORM_KILL_SECONDS` | 3 | 5 |
//!
//! In full it wants the release build: `HYPRBOX_TEST_SERVER=target/release/hyprbox`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{
    Call, FakeAgent, Line, Person, RealAgent, Server, Setup, bytes_chunk, eventually_within, id_of,
    pass, until,
};

const CLIENTS: usize = 4;
const REAL: usize = 3;
/// Jobs that may wait for each agent.
const BACKLOG: usize = 2;
/// How long the last jobs may take when all servers are up again.
const END_WITHIN: Duration = Duration::from_secs(180);
const PIECES: usize = 8;
/// A call that takes longer is reported.
const SLOW: Duration = Duration::from_secs(12);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes that a job writes to a stream: its own, and of all kinds.
fn written(id: &str, stream: &str) -> Vec<u8> {
    let blocks = if stream == "stdout" { 640 } else { 64 };
    let block = |number: u32| Sha256::digest(format!("{id} {stream} {number}"));
    (0..blocks).flat_map(block).collect()
}

#[derive(Default)]
struct Storm {
    urls: RwLock<Vec<String>>,
    enough: AtomicBool,
    /// A thread has panicked, or all is done.
    over: AtomicBool,
    tries: AtomicUsize,
    failed_tries: AtomicUsize,
    /// Ids of those that were acknowledged, with the node's number.
    queued: Mutex<BTreeMap<String, usize>>,
    /// Which agent started each job.
    started: Mutex<BTreeMap<String, usize>>,
    completed: AtomicUsize,
}

impl Storm {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Works; a panic of one ends the others, too.
    fn or_all_over(&self, work: impl FnOnce()) {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        if let Err(panic) = outcome {
            self.over.store(true, Ordering::SeqCst);
            std::panic::resume_unwind(panic);
        }
    }

    /// Sends a call until it is answered, each time at the next server; `None` when it is all over.
    fn insist(&self, call: impl Fn(&str) -> Call) -> Option<(u16, Value)> {
        eventually_within(END_WITHIN, "an answer of a server", || {
            if self.is_over() {
                return Some(None);
            }
            let number = self.tries.fetch_add(1, Ordering::Relaxed);
            let url = {
                let urls = self.urls.read().unwrap_or_else(PoisonError::into_inner);
                urls[number % urls.len()].clone()
            };
            let asked = Instant::now();
            let sent = call(&url).try_send();
            let took = asked.elapsed();
            if took > SLOW {
                eprintln!("a call took {took:?}, its answer: {sent:?}");
            }
            match sent {
                Ok(answer) if answer.status == 503 => {
                    assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
                }
                Ok(answer) => return Some(Some((answer.status, answer.json()))),
                Err(_) => {}
            }
            self.failed_tries.fetch_add(1, Ordering::Relaxed);
            None
        })
    }
}

fn queue_jobs(person: &Person, client: usize, nodes: usize, marks: &Path, storm: &Storm) {
    for count in 0.. {
        let most = BACKLOG * nodes;
        let is_enough = eventually_within(END_WITHIN, "fewer jobs that wait", || {
            let is_enough = storm.enough.load(Ordering::SeqCst) || storm.is_over();
            let completed = storm.completed.load(Ordering::SeqCst);
            let open = locked(&storm.queued).len().saturating_sub(completed);
            (is_enough || open < most).then_some(is_enough)
        });
        if is_enough {
            return;
        }
        let node = (count * CLIENTS + client) % nodes;
        let name = format!("{client}-{count}");
        let code = format!(
            "echo {name} >>{}; for line in 1 2 3 4 5 6 7 8; do echo \"{name} line $line\"; sleep 0.2; done",
            marks.display()
        );
        let body =
            json!({"preset": "shell", "nodeId": format!("n{node}"), "params": {"code": code}});
        let queue = |url: &str| {
            let call = person.at_url(url).post("/api/jobs", &body);
            call.header("idempotency-key", &name)
        };
        let Some((status, job)) = storm.insist(queue) else {
            return;
        };
        assert!(matches!(status, 200 | 201), "{status}: {job}");
        let before = locked(&storm.queued).insert(id_of(&job), node);
        assert_eq!(before, None, "one job for two keys: {job}");
    }
}

/// One job at a time, by the agent's rules.
fn work(agent: &FakeAgent, number: usize, storm: &Storm) {
    loop {
        let poll = |url: &str| agent.at_url(url).poll("wait=5&running=");
        let Some((status, answer)) = storm.insist(poll) else {
            return;
        };
        assert_eq!(status, 200, "{answer}");
        if answer["job"].is_null() {
            continue;
        }
        let id = id_of(&answer["job"]);
        let before = locked(&storm.started).insert(id.clone(), number);
        assert_eq!(
            before, None,
            "{id} came to agent {number} after it was started"
        );
        if run(agent, &id, storm).is_none() {
            return;
        }
        storm.completed.fetch_add(1, Ordering::SeqCst);
    }
}

fn run(agent: &FakeAgent, id: &str, storm: &Storm) -> Option<()> {
    let streams = ["stdout", "stderr"].map(|stream| (stream, written(id, stream)));
    for piece in 0..PIECES {
        let chunks: Vec<Value> = streams
            .iter()
            .map(|(stream, bytes)| {
                let size = bytes.len() / PIECES;
                let from = piece * size;
                bytes_chunk(stream, from as u64, &bytes[from..from + size])
            })
            .collect();
        let body = json!({"chunks": chunks});
        let (status, answer) = storm.insist(|url| agent.at_url(url).output_call(id, &body))?;
        assert_eq!(status, 200, "output of {id}: {answer}");
        pass(Duration::from_millis(200), "a script takes its time");
    }
    let [stdout, stderr] = streams.map(|(_, bytes)| bytes.len());
    let report = json!({"exitCode": 0, "stdoutBytes": stdout, "stderrBytes": stderr});
    let (status, answer) = storm.insist(|url| agent.at_url(url).complete(id, &report))?;
    assert_eq!(status, 200, "completion of {id}: {answer}");
    Some(())
}

fn three() -> Option<Vec<Server>> {
    let first = Setup::new();
    let database = first.database();
    if database.sqlite().is_some() {
        return None;
    }
    let key = first.folder().join("key");
    let key = key.to_str().expect("UTF-8").to_owned();
    let start = |setup: Setup| {
        setup
            .with("HYPRBOX_DATABASE_URL", &database.url())
            .with("HYPRBOX_SECRET_KEY_FILE", &key)
            .with("HYPRBOX_LEASE_SECONDS", "30")
            .start()
    };
    Some([first, Setup::new(), Setup::new()].map(start).into())
}

/// Kills one after the other by the clock, and starts each again a moment later, however long that
/// takes; how many were killed.
fn kill_in_turn(servers: &mut [Server], lines: &[Line], storm: &Storm) -> usize {
    let length = Duration::from_secs(setting("HYPRBOX_TEST_STORM_SECONDS", 12));
    let pause = Duration::from_secs(setting("HYPRBOX_TEST_STORM_KILL_SECONDS", 3));
    let servers: Vec<Mutex<&mut Server>> = servers.iter_mut().map(Mutex::new).collect();
    let began = Instant::now();
    std::thread::scope(|scope| {
        let mut kills = 0;
        let mut next = began + pause;
        while next < began + length && !storm.is_over() {
            until(next, "a server is killed every few seconds");
            next += pause;
            let at = kills % servers.len();
            kills += 1;
            let server = &servers[at];
            scope.spawn(move || {
                let mut server = locked(server);
                server.kill9();
                pass(
                    Duration::from_millis(700),
                    "a server stays away for a while",
                );
                server.start_again();
                lines[at].lead_to(server.address());
                storm.urls.write().unwrap_or_else(PoisonError::into_inner)[at] =
                    server.url().to_owned();
            });
        }
        kills
    })
}

#[test]
fn servers_are_killed_in_turn_and_every_job_ends_once_and_whole() {
    let Some(mut servers) = three() else { return };
    let agents = usize::try_from(setting("HYPRBOX_TEST_STORM_AGENTS", 24)).expect("a number");
    let admin = servers[0].admin();
    let marks = servers[0].setup().folder().join("marks");
    let database = servers[0].database();
    database.execute_all(
        "CREATE TABLE ends (job_id TEXT);
         CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO ends VALUES (NEW.id); RETURN NULL; END';
         CREATE TRIGGER jobs_note_end AFTER UPDATE OF status ON jobs FOR EACH ROW
         WHEN (NEW.status IN ('SUCCEEDED', 'FAILED', 'CANCELLED')) EXECUTE FUNCTION note_end();",
    );
    let nodes: Vec<FakeAgent> = (0..agents + REAL)
        .map(|number| admin.add_node(&format!("n{number}")))
        .collect();
    let lines: Vec<Line> = servers
        .iter()
        .map(|server| Line::to(server.address()))
        .collect();
    let real: Vec<RealAgent> = (0..REAL)
        .map(|number| {
            RealAgent::at_url(&lines[number % lines.len()].url(), &nodes[agents + number])
        })
        .collect();
    let storm = Storm::default();
    *storm.urls.write().expect("no panic") = servers
        .iter()
        .map(|server| server.url().to_owned())
        .collect();
    let kills = std::thread::scope(|scope| {
        let (storm, admin, marks) = (&storm, &admin, &marks);
        for client in 0..CLIENTS {
            scope.spawn(move || {
                storm.or_all_over(|| queue_jobs(admin, client, agents + REAL, marks, storm))
            });
        }
        for (number, node) in nodes.iter().take(agents).enumerate() {
            scope.spawn(move || storm.or_all_over(|| work(node, number, storm)));
        }
        let kills = kill_in_turn(&mut servers, &lines, storm);
        storm.enough.store(true, Ordering::SeqCst);
        let open = "SELECT count(*) FROM jobs WHERE status IN ('QUEUED', 'RUNNING')";
        eventually_within(END_WITHIN, "the end of every job", || {
            (database.number(open) == 0 || storm.is_over()).then_some(())
        });
        storm.over.store(true, Ordering::SeqCst);
        kills
    });
    drop(real);
    check(
        &servers[0],
        &admin.at_url(servers[0].url()),
        storm,
        agents,
        &marks,
    );
    eprintln!("{kills} kills of a server");
}

fn check(server: &Server, admin: &Person, storm: Storm, agents: usize, marks: &Path) {
    let queued = storm.queued.into_inner().expect("no panic");
    let database = server.database();
    let kept: BTreeSet<String> = database.texts("SELECT id FROM jobs").into_iter().collect();
    assert_eq!(
        kept,
        queued.keys().cloned().collect(),
        "acknowledged, and gone, or queued twice"
    );
    // Told with all that is known of it: it will not come again for the asking.
    let not_well = "SELECT CAST(row_to_json(told) AS TEXT) FROM (
        SELECT id, node_id, status, created_at, started_at, finished_at, lost_at, recovered_at, stdout_bytes,
            (SELECT count(*) FROM ends WHERE job_id = id) AS ends,
            (SELECT max(last_seen_at) FROM node_instances WHERE node_id = jobs.node_id) AS last_seen_at
        FROM jobs) told
        WHERE ends <> 1 OR status <> 'SUCCEEDED' OR recovered_at IS NOT NULL OR lost_at IS NOT NULL";
    let not_well = database.texts(not_well);
    assert!(not_well.is_empty(), "{}", not_well.join("\n"));
    let mut bytes = 0;
    for (id, node) in &queued {
        let log = |stream: &str| admin.log(id, stream);
        if *node < agents {
            for stream in ["stdout", "stderr"] {
                let wanted = written(id, stream);
                assert!(log(stream) == wanted, "{stream} of {id}");
                bytes += wanted.len();
            }
        } else {
            let text = String::from_utf8(log("stdout")).expect("text");
            let name = text
                .split_whitespace()
                .nth(4)
                .expect("a first line")
                .to_owned();
            let lines: Vec<String> = (1..=8)
                .map(|line| format!("{name} line {line}\n"))
                .collect();
            assert_eq!(
                text,
                format!("==> [1/1] Run it\n{}", lines.concat()),
                "{id}"
            );
        }
    }
    let real = queued.values().filter(|node| **node >= agents).count();
    let marks = std::fs::read_to_string(marks).unwrap_or_default();
    assert_eq!(marks.lines().collect::<BTreeSet<_>>().len(), real);
    assert_eq!(marks.lines().count(), real, "a script ran twice");
    eprintln!(
        "{} jobs ({real} of real agents), {bytes} bytes of output, all exact; {} of {} calls had to be made again",
        queued.len(),
        storm.failed_tries.into_inner(),
        storm.tries.into_inner()
    );
}
