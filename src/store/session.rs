//! Sessions, and what the hash of a node's token leads to. Only SHA-256 of a token is ever stored
//! or looked for.

use super::user::{UserRecord, record};
use super::{Statement, StoreError, Tx, values};
use crate::clock::Timestamp;

/// Starts a session of a user whose password is still `proved` (a PHC string); false when it isn't,
/// or the user is gone.
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

/// What a session's token leads to.
#[derive(Debug, Clone)]
pub struct Found {
    /// The session's user.
    pub user: UserRecord,
    /// As far as it was written down. Whether the session is over is the caller's to decide.
    pub last_used_at: Timestamp,
    /// When the user signed in.
    pub created_at: Timestamp,
}

/// The session with this hash, and its user.
pub fn find(tx: &mut dyn Tx, token_sha256: [u8; 32]) -> Result<Option<Found>, StoreError> {
    static FIND: Statement = Statement::new(include_str!("sql/session_find.sql"));
    let row = tx.peek(&FIND, values![token_sha256])?.into_iter().next();
    row.map(|mut row| {
        Ok(Found {
            user: record(&mut row)?,
            last_used_at: row.take()?,
            created_at: row.take()?,
        })
    })
    .transpose()
}

/// Notes the last use.
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

/// Ends all sessions of a user but one.
pub fn delete_others(tx: &mut dyn Tx, user_id: &str, kept: [u8; 32]) -> Result<(), StoreError> {
    static DELETE: Statement = Statement::new(include_str!("sql/session_delete_others.sql"));
    tx.execute(&DELETE, values![user_id, kept]).map(|_| ())
}

/// Forgets sessions whose last use lies before `since`.
pub fn prune(tx: &mut dyn Tx, since: Timestamp) -> Result<u64, StoreError> {
    static PRUNE: Statement = Statement::new(include_str!("sql/session_prune.sql"));
    tx.execute(&PRUNE, values![since])
}

/// What a node's token leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeTokenRecord {
    /// The token's id.
    pub id: String,
    /// The node's slug.
    pub node_id: String,
    /// As far as it was written down.
    pub last_used_at: Option<Timestamp>,
}

/// The node token with this hash, unless it is revoked.
pub fn find_node_token(
    tx: &mut dyn Tx,
    token_sha256: [u8; 32],
) -> Result<Option<NodeTokenRecord>, StoreError> {
    static FIND: Statement = Statement::new(include_str!("sql/node_token_find.sql"));
    let row = tx.peek(&FIND, values![token_sha256])?.into_iter().next();
    row.map(|mut row| {
        Ok(NodeTokenRecord {
            id: row.take()?,
            node_id: row.take()?,
            last_used_at: row.take()?,
        })
    })
    .transpose()
}

/// Notes the last use of a node token.
pub fn touch_node_token(tx: &mut dyn Tx, id: &str, at: Timestamp) -> Result<(), StoreError> {
    static TOUCH: Statement = Statement::new(include_str!("sql/node_token_touch.sql"));
    tx.execute(&TOUCH, values![id, at]).map(|_| ())
}
