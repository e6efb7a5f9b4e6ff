//! Wakes everything that waits for a change, once the change is committed. A nudge carries ids,
//! never data: if one is lost, its receiver reads at its next slow poll and misses nothing.

mod recent;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, watch};

pub use recent::{ChangedIds, REMEMBERED_MS};

use self::recent::RecentChanges;
use crate::clock::{self, Timestamp};
use crate::store::Change;
use crate::sync::lock;

/// Changes that a slow receiver may fall behind before it must read everything again. Their places
/// take 100 bytes each from the start.
const BACKLOG: usize = 2_048;
/// How long a job counts as watched after another server has announced a viewer. Servers repeat the
/// announcement every few seconds.
const WATCHED_FOR: Duration = Duration::from_secs(12);

/// The signal that a node's open polls wait for. Each change that may concern them increases its
/// generation.
#[derive(Debug)]
pub struct NodeSignal {
    generation: AtomicU64,
    changed: Notify,
}

impl Default for NodeSignal {
    /// The generations of two signals never coincide, so that what was read about a deleted node is
    /// not taken for current if a node with the same id is added.
    fn default() -> Self {
        static SIGNALS: AtomicU64 = AtomicU64::new(0);
        Self {
            generation: AtomicU64::new(SIGNALS.fetch_add(1, Ordering::Relaxed) << 40),
            changed: Notify::new(),
        }
    }
}

impl NodeSignal {
    /// The number of changes so far. Call this before reading the database, so that a change in
    /// between is noticed at the next wait.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Waits until the generation differs from `seen`.
    pub async fn changed_since(&self, seen: u64) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the check, so that a change between the two wakes us.
            changed.as_mut().enable();
            if self.generation() != seen {
                return;
            }
            changed.await;
        }
    }

    fn bump(&self) {
        self.generation.fetch_add(1, Ordering::Release);
        self.changed.notify_waiters();
    }
}

/// Waits for a change that `concerns` the caller, for one that another program has made, or until
/// changes were missed. Returns false once there will be no more.
pub async fn next_change(
    changes: &mut broadcast::Receiver<Change>,
    concerns: impl Fn(&Change) -> bool,
) -> bool {
    loop {
        match changes.recv().await {
            Ok(change) if change == Change::Foreign || concerns(&change) => return true,
            Ok(_other) => {}
            Err(RecvError::Lagged(_)) => return true,
            Err(RecvError::Closed) => return false,
        }
    }
}

/// Distributes all nudges in this process.
#[derive(Debug)]
pub struct Hub {
    nodes: Mutex<HashMap<String, Arc<NodeSignal>>>,
    jobs: Mutex<HashMap<String, Arc<Notify>>>,
    all: broadcast::Sender<Change>,
    recent: Mutex<RecentChanges>,
    credentials: watch::Sender<u64>,
    due: Notify,
    /// Jobs with viewers on another server, each with the time until which that counts.
    watched_elsewhere: Mutex<HashMap<String, Instant>>,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            nodes: Mutex::default(),
            jobs: Mutex::default(),
            all: broadcast::channel(BACKLOG).0,
            recent: Mutex::new(RecentChanges::starting_at(clock::now())),
            credentials: watch::channel(0).0,
            due: Notify::new(),
            watched_elsewhere: Mutex::default(),
        }
    }
}

impl Hub {
    /// The signal that polls of the node wait for.
    pub fn node(&self, id: &str) -> Arc<NodeSignal> {
        let mut nodes = lock(&self.nodes);
        if let Some(signal) = nodes.get(id) {
            return Arc::clone(signal);
        }
        let signal = Arc::new(NodeSignal::default());
        nodes.insert(id.to_owned(), Arc::clone(&signal));
        signal
    }

    /// The nudge of a watched job. It keeps one permit, so that none between two waits is lost.
    pub fn watch_job(&self, id: &str) -> Arc<Notify> {
        Arc::clone(lock(&self.jobs).entry(id.to_owned()).or_default())
    }

    /// Stops nudging for a job that nobody watches any more.
    pub fn unwatch_job(&self, id: &str) {
        lock(&self.jobs).remove(id);
    }

