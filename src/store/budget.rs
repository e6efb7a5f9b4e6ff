//! How much the writes that wait may hold in memory, together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::StoreError;

/// Bytes of the large writes that wait: eight of the largest bodies that are let in.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// What is taken of the allowance; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

/// A part of the allowance, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Part {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    /// Takes `bytes`; [`StoreError::Busy`] where that is too much beside what others have. Alone,
    /// any write gets through.
    pub(super) fn take(&self, bytes: usize) -> Result<Part, StoreError> {
        let fits = |taken: usize| {
            let sum = taken.checked_add(bytes)?;
            (taken == 0 || sum <= BYTES_MAX).then_some(sum)
        };
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map_err(|_| StoreError::Busy)?;
        Ok(Part {
            budget: self.clone(),
            bytes,
        })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let budget = Budget::default();
        let half = BYTES_MAX / 2;
        let first = budget.take(half).expect("there is room");
        let second = budget.take(half).expect("there is room");
        assert!(matches!(budget.take(1), Err(StoreError::Busy)));
        drop(first);
        assert!(budget.take(half).is_ok());
        drop(second);
    }

    #[test]
    fn one_alone_may_be_larger_than_all() {
        let budget = Budget::default();
        let huge = budget.take(2 * BYTES_MAX).expect("it is alone");
        assert!(budget.take(1).is_err());
        drop(huge);
        assert!(budget.take(1).is_ok());
        assert!(budget.take(usize::MAX).is_ok());
    }

    #[tokio::test]
    async fn a_large_write_beside_another_that_waits_is_busy_until_that_is_done() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hyprbox.db");
        let listener = Arc::new(|_: &[super::super::Change]| {});
        let store = super::super::Store::open_sqlite(&path, listener).expect("opens");
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let large = |work: Box<dyn FnOnce() + Send>| {
            let store = store.clone();
            async move {
                let work = move |_: &mut dyn super::super::Tx| {
                    work();
                    Ok::<_, StoreError>(())
                };
                store.write_large(BYTES_MAX - 1, work).await
            }
        };
        let first = tokio::spawn(large(Box::new(move || {
            // An error says that the test is over.
            let _over = wait.recv();
        })));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while store.budget.take(2).is_ok() {
            assert!(
                std::time::Instant::now() < deadline,
                "the first took nothing"
            );
            tokio::task::yield_now().await;
        }
        assert!(matches!(
            large(Box::new(|| {})).await,
            Err(StoreError::Busy)
        ));
        // What is small has its place in the queue as ever.
        go_on.send(()).expect("the first still waits");
        store
            .write(|_| Ok::<_, StoreError>(()))
            .await
            .expect("writes");
        first.await.expect("no panic").expect("writes");
        large(Box::new(|| {})).await.expect("writes");
        store.close().await;
    }
}
