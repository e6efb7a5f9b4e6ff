//! One-time codes that enrol a machine as a node's agent. Only the SHA-256 of a code is stored.

use super::{Statement, StoreError, Tx, values};
use crate::clock::Timestamp;

/// Sets a node's code and replaces an earlier one.
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

/// Deletes a code and returns its node and expiry, even if the code has expired.
pub fn redeem(
    tx: &mut dyn Tx,
    code_sha256: [u8; 32],
) -> Result<Option<(String, Timestamp)>, StoreError> {
    static TAKE: Statement = Statement::new(include_str!("sql/enrolment_take.sql"));
    match tx.query_one(&TAKE, values![code_sha256])? {
        Some(mut row) => Ok(Some((row.take()?, row.take()?))),
        None => Ok(None),
    }
}
