//! What befalls a PostgreSQL server under servers that work: it is stopped and started, fails over
//! to its standby, stands still, or has no connection left. Whatever it is, calls are answered or
//! refused with a time to come again, and in the end each job was started once and all of its
//! output is there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::postgres_client::{self, Client, NoTls};
use crate::harness::{
    Answer, Call, Cluster, FakeAgent, Person, Server, Setup, chunk, eventually, id_of, joined, pass,
};

const AGENTS: usize = 6;
/// Jobs of each agent.
const JOBS: usize = 12;
const PIECES: usize = 6;
/// No call takes as long by itself.
const HELD_UP: Duration = Duration::from_millis(500);

/// Counts what the agents met.
#[derive(Default)]
struct Met {
    refused: AtomicUsize,
    /// Calls that took longer than [`HELD_UP`]: a server waits for its database for a short while.
    held_up: AtomicUsize,
    ended: AtomicUsize,
    /// Agents by the job that they started.
    started: Mutex<BTreeMap<String, usize>>,
    over: AtomicBool,
}

impl Met {
    /// Sends a call until it is no longer a 503, each of which must say when to come again.
    fn insist(&self, call: impl Fn() -> Call) -> Answer {
        eventually("an answer other than 503", || {
            let asked = Instant::now();
            let answer = joined("an answer", call().send_later());
            if asked.elapsed() > HELD_UP {
                self.held_up.fetch_add(1, Ordering::Relaxed);
            }
            if answer.status != 503 {
                return Some(answer);
            }
            assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
            self.refused.fetch_add(1, Ordering::Relaxed);
            None
        })
    }

    /// How many calls were refused or held up.
    fn troubles(&self) -> usize {
        self.refused.load(Ordering::Relaxed) + self.held_up.load(Ordering::Relaxed)
    }

    fn wait_for_trouble(&self, before: usize) {
        eventually("a call that is refused or held up", || {
            (self.troubles() > before).then_some(())
        });
    }

    /// Waits until the work goes on.
    fn wait_for_an_end(&self) {
        let before = self.ended.load(Ordering::SeqCst);
        eventually("the end of a job", || {
            let ended = self.ended.load(Ordering::SeqCst);
            (ended > before || ended == AGENTS * JOBS).then_some(())
        });
    }

