//! Runs over fifty nodes with a canary, batches and allowed failures, on an unreliable network,
//! with servers killed throughout: no job is claimed before its batch may begin, no run goes on
//! after one failure too many, and none stalls. On PostgreSQL there are three servers.
//!
//! The agents are threads that keep the agent's rules over real HTTP: an instance, a list of what
//! they run, and the same call again until it is answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{FakeAgent, Field, Person, Server, Setup, eventually_within, id_of, pass};
use crate::random::Random;
use crate::setting;

const NODES: usize = 50;
/// Runs of one seed, one after the other.
const RUNS: u64 = 4;
/// How many of 100 calls have a fault.
const HURT_PERCENT: u64 = 20;
/// No lease expires: every end is the agent's own.
const LEASE_SECONDS: &str = "600";
/// How long a run may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pause after a call that failed, as an agent makes one.
const RETRY: Duration = Duration::from_millis(20);
const LOST: &str = "an agent pauses after a call that failed";

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the agents have seen of one job.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// When the call that claimed the job was sent.
    asked_at: Instant,
    /// When the claim arrived.
    claimed_at: Instant,
    /// When its end was sent for the first time.
    end_sent_at: Option<Instant>,
    /// When the server confirmed its end.
    end_known_at: Option<Instant>,
    exit_code: u64,
}

/// The servers and what the agents have seen.
struct Field50 {
    urls: RwLock<Vec<String>>,
    seen: Mutex<BTreeMap<String, Seen>>,
    over: AtomicBool,
    /// How many of 100 jobs fail.
    fail_percent: Mutex<u64>,
}

