//! Many jobs on an unreliable network, with agents and server killed repeatedly: each script runs
//! once, every byte arrives once, and every job has its true end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fault::Faults;
use crate::harness::{Field, Patience, Person, Server, Setup, eventually, pass};
use crate::node::Node;
use crate::proxy::Proxy;
use crate::random::Random;
use crate::script::{Tally, write_tally};
use crate::setting;

/// How many nodes share the jobs.
const NODES: usize = 4;
/// How many of 100 calls have a fault.
const HURT_PERCENT: u64 = 30;
/// Longer than any agent with a claimed job is silent, except the one whose lease must expire.
const LEASE_SECONDS: u64 = 12;
/// Pause between two checks of the clock.
const TICK: Duration = Duration::from_millis(50);
/// The longest time in which no further job ends.
const STALLED: Duration = Duration::from_secs(120);
/// Pause between two reads of the jobs.
const READ_EVERY: Duration = Duration::from_millis(500);

/// A node whose agent is killed and restarted.
struct StormNode {
    node: Node,
    proxy: Proxy,
    random: Random,
    next_kill: Instant,
    /// When the killed agent is started again.
    back_at: Option<Instant>,
    kills: u64,
}

impl StormNode {
    fn new(seed: u64, name: &str, server: &Server, admin: &Person, faults: &Arc<Faults>) -> Self {
        let proxy = Proxy::start(name, server.address(), faults);
        let mut node = Node::new(&proxy.url(), &admin.add_node(name));
        node.start();
        let mut random = Random::about(seed, &["kills", name], 0);
        Self {
            node,
            proxy,
            next_kill: Instant::now() + Duration::from_millis(random.between(200, 3_000)),
            random,
            back_at: None,
            kills: 0,
        }
    }

    /// Kills the agent or starts it again, if it is time.
    fn tick(&mut self) {
        let now = Instant::now();
        match self.back_at {
            Some(at) if at <= now => {
                self.node.start();
                self.back_at = None;
                self.next_kill = now + Duration::from_millis(self.random.between(300, 5_000));
            }
            None if self.next_kill <= now => {
                self.node.kill9();
                self.kills += 1;
                // Usually the agent is back at once, as under systemd.
                let away = self.random.pick(&[0, 0, 100, 1_500]);
                self.back_at = Some(now + Duration::from_millis(away));
            }
            _ => {}
        }
    }
}

/// The state of the agent that stays away until its lease has expired.
enum Absence {
    NotYet,
    Away,
    Over,
}

fn random_tally(random: &mut Random, folder: &Path, number: u64) -> Tally {
    Tally {
        file: folder.join(format!("ran-{number}")),
        word: format!("job-{number}"),
        // Some outputs are larger than what the server keeps.
        bulk: random.pick(&[0, 0, 0, 10, 1_000, 1_000, 50_000, 50_000, 50_000, 900_000]),
        lines: random.pick(&[0, 1, 40, 400, 3_000]),
        every: random.pick(&[1_000_000, 1_000, 100, 10]),
        pause_ms: random.pick(&[1, 10, 40]),
        gate: None,
        code: random.pick(&[0, 0, 1, 3, 255]),
    }
}

struct Storm {
    seed: u64,
    server: Server,
    admin: Person,
    places: Vec<StormNode>,
    jobs: BTreeMap<String, Tally>,
}

impl Storm {
    /// Reads all jobs. Returns `None` if the server does not respond.
    fn read_jobs(&self) -> Option<BTreeMap<String, Value>> {
        let mut found = BTreeMap::new();
        let mut cursor = String::new();
        loop {
            let call = self.admin.get(&format!("/api/jobs?limit=200{cursor}"));
            let page = call.try_send().ok().filter(|answer| answer.status == 200)?;
            let page = page.json();
            for job in page.list("jobs") {
                found.insert(job.field("id"), job);
            }
            let Some(next) = page["nextCursor"].as_str() else {
                return Some(found);
            };
            cursor = format!("&cursor={next}");
        }
    }

    fn kill_server(&mut self) {
        self.server.kill9();
        self.server.start_again();
        self.admin = self.server.admin();
        for place in &self.places {
            place.proxy.set_server(self.server.address());
        }
    }

    fn unsettled(&self, jobs: &BTreeMap<String, Value>) -> Vec<String> {
        let open = jobs.values().filter(|job| {
            matches!(job["status"].as_str(), Some("QUEUED" | "RUNNING"))
                || job["errorMsg"] == "agent disappeared"
        });
        open.map(|job| {
            format!(
                "{} on {}: {} {}",
                job["id"], job["nodeId"], job["status"], job["errorMsg"]
            )
        })
        .collect()
    }
}

#[test]
fn each_script_runs_once_and_every_byte_arrives_once() {
    let first = setting("HYPRBOX_CHAOS_SEED", 1);
    for seed in first..first + setting("HYPRBOX_CHAOS_SEEDS", 1) {
        run(seed);
    }
}

