//! One-time codes with which a machine becomes a node's agent. The database keeps only their
//! SHA-256.

use super::{Statement, StoreError, Tx, values};
use crate::clock::Timestamp;

/// Gives a node a code, in place of the one that it may have.
pub fn insert(
    tx: &mut dyn Tx,
    node_id: &str,
    code_sha256: [u8; 32],
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    static INSERT: Statement = Statement::new(include_str!("sql/enrolment_insert.sql"));
    tx.execute(&INSERT, values![node_id, code_sha256, now, expires_at])
        .map(|_| ())
}

/// Uses a code up, and gives its node and until when it held.
pub fn take(
    tx: &mut dyn Tx,
    code_sha256: [u8; 32],
) -> Result<Option<(String, Timestamp)>, StoreError> {
    static TAKE: Statement = Statement::new(include_str!("sql/enrolment_take.sql"));
    match tx.query_one(&TAKE, values![code_sha256])? {
        Some(mut row) => Ok(Some((row.take()?, row.take()?))),
        None => Ok(None),
    }
}