    /// All changes from now on. A receiver that lags must read everything again.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.all.subscribe()
    }

    /// The jobs and nodes that changed since `since`, or in the `overlap_ms` before it. `None` if
    /// that is not known: then anything may have changed.
    pub fn changed_since(&self, since: Timestamp, overlap_ms: i64) -> Option<ChangedIds> {
        lock(&self.recent).since(since, overlap_ms)
    }

    /// Changes when any user's credentials may have changed: long-lived streams must check theirs
    /// again.
    pub fn credentials(&self) -> watch::Receiver<u64> {
        self.credentials.subscribe()
    }

    /// Waits until a job may wait for an earlier time than before. Only the one task that acts on
    /// due times may call this; a change while it does not wait is kept.
    pub async fn due_changed(&self) {
        self.due.notified().await;
    }

    /// Distributes a commit's changes. The store's writer calls this, so it must not block.
    pub fn publish(&self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Job { id, node_id } => {
                    if let Some(signal) = lock(&self.nodes).get(node_id) {
                        signal.bump();
                    }
                    self.nudge_job(id);
                }
                Change::Output { job_id } => {
                    self.nudge_job(job_id);
                    continue;
                }
                Change::Watched { job_id } => {
                    self.record_watched(job_id);
                    continue;
                }
                Change::Node { id } => {
                    if let Some(signal) = lock(&self.nodes).get(id) {
                        signal.bump();
                    }
                }
                Change::Run { .. } | Change::Progress { .. } => {}
                Change::Foreign => {
                    self.wake_everything();
                    self.due.notify_one();
                    self.credentials.send_modify(|changes| *changes += 1);
                }
                Change::Due => {
                    self.due.notify_one();
                    continue;
                }
                Change::Credentials => {
                    self.credentials.send_modify(|changes| *changes += 1);
                    continue;
                }
            }
            lock(&self.recent).record(change, clock::now());
            // An error means that nobody receives changes.
            let _nobody = self.all.send(change.clone());
        }
    }

    fn record_watched(&self, job_id: &str) {
        let now = Instant::now();
        let mut watched = lock(&self.watched_elsewhere);
        watched.retain(|_, until| *until > now);
        watched.insert(job_id.to_owned(), now + WATCHED_FOR);
    }

    /// Whether another server has recently announced a viewer of the job.
    pub fn is_watched_elsewhere(&self, job_id: &str) -> bool {
        let watched = lock(&self.watched_elsewhere);
        watched
            .get(job_id)
            .is_some_and(|until| *until > Instant::now())
    }

    /// Wakes a node's polls.
    pub fn wake_node(&self, id: &str) {
        if let Some(signal) = lock(&self.nodes).get(id) {
            signal.bump();
        }
    }

    /// Wakes every poll and every viewer, after a change that could be anything.
    fn wake_everything(&self) {
        for signal in lock(&self.nodes).values() {
            signal.bump();
        }
        self.nudge_watchers();
    }

    /// Nudges every watched job, in case a nudge was lost.
    pub fn nudge_watchers(&self) {
        for watcher in lock(&self.jobs).values() {
            watcher.notify_one();
        }
    }

    /// Removes a deleted node's signal. Polls that still wait hold it themselves.
    pub fn forget_node(&self, id: &str) {
        if let Some(signal) = lock(&self.nodes).remove(id) {
            signal.bump();
        }
    }

    fn nudge_job(&self, id: &str) {
        if let Some(watcher) = lock(&self.jobs).get(id) {
            watcher.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_between_the_check_and_the_wait_is_not_lost() {
        let hub = Hub::default();
        let signal = hub.node("n1");
        let seen = signal.generation();
        hub.publish(&[Change::Job {
            id: "j".into(),
            node_id: "n1".into(),
        }]);
        signal.changed_since(seen).await;
        assert_ne!(signal.generation(), seen);
    }

    #[tokio::test]
    async fn a_foreign_change_wakes_every_node_and_every_watched_job() {
        let hub = Hub::default();
        let (node, job) = (hub.node("n1"), hub.watch_job("j"));
        let seen = node.generation();
        hub.publish(&[Change::Foreign]);
        node.changed_since(seen).await;
        job.notified().await;
    }
}
