//! SIGKILL at any moment: what was acknowledged is there, what was claimed runs once, and the
//! database is sound.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Call, FakeAgent, Field, PATIENCE, Person, Server, chunk, eventually, eventually_within, id_of,
    pass, unix_time,
};

const KILLS: usize = 50;
const CLIENTS: usize = 8;
/// Two instances on each of two nodes.
const AGENTS: usize = 4;
/// Jobs that may wait at once, so that the agents keep up.
const BACKLOG: usize = 24;
/// The longest that the server lives, in milliseconds.
const LIFE_MAX_MS: u64 = 120;
/// The same where it must first connect to its database.
const LIFE_MAX_CONNECTING_MS: u64 = 360;

/// Repeats a run: the seed that it printed.
const SEED: &str = "HYPRBOX_TEST_SEED";

/// A generator of numbers that are random enough for moments (xorshift).
struct Random(u64);

impl Random {
    fn from_environment() -> Self {
        let now = || u64::from(unix_time().subsec_nanos());
        let given = std::env::var(SEED).ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(now).max(1);
        eprintln!("{SEED}={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What the clients and agents know, apart from the server.
#[derive(Default)]
struct Known {
    url: RwLock<String>,
    /// No new jobs any more.
    enough: AtomicBool,
    /// No work any more.
    over: AtomicBool,
    acknowledged: Mutex<BTreeSet<String>>,
    /// Which agent started each job.
    started: Mutex<BTreeMap<String, usize>>,
    completed: AtomicUsize,
}

impl Known {
    fn url(&self) -> String {
        self.url.read().expect("no panic").clone()
    }

    fn waiting(&self) -> usize {
        let acknowledged = self.acknowledged.lock().expect("no panic").len();
        acknowledged.saturating_sub(self.completed.load(Ordering::SeqCst))
    }

    /// Works; a panic of one ends the others, too.
    fn or_all_over(&self, work: impl FnOnce()) {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        if let Err(panic) = outcome {
            self.over.store(true, Ordering::SeqCst);
            std::panic::resume_unwind(panic);
        }
    }

    /// Sends a call until the server answers it; `None` when it is all over.
    fn insist(&self, call: impl Fn(&str) -> Call) -> Option<(u16, Value)> {
        eventually_within(4 * PATIENCE, "an answer of the server's next life", || {
            if self.over.load(Ordering::SeqCst) {
                return Some(None);
            }
            let answer = call(&self.url()).try_send().ok()?;
            // A server that goes down or comes up asks for another try.
            (answer.status != 503).then(|| Some((answer.status, answer.json())))
        })
    }
}

fn queue_jobs(person: &Person, number: usize, known: &Known) {
    for count in 0.. {
        let is_enough = eventually_within(4 * PATIENCE, "fewer jobs that wait", || {
            let is_enough = known.enough.load(Ordering::SeqCst);
            (is_enough || known.waiting() < BACKLOG).then_some(is_enough)
        });
        if is_enough {
            return;
        }
        let node = ["n1", "n2"][count % 2];
        let body = json!({"preset": "note", "nodeId": node, "params": {"text": format!("{number}-{count}")}});
        let key = format!("client-{number}-{count}");
        let queue = |url: &str| {
            let call = person.at_url(url).post("/api/jobs", &body);
            call.header("idempotency-key", &key)
        };
        let Some((status, job)) = known.insist(queue) else {
            return;
        };
        assert!(matches!(status, 200 | 201), "{status}: {job}");
        let mut acknowledged = known.acknowledged.lock().expect("no panic");
        assert!(
            acknowledged.insert(id_of(&job)),
            "one job for two keys: {job}"
        );
    }
}

/// An agent with a journal: what it started it never starts again.
fn work(agent: &FakeAgent, number: usize, known: &Known) {
    loop {
        let poll = |url: &str| agent.at_url(url).poll("wait=1");
        let Some((status, answer)) = known.insist(poll) else {
            return;
        };
        assert_eq!(status, 200, "{answer}");
        if answer["job"].is_null() {
            continue;
        }
        let id = id_of(&answer["job"]);
        let before = known
            .started
            .lock()
            .expect("no panic")
            .insert(id.clone(), number);
        assert_eq!(
            before, None,
            "{id} was given to agent {number} and, before, to another or the same"
        );
        if !run(agent, &id, known) {
            return;
        }
    }
}

/// Two calls of output and the end; false when it is all over.
fn run(agent: &FakeAgent, id: &str, known: &Known) -> bool {
    let calls: [(&str, Value); 3] = [
        ("output", json!({"chunks": [chunk("stdout", 0, "first\n")]})),
        (
            "output",
            json!({"chunks": [chunk("stdout", 6, "second\n"), chunk("stderr", 0, "beside\n")]}),
        ),
        (
            "complete",
            json!({"exitCode": 0, "stdoutBytes": 13, "stderrBytes": 7}),
        ),
    ];
    for (what, body) in calls {
        let call = |url: &str| {
            let agent = agent.at_url(url);
            match what {
                "output" => agent.output_call(id, &body),
                _ => agent.complete(id, &body),
            }
        };
        let Some((status, answer)) = known.insist(call) else {
            return false;
        };
        assert_eq!(status, 200, "{what} of {id}: {answer}");
    }
    known.completed.fetch_add(1, Ordering::SeqCst);
    true
}

#[test]
fn fifty_kills_at_random_moments_lose_nothing_and_run_nothing_twice() {
    let mut random = Random::from_environment();
    let mut server = Server::start();
    let admin = server.admin();
    let nodes = ["n1", "n2"].map(|id| admin.add_node(id));
    let known = Known::default();
    *known.url.write().expect("no panic") = server.url().to_owned();
    std::thread::scope(|scope| {
        let (admin, known) = (&admin, &known);
        for number in 0..CLIENTS {
            scope.spawn(move || known.or_all_over(|| queue_jobs(admin, number, known)));
        }
        for number in 0..AGENTS {
            let agent = nodes[number % 2].instance(&format!("agent-{number}"));
            scope.spawn(move || known.or_all_over(|| work(&agent, number, known)));
        }
        let life_max_ms = match server.database().sqlite() {
            Some(_) => LIFE_MAX_MS,
            None => LIFE_MAX_CONNECTING_MS,
        };
        for kill in 1..=KILLS {
            // On a slow machine a life may be too short for any work: then the kills would prove
            // nothing.
            eventually("as many jobs as kills", || {
                let enough = known.acknowledged.lock().expect("no panic").len() >= kill;
                (enough || known.over.load(Ordering::SeqCst)).then_some(())
            });
            let life = Duration::from_millis(random.below(life_max_ms));
            pass(life, "a kill comes at a random moment");
            server.kill9();
            if kill % 10 == 0 {
                assert_eq!(server.database().integrity(), ["ok"], "after kill {kill}");
            }
            server.start_again();
            *known.url.write().expect("no panic") = server.url().to_owned();
        }
        known.enough.store(true, Ordering::SeqCst);
        eventually("every job to be done", || {
            let failed = known.over.load(Ordering::SeqCst);
            (failed || known.waiting() == 0).then_some(())
        });
        known.over.store(true, Ordering::SeqCst);
    });
    check(&mut server, known);
}

fn check(server: &mut Server, known: Known) {
    server.kill9();
    assert_eq!(server.database().integrity(), ["ok"]);
    server.start_again();
    let admin = server.admin();
    let acknowledged = known.acknowledged.into_inner().expect("no panic");
    let started = known.started.into_inner().expect("no panic");
    assert!(
        acknowledged.len() >= KILLS,
        "too few to tell: {}",
        acknowledged.len()
    );
    let kept: BTreeSet<String> = server
        .database()
        .texts("SELECT id FROM jobs")
        .into_iter()
        .collect();
    assert!(acknowledged.is_subset(&kept), "acknowledged, and gone");
    // A request that was cut off and tried again under its key made no second job.
    assert_eq!(kept, acknowledged);
    for id in &acknowledged {
        let job = admin.job(id);
        assert_eq!(job["status"], "SUCCEEDED", "{job}");
        assert_eq!(job["stdout"], "first\nsecond\n", "{job}");
        assert_eq!(job["stderr"], "beside\n", "{job}");
        assert_eq!(
            (job.count("stdoutBytes"), job.count("stdoutDropped")),
            (13, 0)
        );
        let by = server
            .database()
            .texts(&format!("SELECT claimed_by FROM jobs WHERE id = '{id}'"));
        assert_eq!(by, [format!("agent-{}", started[id])]);
    }
    eprintln!("{} jobs over {KILLS} kills", acknowledged.len());
}
