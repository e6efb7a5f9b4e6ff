//! Who must look again: nudges from committed changes to whoever waits. A nudge carries ids, never
//! data; one that gets lost costs a slow poll, never a byte.

mod recent;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, broadcast, watch};

pub use recent::{ChangedIds, REMEMBERED_MS};

use self::recent::Recent;
use crate::clock::{self, Timestamp};
use crate::store::Change;

/// Changes that a slow listener may fall behind before it must read everything anew.
const BACKLOG: usize = 4_096;
/// How long it counts that another server told of a watcher; it tells again every few seconds.
const WATCHED_FOR: Duration = Duration::from_secs(12);

/// Where a node's pollers wait. Its generation moves with each change that may concern them.
#[derive(Debug)]
pub struct NodeSignal {
    generation: AtomicU64,
    changed: Notify,
}

impl Default for NodeSignal {
    /// Generations of two signals never meet: what was found out about a node that is gone says
    /// nothing of one that was added under its id.
    fn default() -> Self {
        static SIGNALS: AtomicU64 = AtomicU64::new(0);
        Self {
            generation: AtomicU64::new(SIGNALS.fetch_add(1, Ordering::Relaxed) << 40),
            changed: Notify::new(),
        }
    }
}

impl NodeSignal {
    /// The number of changes so far. Read it before the database: a change that comes in between is
    /// then seen next time.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Waits until the generation is not `seen`.
    pub async fn changed_since(&self, seen: u64) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that a change between the two wakes us.
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

/// The hub of all nudges in this process.
#[derive(Debug)]
pub struct Hub {
    nodes: Mutex<HashMap<String, Arc<NodeSignal>>>,
    jobs: Mutex<HashMap<String, Arc<Notify>>>,
    all: broadcast::Sender<Change>,
    recent: Mutex<Recent>,
    credentials: watch::Sender<u64>,
    /// Jobs that somebody watches on another server, and until when that counts.
    watched_elsewhere: Mutex<HashMap<String, Instant>>,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            nodes: Mutex::default(),
            jobs: Mutex::default(),
            all: broadcast::channel(BACKLOG).0,
            recent: Mutex::new(Recent::from(clock::now())),
            credentials: watch::channel(0).0,
            watched_elsewhere: Mutex::default(),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// Where pollers of that node wait.
    pub fn node(&self, id: &str) -> Arc<NodeSignal> {
        let mut nodes = locked(&self.nodes);
        if let Some(signal) = nodes.get(id) {
            return Arc::clone(signal);
        }
        let signal = Arc::new(NodeSignal::default());
        nodes.insert(id.to_owned(), Arc::clone(&signal));
        signal
    }

    /// The nudge of a job that somebody watches; one permit is kept, so none between two waits is
    /// lost.
    pub fn watch_job(&self, id: &str) -> Arc<Notify> {
        Arc::clone(locked(&self.jobs).entry(id.to_owned()).or_default())
    }

    /// Nobody watches that job any more.
    pub fn unwatch_job(&self, id: &str) {
        locked(&self.jobs).remove(id);
    }

    /// Every change from now on; a listener that lags must read everything anew.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.all.subscribe()
    }

    /// Which jobs and nodes changed at `since` or later, and in the `overlap_ms` before it; none
    /// where that is not known: then anything may have.
    pub fn changed_since(&self, since: Timestamp, overlap_ms: i64) -> Option<ChangedIds> {
        locked(&self.recent).since(since, overlap_ms)
    }

    /// Moves when somebody's credentials may have changed: whoever is let in for long must be asked
    /// again.
    pub fn credentials(&self) -> watch::Receiver<u64> {
        self.credentials.subscribe()
    }

    /// Passes on what a commit changed. Called by the store's writer: it must not block.
    pub fn publish(&self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Job { id, node_id } => {
                    if let Some(signal) = locked(&self.nodes).get(node_id) {
                        signal.bump();
                    }
                    self.nudge_job(id);
                }
                Change::Output { job_id } => {
                    self.nudge_job(job_id);
                    continue;
                }
                Change::Watched { job_id } => {
                    self.note_watched(job_id);
                    continue;
                }
                Change::Node { id } => {
                    if let Some(signal) = locked(&self.nodes).get(id) {
                        signal.bump();
                    }
                }
                Change::Foreign => {
                    self.look_everywhere();
                    self.credentials.send_modify(|changes| *changes += 1);
                }
                Change::Credentials => {
                    self.credentials.send_modify(|changes| *changes += 1);
                    continue;
                }
            }
            locked(&self.recent).note(change, clock::now());
            // An error says that nobody listens.
            let _nobody = self.all.send(change.clone());
        }
    }

    fn note_watched(&self, job_id: &str) {
        let now = Instant::now();
        let mut watched = locked(&self.watched_elsewhere);
        watched.retain(|_, until| *until > now);
        watched.insert(job_id.to_owned(), now + WATCHED_FOR);
    }

    /// Whether another server told lately that somebody watches that job.
    pub fn is_watched_elsewhere(&self, job_id: &str) -> bool {
        let watched = locked(&self.watched_elsewhere);
        watched
            .get(job_id)
            .is_some_and(|until| *until > Instant::now())
    }

    /// Wakes a node's pollers.
    pub fn wake_node(&self, id: &str) {
        if let Some(signal) = locked(&self.nodes).get(id) {
            signal.bump();
        }
    }

    /// Nudges every poller and every watcher, after a change that we can't name.
    pub fn look_everywhere(&self) {
        for signal in locked(&self.nodes).values() {
            signal.bump();
        }
        self.nudge_watchers();
    }

    /// Nudges every watcher, in case a nudge was missed.
    pub fn nudge_watchers(&self) {
        for watcher in locked(&self.jobs).values() {
            watcher.notify_one();
        }
    }

    /// A node that is gone needs no signal; those who still wait hold their own.
    pub fn forget_node(&self, id: &str) {
        if let Some(signal) = locked(&self.nodes).remove(id) {
            signal.bump();
        }
    }

    fn nudge_job(&self, id: &str) {
        if let Some(watcher) = locked(&self.jobs).get(id) {
            watcher.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_between_the_look_and_the_wait_is_not_lost() {
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
    async fn a_foreign_change_wakes_every_node_and_every_watcher() {
        let hub = Hub::default();
        let (node, job) = (hub.node("n1"), hub.watch_job("j"));
        let seen = node.generation();
        hub.publish(&[Change::Foreign]);
        node.changed_since(seen).await;
        job.notified().await;
    }
}