    fn work(&self, agent: &FakeAgent, number: usize) {
        for _ in 0..JOBS {
            let id = eventually("a job", || {
                let answer = self.insist(|| agent.poll("running=")).is(200).json();
                (!answer["job"].is_null()).then(|| id_of(&answer["job"]))
            });
            let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
            let before = started.insert(id.clone(), number);
            drop(started);
            assert_eq!(before, None, "{id} was started before");
            for piece in 0..PIECES {
                let text = line(&id, piece);
                let body = json!({"chunks": [chunk("stdout", (piece * text.len()) as u64, &text)]});
                self.insist(|| agent.output_call(&id, &body)).is(200);
                pass(Duration::from_millis(15), "a script takes its time");
            }
            let report = json!({"exitCode": 0});
            let done = self.insist(|| agent.complete(&id, &report)).is(200).json();
            assert_eq!(done["recoveredAt"], Value::Null, "the lease failed it");
            self.ended.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn line(id: &str, piece: usize) -> String {
    format!("{id} says {piece}\n")
}

fn servers(url: &str) -> [Server; 2] {
    let first = Setup::new();
    let key = first.folder().join("key");
    let key = key.to_str().expect("UTF-8").to_owned();
    [first, Setup::new()].map(|setup| {
        setup
            .with("HYPRBOX_DATABASE_URL", url)
            .with("HYPRBOX_SECRET_KEY_FILE", &key)
            .with("HYPRBOX_LEASE_SECONDS", "20")
            .start()
    })
}

/// Two servers and some agents work while `trouble` happens, which begins when a quarter of the
/// work is done; whether calls were held up or refused.
fn rides_out(url: &str, trouble: impl FnOnce(&Met)) -> bool {
    let mut servers = servers(url);
    let admin = servers[0].admin();
    let agents: Vec<FakeAgent> = (0..AGENTS)
        .map(|number| {
            admin
                .add_node(&format!("n{number}"))
                .at(&servers[number % 2])
        })
        .collect();
    let mut ids = Vec::new();
    for number in 0..AGENTS * JOBS {
        ids.push(admin.queue(&format!("n{}", number % AGENTS)));
    }
    let met = Met::default();
    std::thread::scope(|scope| {
        for (number, agent) in agents.iter().enumerate() {
            let met = &met;
            scope.spawn(move || {
                met.work(agent, number);
                met.over.store(true, Ordering::SeqCst);
            });
        }
        eventually("a quarter of the work", || {
            (met.ended.load(Ordering::SeqCst) >= AGENTS * JOBS / 4).then_some(())
        });
        assert!(!met.over.load(Ordering::SeqCst), "it was too quick");
        trouble(&met);
    });
    for id in &ids {
        check(&admin, &met, id);
    }
    assert_eq!(met.started.lock().expect("no panic").len(), ids.len());
    for server in &mut servers {
        eventually("a server that is ready", || {
            (server.get("/readyz").send().status == 200).then_some(())
        });
        let status = server.terminate();
        assert!(status.success(), "{status}");
    }
    eprintln!("{} calls were refused or held up", met.troubles());
    met.troubles() > 0
}

fn check(admin: &Person, met: &Met, id: &str) {
    let job = met
        .insist(|| admin.get(&format!("/api/jobs/{id}")))
        .is(200)
        .json();
    assert_eq!(job["status"], "SUCCEEDED", "{job}");
    let wanted: String = (0..PIECES).map(|piece| line(id, piece)).collect();
    assert_eq!(job["stdout"], wanted);
}

fn url(clusters: &[&Cluster]) -> String {
    let hosts: Vec<String> = clusters
        .iter()
        .map(|cluster| format!("127.0.0.1:{}", cluster.port()))
        .collect();
    format!("postgres://hyprbox:right@{}/postgres", hosts.join(","))
}

fn connect(cluster: &Cluster) -> Result<Client, postgres_client::Error> {
    Client::connect(&url(&[cluster]), NoTls)
}

#[test]
fn a_database_that_is_stopped_and_started_again() {
    let Some(cluster) = Cluster::with(&[]) else {
        return;
    };
    let met = rides_out(&url(&[&cluster]), |met| {
        for mode in ["fast", "immediate"] {
            let before = met.troubles();
            cluster.stop(mode);
            met.wait_for_trouble(before);
            cluster.start();
            met.wait_for_an_end();
        }
    });
    assert!(met, "nobody met it");
}

/// One, and its standby, which has what the first one acknowledged.
fn two_clusters() -> Option<[Cluster; 2]> {
    let first = Cluster::with(&[])?;
    let second = first.standby();
    let mut admin = connect(&first).expect("connects");
    for statement in [
        "ALTER SYSTEM SET synchronous_standby_names = '*'",
        "SELECT pg_reload_conf()",
    ] {
        admin.batch_execute(statement).expect(statement);
    }
    let streams = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    eventually("a standby that streams", || {
        let row = admin.query_one(streams, &[]).expect("a row");
        (row.get::<_, i64>(0) == 1).then_some(())
    });
    Some([first, second])
}

#[test]
fn a_database_that_fails_over_to_its_standby() {
    let Some([first, second]) = two_clusters() else {
        return;
    };
    let met = rides_out(&url(&[&first, &second]), |met| {
        let before = met.troubles();
        first.stop("immediate");
        // For a moment there is one that answers and takes no writes.
        met.wait_for_trouble(before);
        second.promote();
    });
    assert!(met, "nobody met it");
}

/// The first one's machine takes connections as before, and nobody there says a word: it stands
/// still in the middle of its disk's failure.
#[test]
fn a_database_that_stands_still_and_is_failed_over() {
    let Some([first, second]) = two_clusters() else {
        return;
    };
    let met = rides_out(&url(&[&first, &second]), |_| {
        signal(&first, Signal::SIGSTOP);
        second.promote();
    });
    // So that it can be ended.
    signal(&first, Signal::SIGCONT);
    assert!(met, "nobody met it");
}

fn signal(cluster: &Cluster, signal: Signal) {
    for pid in cluster.processes() {
        // Some have ended meanwhile.
        let _gone = kill(Pid::from_raw(pid), signal);
    }
}

#[test]
fn a_database_that_stands_still() {
    let Some(cluster) = Cluster::with(&[]) else {
        return;
    };
    let met = rides_out(&url(&[&cluster]), |_| {
        signal(&cluster, Signal::SIGSTOP);
        pass(
            Duration::from_secs(6),
            "longer than a server waits for its database",
        );
        signal(&cluster, Signal::SIGCONT);
    });
    assert!(met, "nobody met it");
}

#[test]
fn a_database_without_a_connection_left() {
    // Two servers would take 44, and begin with fewer than this.
    let Some(cluster) = Cluster::with(&["max_connections=30"]) else {
        return;
    };
    // Before the servers take what there is.
    let mut admin = connect(&cluster).expect("connects");
    let met = rides_out(&url(&[&cluster]), |_| {
        let mut taken = Vec::new();
        let began = Instant::now();
        // As long as a server waits for its database, and longer.
        eventually("six seconds without a connection", || {
            let drop = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'hyprbox'";
            admin.batch_execute(drop).expect("drops");
            while let Ok(client) = connect(&cluster) {
                taken.push(client);
            }
            (began.elapsed() >= Duration::from_secs(6)).then_some(())
        });
        drop(taken);
    });
    assert!(met, "nobody met it");
}