fn run(seed: u64) {
    let began = Instant::now();
    let count = setting("HYPRBOX_CHAOS_JOBS", 60);
    let server_kills = setting("HYPRBOX_CHAOS_SERVER_KILLS", 4);
    eprintln!(
        "HYPRBOX_CHAOS_SEED={seed} HYPRBOX_CHAOS_JOBS={count} HYPRBOX_CHAOS_SERVER_KILLS={server_kills}"
    );
    let setup = Setup::new().with("HYPRBOX_LEASE_SECONDS", &LEASE_SECONDS.to_string());
    write_tally(&setup.presets_dir());
    let mut server = setup.start();
    let admin = server.admin();
    let faults = Arc::new(Faults::new(seed, HURT_PERCENT));
    let scripts = tempfile::tempdir().expect("a folder");
    let mut random = Random::about(seed, &["scripts"], 0);

    let names: Vec<String> = (1..=NODES).map(|n| format!("n{n}")).collect();
    let mut places: Vec<StormNode> = names
        .iter()
        .map(|name| StormNode::new(seed, name, &server, &admin, &faults))
        .collect();
    let gate = scripts.path().join("gate");
    let away = Tally {
        file: scripts.path().join("ran-away"),
        word: "away".to_owned(),
        lines: 2_000,
        gate: Some(gate.clone()),
        code: 7,
        ..Tally::default()
    };
    let away_place = places.len();
    places.push(StormNode::new(seed, "away", &server, &admin, &faults));
    let away_id = away.queue(&admin, "away");
    let mut jobs = BTreeMap::from([(away_id.clone(), away.clone())]);
    for number in 0..count {
        let tally = random_tally(&mut random, scripts.path(), number);
        let name = &names[usize::try_from(number).expect("small") % NODES];
        jobs.insert(tally.queue(&admin, name), tally);
    }
    let mut storm = Storm {
        seed,
        server,
        admin,
        places,
        jobs,
    };
    let mut absence = Absence::NotYet;
    let mut kills = 0;
    let mut next_read = Instant::now();
    let (mut most_settled, mut patience) = (0, Patience::of(STALLED));
    loop {
        for (number, place) in storm.places.iter_mut().enumerate() {
            if number != away_place {
                place.tick();
            }
        }
        if next_read <= Instant::now() {
            if let Some(read) = storm.read_jobs() {
                assert_eq!(read.len(), storm.jobs.len());
                let open = storm.unsettled(&read);
                let settled = (storm.jobs.len() - open.len()) as u64;
                let place = &mut storm.places[away_place];
                absence = match absence {
                    Absence::NotYet if away.runs() > 0 => {
                        place.node.kill9();
                        Absence::Away
                    }
                    Absence::Away if read[&away_id]["errorMsg"] == "agent disappeared" => {
                        std::fs::write(&gate, "").expect("writes");
                        place.node.start();
                        Absence::Over
                    }
                    same @ (Absence::NotYet | Absence::Away | Absence::Over) => same,
                };
                if open.is_empty() && kills == server_kills {
                    break;
                }
                if settled > most_settled {
                    most_settled = settled;
                    patience = Patience::of(STALLED);
                }
                patience.must_last(|| format!("seed {}: still open: {open:#?}", storm.seed));
                // Spread over the first three quarters of the jobs, so that some are always open.
                if kills < server_kills && settled * 4 * server_kills >= count * 3 * kills {
                    kills += 1;
                    storm.kill_server();
                }
            }
            next_read = Instant::now() + READ_EVERY;
        }
        pass(TICK, "agents are killed and come back by the clock");
    }
    assert!(matches!(absence, Absence::Over), "no agent stayed away");
    check(&mut storm, &faults, &away_id, kills, began);
}

fn check(storm: &mut Storm, faults: &Faults, away_id: &str, server_kills: u64, began: Instant) {
    let agent_kills: u64 = storm.places.iter().map(|place| place.kills).sum();
    let (calls, hurt) = faults.counts();
    eprintln!(
        "seed {}: {} jobs in {:.0} s; {server_kills} kills of the server, {agent_kills} of an agent; {hurt} of {calls} calls with a fault: {}",
        storm.seed,
        storm.jobs.len(),
        began.elapsed().as_secs_f64(),
        faults.by_kind()
    );
    assert!(hurt * 5 >= calls, "{hurt} of {calls} calls are too few");
    assert!(agent_kills >= 5, "{agent_kills} kills are too few");
    let mut wrong = Vec::new();
    for (id, tally) in &storm.jobs {
        let found = tally.faults(&storm.admin, id);
        if !found.is_empty() {
            wrong.push(format!("{id}: {}", found.join("; ")));
        }
    }
    assert!(
        wrong.is_empty(),
        "seed {}: {}",
        storm.seed,
        wrong.join("\n")
    );
    for (id, tally) in &storm.jobs {
        let recovered = !storm.admin.job(id)["recoveredAt"].is_null();
        assert!(recovered || id != away_id, "{tally:?}");
    }
    assert_eq!(storm.server.database().integrity(), ["ok"]);
    // What the server has acknowledged is forgotten.
    for place in &mut storm.places {
        if !place.node.is_running() {
            place.node.start();
        }
        eventually("an empty journal", || {
            let left = place.node.job_folders().len() + place.node.supervisors().len();
            (left == 0).then_some(())
        });
    }
    let nodes = storm.admin.get("/api/nodes").ok();
    for node in nodes.list("nodes") {
        assert_eq!(node["runningJobId"], json!(null), "{node}");
    }
}
