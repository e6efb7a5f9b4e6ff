//! Limits the comparisons of jobs: each takes memory and a processor for a while, so that few may
//! run, and few may wait.

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

/// A turn to compare two jobs; dropping it ends the turn.
#[derive(Debug)]
pub struct Turn {
    _queued: tokio::sync::OwnedSemaphorePermit,
    _running: tokio::sync::OwnedSemaphorePermit,
}

impl Jobs {
    /// Waits for a turn to compare jobs. Fails with 503 if too many others wait.
    pub async fn turn_to_compare(&self) -> Result<Turn, JobError> {
        let turns = &self.comparing;
        let queued = Arc::clone(&turns.queued).try_acquire_owned();
        let queued = queued.map_err(|_| JobError::TooManyComparisons)?;
        let running = Arc::clone(&turns.running).acquire_owned().await;
        Ok(Turn {
            _queued: queued,
            _running: running.map_err(|_| StoreError::Stopping)?,
        })
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
