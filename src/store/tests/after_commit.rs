//! What a transaction does outside of the database follows its commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::history::{TestDatabase, runtime};
use crate::store::StoreError;

#[test]
fn what_follows_a_commit_happens_once_and_not_after_a_failure() {
    let database = TestDatabase::new("after_commit");
    let count = Arc::new(AtomicU32::new(0));
    let write = |fails: bool| {
        let (inside, outside) = (Arc::clone(&count), Arc::clone(&count));
        let work = database.store.write(move |tx| {
            tx.after_commit(Box::new(move || {
                outside.fetch_add(1, Ordering::SeqCst);
            }));
            let so_far = inside.load(Ordering::SeqCst);
            if fails {
                Err(StoreError::Full)
            } else {
                Ok(so_far)
            }
        });
        runtime().block_on(work)
    };
    let before = write(false);
    assert_eq!(before.ok(), Some(0), "nothing happens before the commit");
    assert!(matches!(write(true), Err(StoreError::Full)));
    assert_eq!(count.load(Ordering::SeqCst), 1);
}
