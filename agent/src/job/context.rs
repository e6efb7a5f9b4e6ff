//! What all of an agent's jobs share.

use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::backoff::{Backoff, LONGEST};
use crate::client::{CallError, Client};
use crate::health;
use crate::state::State;
use crate::state::completions::Completions;
use crate::state::dir_pool::DirPool;
use crate::state::run_memory::RunMemory;

/// The lease until the server has sent its own.
const LEASE_SECONDS: u64 = 90;

/// The client, the state and the lease that the agent's jobs share.
pub(crate) struct Context {
    pub(crate) client: Arc<Client>,
    pub(crate) instance: String,
    /// The completions that the server has acknowledged.
    pub(crate) completions: Completions,
    /// The jobs that this node has run.
    pub(crate) run_memory: Arc<RunMemory>,
    pub(crate) dir_pool: DirPool,
    state_dir: PathBuf,
    lease_seconds: AtomicU64,
    /// Supervisors that have ended, or will soon.
    ending: Mutex<Vec<Child>>,
}

impl Context {
    pub(crate) fn new(client: Arc<Client>, state: &State) -> Self {
        Self {
            client,
            instance: state.instance().to_owned(),
            completions: state.completions(),
            run_memory: state.run_memory(),
            dir_pool: state.dir_pool(),
            state_dir: state.dir().to_owned(),
            lease_seconds: AtomicU64::new(LEASE_SECONDS),
            ending: Mutex::new(Vec::new()),
        }
    }

    /// Whether the node could run another job now.
    pub(crate) fn can_take_job(&self) -> bool {
        health::problem(&self.state_dir).is_none()
    }

    /// How long a job lives without a sign of life from its agent.
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_seconds.load(Ordering::Relaxed))
    }

    /// Stores the lease that the server has sent.
    pub(crate) fn set_lease(&self, seconds: u64) {
        self.lease_seconds.store(seconds, Ordering::Relaxed);
    }

    /// Waits after a failed call of a running job. The wait is short enough to keep the lease if
    /// the server is back by then.
    pub(crate) async fn wait_out(&self, error: &CallError, backoff: &mut Backoff) {
        let cap = self.sign_of_life_every();
        let wait = backoff.next(cap);
        let requested = error.retry_after().unwrap_or_default().min(cap);
        self.client.pause(wait.max(requested)).await;
    }

    /// How often the agent must send a sign of life while it runs a job.
    pub(crate) fn sign_of_life_every(&self) -> Duration {
        (self.lease().max(Duration::from_secs(1)) / 3).min(LONGEST)
    }

    /// Takes a supervisor whose job is done, so that it leaves no zombie process.
    pub(crate) fn reap_later(&self, child: Child) {
        self.ending().push(child);
        self.reap();
    }

    /// Collects the exit status of each supervisor that has ended.
    pub(crate) fn reap(&self) {
        self.ending()
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    fn ending(&self) -> MutexGuard<'_, Vec<Child>> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
