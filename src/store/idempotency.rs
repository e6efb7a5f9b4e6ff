//! Idempotency keys: which job or run a request created, kept for 24 hours.

use super::id::{JobId, UserId};
use super::tx::{Statement, Tx};
use super::{StoreError, values};
use crate::clock::Timestamp;

static INSERT: Statement = Statement::new(include_str!("sql/idempotency_insert.sql"));
static FIND: Statement = Statement::new(include_str!("sql/idempotency_find.sql"));
static PRUNE: Statement = Statement::new("DELETE FROM idempotency_keys WHERE created_at < $1");

/// A stored key.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// Keyed digest of the request's body.
    pub digest: Vec<u8>,
    /// The job that the request created; empty if it created a run.
    pub job_id: String,
    /// The run that the request created.
    pub run_id: Option<String>,
}

/// Returns the user's key if it is younger than `since`.
pub fn find(
    tx: &mut dyn Tx,
    user_id: &str,
    key: &str,
    since: Timestamp,
) -> Result<Option<StoredKey>, StoreError> {
    tx.query_one(&FIND, values![user_id, key, since])?
        .map(|mut row| {
            Ok(StoredKey {
                digest: row.take()?,
                job_id: row.take()?,
                run_id: row.take()?,
            })
        })
        .transpose()
}

/// Excludes other transactions with this key: the second of two simultaneous requests finds the job
/// that the first one created.
pub fn lock(tx: &mut dyn Tx, user_id: &str, key: &str) -> Result<(), StoreError> {
    tx.lock(&format!("idempotency {user_id} {key}"))
}

/// Stores a key and replaces an expired one.
pub fn insert(
    tx: &mut dyn Tx,
    user_id: UserId<&str>,
    key: &str,
    digest: [u8; 32],
    job_id: JobId<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let run_id = None::<String>;
    let params = values![user_id.0, key, digest, job_id.0, now, run_id];
    tx.execute(&INSERT, params).map(|_| ())
}

/// Like [`insert`] for a request that created a run.
pub fn insert_run(
    tx: &mut dyn Tx,
    user_id: UserId<&str>,
    key: &str,
    digest: [u8; 32],
    run_id: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let params = values![user_id.0, key, digest, "", now, run_id];
    tx.execute(&INSERT, params).map(|_| ())
}

/// Deletes keys older than `before`.
pub fn prune(tx: &mut dyn Tx, before: Timestamp) -> Result<(), StoreError> {
    tx.execute(&PRUNE, values![before]).map(|_| ())
}
