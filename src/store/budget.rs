//! Limits the memory that waiting writes hold together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::StoreError;

/// Bytes that large waiting writes may hold: eight bodies of the largest accepted size.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Counts the reserved bytes. Clones share the count.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

/// Reserved bytes, released on drop.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    /// Reserves `bytes`, or returns [`StoreError::Busy`] if others have reserved too much. If
    /// nobody else has a reservation, a write of any size is accepted.
    pub(super) fn reserve(&self, bytes: usize) -> Result<Reservation, StoreError> {
        let fits = |taken: usize| {
            let sum = taken.checked_add(bytes)?;
            (taken == 0 || sum <= BYTES_MAX).then_some(sum)
        };
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map_err(|_| StoreError::Busy)?;
        Ok(Reservation {
            budget: self.clone(),
            bytes,
        })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_bytes_can_be_reserved_again() {
        let budget = Budget::default();
        let half = BYTES_MAX / 2;
        let first = budget.reserve(half).expect("there is room");
        let second = budget.reserve(half).expect("there is room");
        assert!(matches!(budget.reserve(1), Err(StoreError::Busy)));
        drop(first);
        assert!(budget.reserve(half).is_ok());
        drop(second);
    }

    #[test]
    fn a_single_write_may_exceed_the_limit() {
        let budget = Budget::default();
        let huge = budget
            .reserve(2 * BYTES_MAX)
            .expect("nobody else has a reservation");
        assert!(budget.reserve(1).is_err());
        drop(huge);
        assert!(budget.reserve(1).is_ok());
        assert!(budget.reserve(usize::MAX).is_ok());
    }

    #[tokio::test]
    async fn a_large_write_is_busy_until_an_earlier_one_is_done() {
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
            // An error means that the test is over.
            let _over = wait.recv();
        })));
        // Ends, because the first write reserves before it waits.
        while store.budget.reserve(2).is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(matches!(
            large(Box::new(|| {})).await,
            Err(StoreError::Busy)
        ));
        // A small write is still accepted.
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
