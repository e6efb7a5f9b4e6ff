//! Agents' tokens, each bound to one node. Only the SHA-256 of a token is stored or searched.

use super::id::{NodeId, TokenId};
use super::{Statement, StoreError, Tx, read_all, values};
use crate::clock::Timestamp;

static INSERT: Statement = Statement::new(include_str!("sql/node_token_insert.sql"));
static FIND: Statement = Statement::new(include_str!("sql/node_token_find.sql"));
static LIST: Statement = Statement::new(include_str!("sql/node_token_list.sql"));
static REVOKE: Statement = Statement::new(include_str!("sql/node_token_revoke.sql"));
static TOUCH: Statement = Statement::new(include_str!("sql/node_token_touch.sql"));

/// A node's token, without its secret.
#[derive(Debug, Clone)]
pub struct NodeToken {
    pub id: String,
    /// The token's first characters.
    pub prefix: String,
    pub created_at: Timestamp,
    /// The last recorded use, which may be some minutes old.
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

/// A valid token and its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeTokenRecord {
    pub id: String,
    pub node_id: String,
    /// The last recorded use, which may be some minutes old.
    pub last_used_at: Option<Timestamp>,
}

/// Adds a token to an existing node.
pub fn insert(
    tx: &mut dyn Tx,
    id: TokenId<&str>,
    node_id: NodeId<&str>,
    prefix: &str,
    sha256: [u8; 32],
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(&INSERT, values![id.0, node_id.0, prefix, sha256, now])
        .map(|_| ())
}

/// Returns the token with this hash, unless it is revoked.
pub fn find(
    tx: &mut dyn Tx,
    token_sha256: [u8; 32],
) -> Result<Option<NodeTokenRecord>, StoreError> {
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

/// Returns a node's tokens, oldest first, including revoked ones.
pub fn list(tx: &mut dyn Tx, node_id: &str) -> Result<Vec<NodeToken>, StoreError> {
    read_all(tx.query(&LIST, values![node_id])?, |row| {
        Ok(NodeToken {
            id: row.take()?,
            prefix: row.take()?,
            created_at: row.take()?,
            last_used_at: row.take()?,
            revoked_at: row.take()?,
        })
    })
}

/// Revokes a node's token; false if the node has no such token. Revoking a token twice keeps the
/// first time.
pub fn revoke(
    tx: &mut dyn Tx,
    node_id: NodeId<&str>,
    id: TokenId<&str>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    Ok(tx.execute(&REVOKE, values![node_id.0, id.0, now])? == 1)
}

/// Records the last use of a token.
pub fn touch(tx: &mut dyn Tx, id: &str, at: Timestamp) -> Result<(), StoreError> {
    tx.execute(&TOUCH, values![id, at]).map(|_| ())
}
