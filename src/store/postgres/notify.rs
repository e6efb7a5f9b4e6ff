//! Notifies other servers of this server's changes. One thread with its own connection sends the
//! changes since the last time, each change once.
//!
//! A NOTIFY inside the transaction can't get lost, but PostgreSQL commits such transactions one at
//! a time, including the disk flush: 12 callers made 300 claims a second with it and 2,300 without
//! (docs/decisions/0003-tell-after-commit.md). So only changes of credentials, which must not get
//! lost, are sent that way. If a server is killed between a commit and its notification, the others
//! find the change with their periodic queries.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::connection::{ConnectionError, PgConnection};
use super::endpoint::Endpoint;
use super::payload::{CHANNEL, OwnPids, line_of, payloads_of};
use crate::store::Change;
use crate::tasks::TASKS;

/// Changes that may wait while the connection is down. Beyond this number a single "anything has
/// changed" replaces them.
const WAITING_MAX: usize = 20_000;
/// Time between two notifications: changes in between are sent together. After a pause the first
/// change is sent at once.
const INTERVAL: Duration = Duration::from_millis(5);
/// Pause before connecting again.
const RETRY: Duration = Duration::from_millis(500);

/// Changes that wait to be sent.
#[derive(Default)]
struct Pending {
    lines: Vec<String>,
    known: HashSet<String>,
    stopping: bool,
}

const NAME: &str = "store-notify";

/// Accepts changes for the notifier's thread.
pub(super) struct Notifier {
    pending: Arc<(Mutex<Pending>, Condvar)>,
}

impl Notifier {
    pub(super) fn start(
        endpoint: Endpoint,
        own: Arc<OwnPids>,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let pending = Arc::new((Mutex::default(), Condvar::new()));
        let thread = NotifierThread {
            endpoint,
            own,
            pending: Arc::clone(&pending),
        };
        let handle = std::thread::Builder::new()
            .name(NAME.to_owned())
            .spawn(move || TASKS.keep_thread(NAME, || thread.run()))?;
        Ok((Self { pending }, handle))
    }

    pub(super) fn notify(&self, changes: &[Change]) {
        let lines = changes
            .iter()
            .filter(|change| **change != Change::Credentials)
            .map(line_of);
        let mut pending = locked(&self.pending.0);
        for line in lines {
            if pending.lines.len() >= WAITING_MAX {
                pending.lines = vec!["*".to_owned()];
                pending.known.clear();
            }
            if pending.known.insert(line.clone()) {
                pending.lines.push(line);
            }
        }
        drop(pending);
        self.pending.1.notify_one();
    }

    /// Sends the pending changes once and ends the thread.
    pub(super) fn stop(&self) {
        locked(&self.pending.0).stopping = true;
        self.pending.1.notify_one();
    }
}

fn locked(pending: &Mutex<Pending>) -> MutexGuard<'_, Pending> {
    crate::sync::lock(pending)
}

struct NotifierThread {
    endpoint: Endpoint,
    own: Arc<OwnPids>,
    pending: Arc<(Mutex<Pending>, Condvar)>,
}

impl NotifierThread {
    fn run(&self) {
        let mut connection = None;
        while let (Some(lines), stopping) = self.next() {
            let began = Instant::now();
            let sent = self
                .connected(&mut connection)
                .and_then(|connection| connection.run(&notify_statements(&lines)));
            if let Err(error) = sent {
                self.drop_connection(&mut connection);
                tracing::warn!(%error, "can't notify other servers; trying again");
                if stopping {
                    return;
                }
                self.put_back(lines);
                std::thread::sleep(RETRY);
            } else {
                std::thread::sleep(INTERVAL.saturating_sub(began.elapsed()));
            }
        }
    }

    /// Waits for changes and returns them; `None` if there are none at shutdown. The flag is true
    /// if the thread must stop.
    fn next(&self) -> (Option<Vec<String>>, bool) {
        let mut pending = locked(&self.pending.0);
        while pending.lines.is_empty() && !pending.stopping {
            pending = self
                .pending
                .1
                .wait(pending)
                .unwrap_or_else(PoisonError::into_inner);
        }
        pending.known.clear();
        let lines = std::mem::take(&mut pending.lines);
        ((!lines.is_empty()).then_some(lines), pending.stopping)
    }

    fn put_back(&self, mut lines: Vec<String>) {
        let mut pending = locked(&self.pending.0);
        lines.retain(|line| pending.known.insert(line.clone()));
        lines.append(&mut pending.lines);
        pending.lines = lines;
    }

    fn connected<'c>(
        &self,
        connection: &'c mut Option<(PgConnection, i32)>,
    ) -> Result<&'c mut PgConnection, ConnectionError> {
        if connection.as_ref().is_none_or(|(open, _)| open.is_closed()) {
            self.drop_connection(connection);
            let mut fresh = PgConnection::open(&self.endpoint)?;
            // Notifications are not stored, so their commit need not wait for the disk.
            fresh.run("SET statement_timeout = '10s'; SET synchronous_commit = off")?;
            let pid = fresh.pid()?;
            self.own.locked().insert(pid);
            *connection = Some((fresh, pid));
        }
        let (connection, _) = connection.as_mut().expect("it was just opened");
        Ok(connection)
    }

    fn drop_connection(&self, connection: &mut Option<(PgConnection, i32)>) {
        if let Some((_, pid)) = connection.take() {
            self.own.locked().remove(&pid);
        }
    }
}

fn notify_statements(lines: &[String]) -> String {
    let notify: Vec<String> = payloads_of(lines)
        .iter()
        .map(|payload| format!("SELECT pg_notify('{CHANNEL}', '{payload}')"))
        .collect();
    notify.join("; ")
}
