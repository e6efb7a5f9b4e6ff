//! Tells other servers what committed here: one thread with a connection of its own, which sends
//! what has gathered since the last time, each change once.
//!
//! A NOTIFY in the transaction itself can't get lost, but Postgres lets such transactions commit
//! one at a time, disk flush and all: 12 callers made 300 claims a second with it, 2,300 without
//! (docs/decisions/0003-tell-after-commit.md). So the one kind that must not get lost, of
//! credentials, stays there; the others come here. A server that is killed between a commit and its
//! telling costs the others a look that they take anyway.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::line::{Line, LineError};
use super::session::CHANNEL;
use super::url::Endpoint;
use super::{OwnPids, line_of, payloads_of};
use crate::store::Change;
use crate::tasks::TASKS;

/// Changes that may wait while the connection is down; past them everybody is told to look
/// everywhere.
const WAITING_MAX: usize = 20_000;
/// From the beginning of one telling to the next: what comes in between goes together. The first
/// one after a silence goes at once.
const TOGETHER: Duration = Duration::from_millis(5);
/// Pause before connecting again.
const RETRY: Duration = Duration::from_millis(500);

/// What waits to be told.
#[derive(Default)]
struct Waiting {
    lines: Vec<String>,
    known: HashSet<String>,
    over: bool,
}

const NAME: &str = "store-tell";

/// Where commits leave what is to be told.
pub(super) struct Teller {
    waiting: Arc<(Mutex<Waiting>, Condvar)>,
}

impl Teller {
    pub(super) fn start(
        endpoint: Endpoint,
        own: Arc<OwnPids>,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let waiting = Arc::new((Mutex::default(), Condvar::new()));
        let mouth = Mouth {
            endpoint,
            own,
            waiting: Arc::clone(&waiting),
        };
        let thread = std::thread::Builder::new()
            .name(NAME.to_owned())
            .spawn(move || TASKS.keep_thread(NAME, || mouth.tell_for_ever()))?;
        Ok((Self { waiting }, thread))
    }

    pub(super) fn tell(&self, changes: &[Change]) {
        let lines = changes
            .iter()
            .filter(|change| **change != Change::Credentials)
            .map(line_of);
        let mut waiting = locked(&self.waiting.0);
        for line in lines {
            if waiting.lines.len() >= WAITING_MAX {
                waiting.lines = vec!["*".to_owned()];
                waiting.known.clear();
            }
            if waiting.known.insert(line.clone()) {
                waiting.lines.push(line);
            }
        }
        drop(waiting);
        self.waiting.1.notify_one();
    }

    /// Tells what waits, once, and ends.
    pub(super) fn stop(&self) {
        locked(&self.waiting.0).over = true;
        self.waiting.1.notify_one();
    }
}

fn locked(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Mouth {
    endpoint: Endpoint,
    own: Arc<OwnPids>,
    waiting: Arc<(Mutex<Waiting>, Condvar)>,
}

impl Mouth {
    fn tell_for_ever(&self) {
        let mut line = None;
        while let (Some(lines), over) = self.next() {
            let began = Instant::now();
            let told = self
                .connected(&mut line)
                .and_then(|line| line.run(&notifications(&lines)));
            if let Err(error) = told {
                self.leave(&mut line);
                tracing::warn!(%error, "can't tell other servers; trying again");
                if over {
                    return;
                }
                self.put_back(lines);
                std::thread::sleep(RETRY);
            } else {
                std::thread::sleep(TOGETHER.saturating_sub(began.elapsed()));
            }
        }
    }

    /// What has gathered; waits until there is something. `None` at the end.
    fn next(&self) -> (Option<Vec<String>>, bool) {
        let mut waiting = locked(&self.waiting.0);
        while waiting.lines.is_empty() && !waiting.over {
            waiting = self
                .waiting
                .1
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
        waiting.known.clear();
        let lines = std::mem::take(&mut waiting.lines);
        ((!lines.is_empty()).then_some(lines), waiting.over)
    }

    fn put_back(&self, mut lines: Vec<String>) {
        let mut waiting = locked(&self.waiting.0);
        lines.retain(|line| waiting.known.insert(line.clone()));
        lines.append(&mut waiting.lines);
        waiting.lines = lines;
    }

    fn connected<'l>(&self, line: &'l mut Option<(Line, i32)>) -> Result<&'l mut Line, LineError> {
        if line.as_ref().is_none_or(|(line, _)| line.is_closed()) {
            self.leave(line);
            let mut fresh = Line::open(&self.endpoint)?;
            // A notification is in no log: its commit need not wait for the disk.
            fresh.run("SET statement_timeout = '10s'; SET synchronous_commit = off")?;
            let pid = fresh.pid()?;
            self.own.locked().insert(pid);
            *line = Some((fresh, pid));
        }
        let (line, _) = line.as_mut().expect("it was just made");
        Ok(line)
    }

    fn leave(&self, line: &mut Option<(Line, i32)>) {
        if let Some((_, pid)) = line.take() {
            self.own.locked().remove(&pid);
        }
    }
}

fn notifications(lines: &[String]) -> String {
    let notify: Vec<String> = payloads_of(lines)
        .iter()
        .map(|payload| format!("SELECT pg_notify('{CHANNEL}', '{payload}')"))
        .collect();
    notify.join("; ")
}
