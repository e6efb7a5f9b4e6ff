//! Sessions of the dashboard and the command line. Only the SHA-256 of a token is stored or
//! searched.

use super::user::{UserRecord, record};
use super::{Statement, StoreError, Tx, values};
use crate::clock::Timestamp;

/// Starts a session for a user whose password hash is still `proved` (a PHC string). Returns false
/// if the hash has changed or the user was removed.
pub fn insert(
    tx: &mut dyn Tx,
    token_sha256: [u8; 32],
    user_id: &str,
    now: Timestamp,
    proved: &str,
) -> Result<bool, StoreError> {
    static INSERT: Statement = Statement::new(include_str!("sql/session_insert.sql"));
    Ok(tx.execute(&INSERT, values![token_sha256, user_id, now, proved])? == 1)
}

/// A session and its user.
#[derive(Debug, Clone)]
pub struct SessionRecord {
    pub user: UserRecord,
    /// The last recorded use, which may be some minutes old. The caller decides whether the session
    /// has expired.
    pub last_used_at: Timestamp,
    /// When the user signed in.
    pub created_at: Timestamp,
}

/// Returns the session with this hash and its user.
pub fn find(tx: &mut dyn Tx, token_sha256: [u8; 32]) -> Result<Option<SessionRecord>, StoreError> {
    static FIND: Statement = Statement::new(include_str!("sql/session_find.sql"));
    let row = tx.peek(&FIND, values![token_sha256])?.into_iter().next();
    row.map(|mut row| {
        Ok(SessionRecord {
            user: record(&mut row)?,
            last_used_at: row.take()?,
            created_at: row.take()?,
        })
    })
    .transpose()
}

/// Records the last use.
pub fn touch(tx: &mut dyn Tx, token_sha256: [u8; 32], at: Timestamp) -> Result<(), StoreError> {
    static TOUCH: Statement = Statement::new(include_str!("sql/session_touch.sql"));
    tx.execute(&TOUCH, values![token_sha256, at]).map(|_| ())
}

/// Ends one session.
pub fn delete(tx: &mut dyn Tx, token_sha256: [u8; 32]) -> Result<(), StoreError> {
    static DELETE: Statement = Statement::new(include_str!("sql/session_delete.sql"));
    tx.execute(&DELETE, values![token_sha256]).map(|_| ())
}

/// Ends all sessions of a user.
pub fn delete_of_user(tx: &mut dyn Tx, user_id: &str) -> Result<(), StoreError> {
    static DELETE: Statement = Statement::new(include_str!("sql/session_delete_of_user.sql"));
    tx.execute(&DELETE, values![user_id]).map(|_| ())
}

/// Ends all sessions of a user except `kept`.
pub fn delete_others(tx: &mut dyn Tx, user_id: &str, kept: [u8; 32]) -> Result<(), StoreError> {
    static DELETE: Statement = Statement::new(include_str!("sql/session_delete_others.sql"));
    tx.execute(&DELETE, values![user_id, kept]).map(|_| ())
}

/// Deletes sessions last used before `since`.
pub fn prune(tx: &mut dyn Tx, since: Timestamp) -> Result<u64, StoreError> {
    static PRUNE: Statement = Statement::new(include_str!("sql/session_prune.sql"));
    tx.execute(&PRUNE, values![since])
}
