//! What an agent's jobs share.

use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::backoff::{Backoff, LONGEST};
use crate::client::{CallError, Client};
use crate::state::State;
use crate::state::completions::Ended;
use crate::state::dir_pool::Folders;

/// Until the server has said how long it is.
const LEASE_SECONDS: u64 = 90;

/// What all of the agent's jobs share.
pub(crate) struct Context {
    pub(crate) client: Arc<Client>,
    pub(crate) instance: String,
    /// The ends that the server has heard.
    pub(crate) ends: Ended,
    /// Where jobs leave their folders, and get them from.
    pub(crate) folders: Folders,
    lease_seconds: AtomicU64,
    /// Supervisors that have ended, or are about to.
    ended: Mutex<Vec<Child>>,
}

impl Context {
    pub(crate) fn new(client: Arc<Client>, state: &State) -> Self {
        Self {
            client,
            instance: state.instance().to_owned(),
            ends: state.ends(),
            folders: state.folders(),
            lease_seconds: AtomicU64::new(LEASE_SECONDS),
            ended: Mutex::new(Vec::new()),
        }
    }

    /// How long a job may go without a sign of its agent's life.
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_seconds.load(Ordering::Relaxed))
    }

    /// The server has said how long that is.
    pub(crate) fn set_lease(&self, seconds: u64) {
        self.lease_seconds.store(seconds, Ordering::Relaxed);
    }

    /// Waits as long as an error of a running job's call calls for: never so long that the lease is
    /// at risk when the server is back.
    pub(crate) async fn wait_out(&self, error: &CallError, backoff: &mut Backoff) {
        let cap = self.life_every();
        let wait = backoff.next(cap);
        let asked = error.retry_after().unwrap_or_default().min(cap);
        self.client.pause(wait.max(asked)).await;
    }

    /// How often a running job's agent must show life.
    pub(crate) fn life_every(&self) -> Duration {
        (self.lease().max(Duration::from_secs(1)) / 3).min(LONGEST)
    }

    /// Takes a supervisor whose job is done with, so that it leaves no zombie.
    pub(crate) fn bury(&self, child: Child) {
        self.ended().push(child);
        self.reap();
    }

    /// Takes the exit status of each of them that has ended.
    pub(crate) fn reap(&self) {
        self.ended()
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    fn ended(&self) -> MutexGuard<'_, Vec<Child>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
