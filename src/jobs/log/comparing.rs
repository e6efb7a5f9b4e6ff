//! Comparisons of jobs: each takes memory and a processor for a while, so few run and few wait at a
//! time.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::jobs::{JobError, Jobs};
use crate::store::StoreError;

/// Comparisons that run at a time.
const RUNNING_MAX: usize = 2;
/// Comparisons that run or wait.
const TAKEN_MAX: usize = 6;

/// Whose turn it is to compare.
#[derive(Debug)]
pub(in crate::jobs) struct Turns {
    taken: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            taken: Arc::new(Semaphore::new(TAKEN_MAX)),
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
        }
    }
}

/// A turn to compare two jobs, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    _taken: tokio::sync::OwnedSemaphorePermit,
    _running: tokio::sync::OwnedSemaphorePermit,
}

impl Jobs {
    /// Waits for a turn to compare jobs; a 503 if too many others wait.
    pub async fn turn_to_compare(&self) -> Result<Turn, JobError> {
        let turns = &self.comparing;
        let taken = Arc::clone(&turns.taken).try_acquire_owned();
        let taken = taken.map_err(|_| JobError::TooManyComparisons)?;
        let running = Arc::clone(&turns.running).acquire_owned().await;
        Ok(Turn {
            _taken: taken,
            _running: running.map_err(|_| StoreError::Stopping)?,
        })
    }

    /// Compares in the background, in a turn of its own.
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
