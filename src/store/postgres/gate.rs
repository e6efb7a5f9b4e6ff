//! Limits how many transactions run and how many wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::store::StoreError;

/// Callers that may wait; one more is [`StoreError::Busy`]. When a server comes back, ten thousand
/// agents connect at the same time, and each one's token must be looked up.
const QUEUE: usize = 16_384;
/// How long a caller waits before it gets [`StoreError::Busy`].
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long running transactions may take to end when the server shuts down.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Admits a limited number of transactions. A limited number of others wait for a limited time.
pub(super) struct Gate {
    permits: Arc<Semaphore>,
    size: u32,
    waiting: AtomicUsize,
    closed: AtomicBool,
}

impl Gate {
    pub(super) fn new(size: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(size)),
            size: size as u32,
            waiting: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    pub(super) async fn enter(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Stopping);
        }
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let waiting = Waiting::count_in(&self.waiting);
        if waiting.before >= QUEUE {
            return Err(StoreError::Busy);
        }
        match tokio::time::timeout(WAIT_TIMEOUT, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_closed)) => Err(StoreError::Stopping),
            Err(_too_long) => Err(StoreError::Busy),
        }
    }

    /// Admits nobody else, and waits until all transactions have ended.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let all = self.permits.acquire_many(self.size);
        if tokio::time::timeout(CLOSE_TIMEOUT, all).await.is_err() {
            tracing::warn!("closing the database while transactions are still running");
        }
        self.permits.close();
    }
}

/// Counts a waiting caller until it is dropped.
struct Waiting<'g> {
    count: &'g AtomicUsize,
    before: usize,
}

impl<'g> Waiting<'g> {
    fn count_in(count: &'g AtomicUsize) -> Self {
        let before = count.fetch_add(1, Ordering::Relaxed);
        Self { count, before }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_gate_limits_how_many_wait() {
        let gate = Gate::new(1);
        let permit = gate.enter().await.expect("free");
        gate.waiting.store(QUEUE, Ordering::Relaxed);
        assert!(matches!(gate.enter().await, Err(StoreError::Busy)));
        gate.waiting.store(0, Ordering::Relaxed);
        drop(permit);
        assert!(gate.enter().await.is_ok());
        gate.close().await;
        assert!(matches!(gate.enter().await, Err(StoreError::Stopping)));
    }
}
