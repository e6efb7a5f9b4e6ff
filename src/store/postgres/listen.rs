//! Hears what other servers, and people with psql, change: one thread with a connection of its own.
//!
//! What comes together is told together, each change once. While the connection is down nothing is
//! heard, so after each new one everybody is told to look again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio_postgres::Notification;

use super::line::{Line, LineError};
use super::session::CHANNEL;
use super::url::Endpoint;
use super::{OwnPids, change_of};
use crate::store::{Change, Listener};
use crate::tasks::TASKS;

/// How often the thread looks whether it is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often a quiet connection is asked whether it still is one.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// Pauses between attempts to connect.
const RETRY: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

const NAME: &str = "store-listen";

pub(super) fn start(
    endpoint: Endpoint,
    own: Arc<OwnPids>,
    listener: Listener,
    stop: Arc<AtomicBool>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(NAME.to_owned())
        .spawn(move || {
            let ears = Ears {
                own,
                listener,
                stop,
            };
            TASKS.keep_thread(NAME, || ears.listen_for_ever(&endpoint));
        })
}

struct Ears {
    own: Arc<OwnPids>,
    listener: Listener,
    stop: Arc<AtomicBool>,
}

impl Ears {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn listen_for_ever(&self, endpoint: &Endpoint) {
        let mut pause = RETRY[0];
        while !self.is_over() {
            let heard = connect(endpoint).and_then(|line| {
                pause = RETRY[0];
                self.hear(line)
            });
            let Err(error) = heard else {
                return;
            };
            if self.is_over() {
                return;
            }
            tracing::warn!(%error, "can't hear other servers; connecting again");
            std::thread::sleep(pause);
            pause = (pause * 2).min(RETRY[1]);
        }
    }

    /// Until the connection is lost, or the server goes down.
    fn hear(&self, mut line: Line) -> Result<(), LineError> {
        (self.listener)(&[Change::Foreign]);
        let mut asked = Instant::now();
        while !self.is_over() {
            let changes = self.changes_of(&line.listen(LOOK_EVERY)?);
            if !changes.is_empty() {
                (self.listener)(&changes);
            }
            if asked.elapsed() >= ASK_EVERY {
                line.run("SELECT 1")?;
                asked = Instant::now();
            }
        }
        Ok(())
    }

    /// What others changed, each change once.
    fn changes_of(&self, heard: &[Notification]) -> Vec<Change> {
        let mut told = HashSet::new();
        let mut changes = Vec::new();
        for notification in heard {
            self.take(notification, &mut told, &mut changes);
        }
        changes
    }

    fn take(&self, heard: &Notification, told: &mut HashSet<String>, changes: &mut Vec<Change>) {
        if self.own.locked().contains(&heard.process_id()) {
            return;
        }
        for line in heard.payload().lines() {
            if told.insert(line.to_owned()) {
                changes.push(change_of(line));
            }
        }
    }
}

fn connect(endpoint: &Endpoint) -> Result<Line, LineError> {
    let mut line = Line::open(endpoint)?;
    line.run(&format!("SET statement_timeout = '10s'; LISTEN {CHANNEL}"))?;
    Ok(line)
}
