//! Idempotency keys: which job a user's request made, for 24 hours.

use super::tx::{Statement, Tx};
use super::{StoreError, values};
use crate::clock::Timestamp;

static INSERT: Statement = Statement::new(include_str!("sql/idempotency_insert.sql"));
static FIND: Statement = Statement::new(include_str!("sql/idempotency_find.sql"));
static PRUNE: Statement = Statement::new("DELETE FROM idempotency_keys WHERE created_at < $1");

/// What a key stands for.
#[derive(Debug, Clone)]
pub struct Remembered {
    /// Keyed digest of the request's body.
    pub digest: Vec<u8>,
    /// The job that it made.
    pub job_id: String,
}

/// What the user's key stands for, if it is younger than `since`.
pub fn find(
    tx: &mut dyn Tx,
    user_id: &str,
    key: &str,
    since: Timestamp,
) -> Result<Option<Remembered>, StoreError> {
    tx.query_one(&FIND, values![user_id, key, since])?
        .map(|mut row| {
            Ok(Remembered {
                digest: row.take()?,
                job_id: row.take()?,
            })
        })
        .transpose()
}

/// Makes this transaction the only one with that key: of two requests at once the second finds what
/// the first one made.
pub fn lock(tx: &mut dyn Tx, user_id: &str, key: &str) -> Result<(), StoreError> {
    tx.lock(&format!("idempotency {user_id} {key}"))
}

/// Remembers a key; one that was there, too old to count, is replaced.
pub fn insert(
    tx: &mut dyn Tx,
    user_id: &str,
    key: &str,
    digest: [u8; 32],
    job_id: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(&INSERT, values![user_id, key, digest, job_id, now])
        .map(|_| ())
}

/// Forgets keys older than `before`.
pub fn prune(tx: &mut dyn Tx, before: Timestamp) -> Result<(), StoreError> {
    tx.execute(&PRUNE, values![before]).map(|_| ())
}