impl Field50 {
    fn url(&self, random: &mut Random) -> String {
        let urls = self.urls.read().unwrap_or_else(PoisonError::into_inner);
        let index = random.below(urls.len() as u64);
        urls[usize::try_from(index).expect("an index")].clone()
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

/// The fault of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hurt {
    Not,
    /// The call never reaches the server.
    CallLost,
    /// The server does it, and its answer gets lost.
    AnswerLost,
}

fn hurt(random: &mut Random) -> Hurt {
    match random.below(100) {
        number if number < HURT_PERCENT / 2 => Hurt::CallLost,
        number if number < HURT_PERCENT => Hurt::AnswerLost,
        _ => Hurt::Not,
    }
}

/// One agent, until all is over.
fn work(field: &Field50, agent: &FakeAgent, seed: u64) {
    let mut random = Random::about(seed, &["agent", &agent.node_id], 0);
    let mut done: Vec<String> = Vec::new();
    while !field.is_over() {
        let Some((job, asked_at)) = claim(field, agent, &mut random) else {
            continue;
        };
        let id = id_of(&job);
        // A claim that is delivered twice is worked on once.
        assert!(!done.contains(&id), "{id} was claimed again after its end");
        done.push(id.clone());
        let fails = random.below(100) < *locked(&field.fail_percent);
        let exit_code = u64::from(fails);
        let seen = Seen {
            asked_at,
            claimed_at: Instant::now(),
            end_sent_at: None,
            end_known_at: None,
            exit_code,
        };
        locked(&field.seen).insert(id.clone(), seen);
        pass(
            Duration::from_millis(random.between(0, 150)),
            "the job runs",
        );
        end(field, agent, &id, exit_code, &mut random);
    }
}

fn claim(field: &Field50, agent: &FakeAgent, random: &mut Random) -> Option<(Value, Instant)> {
    let fault = hurt(random);
    let asked_at = Instant::now();
    if fault == Hurt::CallLost {
        pass(RETRY, LOST);
        return None;
    }
    let at = agent.at_url(&field.url(random));
    let answer = at.poll("wait=1").try_send();
    let Some(answer) = answer.ok().filter(|answer| answer.status == 200) else {
        pass(RETRY, LOST);
        return None;
    };
    let job = answer.json()["job"].clone();
    (job.is_object() && fault == Hurt::Not).then_some((job, asked_at))
}

fn end(field: &Field50, agent: &FakeAgent, id: &str, exit_code: u64, random: &mut Random) {
    let update = |change: &dyn Fn(&mut Seen)| {
        if let Some(seen) = locked(&field.seen).get_mut(id) {
            change(seen);
        }
    };
    while !field.is_over() {
        let fault = hurt(random);
        if fault == Hurt::CallLost {
            pass(RETRY, LOST);
            continue;
        }
        let now = Instant::now();
        update(&|seen| seen.end_sent_at = seen.end_sent_at.or(Some(now)));
        let at = agent.at_url(&field.url(random));
        let answer = at.complete(id, &json!({"exitCode": exit_code})).try_send();
        let status = answer.map_or(0, |answer| answer.status);
        if status == 200 && fault == Hurt::Not {
            update(&|seen| seen.end_known_at = Some(Instant::now()));
            return;
        }
        assert!(
            matches!(status, 0 | 200 | 502 | 503),
            "{id}: its end gave {status}"
        );
        pass(RETRY, LOST);
    }
}

/// A plan, how many of 100 jobs fail, and the number of failures that it allows.
fn random_plan(random: &mut Random) -> (Value, u64, u64) {
    let allowed = random.pick(&[0, 1, 3, 50]);
    let batch = match random.pick(&[0, 5, 17]) {
        0 => json!(random.pick(&["20%", "34%", "100%"])),
        count => json!(count),
    };
    let plan = json!({
        "canary": random.pick(&[0, 1, 3]),
        "batch": batch,
        "pauseSeconds": random.pick(&[0, 0, 0, 1]),
        "maxFailures": allowed,
    });
    (plan, random.pick(&[0, 2, 10]), allowed)
}

/// Calls until the server answers with a status below 500.
fn insist(
    field: &Field50,
    random: &mut Random,
    call: impl Fn(&str) -> Option<(u16, Value)>,
) -> (u16, Value) {
    eventually_within(PATIENCE, "a server's answer", || {
        call(&field.url(random)).filter(|(status, _)| *status < 500)
    })
}

/// Checks a run that has ended against what the agents have seen.
fn check(run: &Value, allowed: u64, seen: &BTreeMap<String, Seen>) {
    let jobs = run.list("jobs");
    let of = |job: &Value| seen.get(&id_of(job)).copied();
    for job in &jobs {
        let Some(this) = of(job) else {
            let is_cancelled = job["status"] == "CANCELLED";
            assert!(
                is_cancelled,
                "nobody claimed it, and it did not wait: {job}"
            );
            continue;
        };
        let expected = if this.exit_code == 0 {
            "SUCCEEDED"
        } else {
            "FAILED"
        };
        assert_eq!(job["status"], expected, "{job}");
        for earlier in jobs
            .iter()
            .filter(|other| other.count("batch") < job.count("batch"))
        {
            let ended = of(earlier).and_then(|earlier| earlier.end_sent_at);
            let ended = ended.unwrap_or_else(|| panic!("{earlier} did not end before {job}"));
            assert!(
                ended <= this.claimed_at,
                "{job} began before the end of {earlier}"
            );
        }
        // The server's times as well: if the answer to a claim got lost, the call that receives the
        // job is sent later than the claim.
        let failed_before = jobs.iter().filter(|other| {
            let Some(seen) = of(other).filter(|seen| seen.exit_code != 0) else {
                return false;
            };
            let is_known = seen.end_known_at.is_some_and(|at| at < this.asked_at);
            is_known && other.field("finishedAt") < job.field("startedAt")
        });
        let failed_before = failed_before.count() as u64;
        assert!(
            failed_before <= allowed,
            "{job} began after {failed_before} failures, {allowed} allowed"
        );
    }
    let counts = &run["counts"];
    let is_good = counts.count("failed") <= allowed && counts.count("succeeded") > 0;
    let status = if is_good { "SUCCEEDED" } else { "FAILED" };
    assert_eq!(run["status"], status, "{counts}");
    let stopped = counts.count("failed") > allowed;
    assert_eq!(run["stoppedBecause"].is_string(), stopped, "{run}");
    assert_eq!(
        counts.count("cancelled") > 0,
        jobs.iter().any(|job| of(job).is_none())
    );
}

/// The servers: one on SQLite, three on PostgreSQL.
fn servers() -> Vec<Server> {
    let first = Server::with(&[("HYPRBOX_LEASE_SECONDS", LEASE_SECONDS)]);
    let database = first.database();
    let mut servers = vec![first];
    if database.sqlite().is_none() {
        let key = servers[0].setup().data_dir().join("secret.key");
        for _ in 0..2 {
            let setup = Setup::new()
                .with("HYPRBOX_LEASE_SECONDS", LEASE_SECONDS)
                .with("HYPRBOX_DATABASE_URL", &database.url())
                .with("HYPRBOX_SECRET_KEY_FILE", key.to_str().expect("UTF-8"));
            servers.push(setup.start());
        }
    }
    servers
}

fn publish(field: &Field50, servers: &[Server]) {
    let urls = servers.iter().map(|server| server.url().to_owned());
    *field.urls.write().unwrap_or_else(PoisonError::into_inner) = urls.collect();
}

/// Queues one run after the other, and checks each once it has ended.
fn queue_runs(field: &Field50, admin: &Person, seed: u64) {
    let mut random = Random::about(seed, &["runs"], 0);
    for number in 0..RUNS {
        let (plan, fail_percent, allowed) = random_plan(&mut random);
        *locked(&field.fail_percent) = fail_percent;
        let nodes: Vec<String> = (0..NODES).map(|node| format!("n{node:02}")).collect();
        let body = json!({"preset": "note", "nodes": nodes, "plan": plan});
        let key = format!("run-{number}");
        let (status, made) = insist(field, &mut random, |url| {
            let call = admin.at_url(url).post("/api/runs", &body);
            let answer = call.header("idempotency-key", &key).try_send().ok()?;
            Some((answer.status, answer.json()))
        });
        assert!(status == 200 || status == 201, "{made}");
        let id = id_of(&made);
        eprintln!("run {number}: {plan}, {fail_percent} % fail");
        let ended = eventually_within(PATIENCE, "the end of the run", || {
            let (_, run) = insist(field, &mut random, |url| {
                let call = admin.at_url(url).get(&format!("/api/runs/{id}"));
                let answer = call.try_send().ok()?;
                Some((answer.status, answer.json()))
            });
            run["finishedAt"].is_string().then_some(run)
        });
        eventually_within(PATIENCE, "the agents to know their last ends", || {
            let seen = locked(&field.seen);
            let all_known = seen.values().all(|seen| seen.end_known_at.is_some());
            all_known.then_some(())
        });
        check(&ended, allowed, &locked(&field.seen));
    }
}

fn run_seed(seed: u64) {
    eprintln!("seed {seed}");
    let mut servers = servers();
    let admin = servers[0].admin();
    let agents: Vec<FakeAgent> = (0..NODES)
        .map(|node| admin.add_node(&format!("n{node:02}")))
        .collect();
    let field = Arc::new(Field50 {
        urls: RwLock::default(),
        seen: Mutex::default(),
        over: AtomicBool::new(false),
        fail_percent: Mutex::new(0),
    });
    publish(&field, &servers);
    let workers: Vec<_> = agents
        .into_iter()
        .map(|agent| {
            let field = Arc::clone(&field);
            std::thread::spawn(move || work(&field, &agent, seed))
        })
        .collect();
    let queueing = {
        let (field, admin) = (Arc::clone(&field), admin);
        std::thread::spawn(move || queue_runs(&field, &admin, seed))
    };
    let mut random = Random::about(seed, &["kills"], 0);
    let mut kills = 0;
    while !queueing.is_finished() {
        let life = Duration::from_millis(random.between(50, 500));
        pass(life, "a kill comes at a random moment");
        let index = usize::try_from(random.below(servers.len() as u64)).expect("an index");
        servers[index].kill9();
        servers[index].start_again();
        publish(&field, &servers);
        kills += 1;
    }
    field.over.store(true, Ordering::SeqCst);
    queueing.join().expect("every run keeps its plan");
    for worker in workers {
        worker.join().expect("an agent");
    }
    eprintln!("seed {seed}: {RUNS} runs over {NODES} nodes, {kills} kills");
}

#[test]
fn no_run_breaks_its_plan_or_stalls() {
    let first = setting("HYPRBOX_CHAOS_SEED", 1);
    for seed in first..first + setting("HYPRBOX_CHAOS_SEEDS", 1) {
        run_seed(seed);
    }
}
