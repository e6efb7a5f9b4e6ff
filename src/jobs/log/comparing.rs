//! Limits the comparisons of jobs, and other work of this kind: each takes memory and a processor
//! for a while, so that few may run, and few may wait.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::jobs::{JobError, Jobs};
use crate::store::StoreError;

/// Most comparisons that run at a time.
const RUNNING_MAX: usize = 2;
/// Most comparisons that run or wait.
const QUEUED_MAX: usize = 6;

/// The turns of all comparisons.
#[derive(Debug)]
pub(in crate::jobs) struct Turns {
    queued: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            queued: Arc::new(Semaphore::new(QUEUED_MAX)),
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
        }
    }
}

/// A turn to compare two jobs, or to run the linter; dropping it ends the turn.
#[derive(Debug)]
pub struct Turn {
    _queued: tokio::sync::OwnedSemaphorePermit,
    _running: tokio::sync::OwnedSemaphorePermit,
}

impl Turns {
    /// Waits for a turn. Fails if too many others wait.
    pub(in crate::jobs) async fn turn(&self) -> Result<Turn, JobError> {
        let queued = Arc::clone(&self.queued).try_acquire_owned();
        let queued = queued.map_err(|_| JobError::TooManyComparisons)?;
        let running = Arc::clone(&self.running).acquire_owned().await;
        Ok(Turn {
            _queued: queued,
            _running: running.map_err(|_| StoreError::Stopping)?,
        })
    }
}

impl Jobs {
    /// Waits for a turn to compare jobs. Fails with 503 if too many others wait.
    pub async fn turn_to_compare(&self) -> Result<Turn, JobError> {
        self.comparing.turn().await
    }

    /// Runs a comparison on a blocking thread, in its own turn.
    pub async fn compare<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JobError> {
        let turn = self.turn_to_compare().await?;
        let work = move || {
            let compared = work();
            drop(turn);
            compared
        };
        Ok(tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| StoreError::Stopping)?)
    }
}
