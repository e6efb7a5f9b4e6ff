//! Personal tokens for scripts and CI.

use super::id::{TokenId, UserId};
use super::user::{UserRecord, record};
use super::{Statement, StoreError, Tx, read_all, values};
use crate::clock::Timestamp;

/// A personal token without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserTokenRecord {
    pub id: String,
    /// The name that the user chose.
    pub name: String,
    /// The token's first characters, to distinguish tokens in a list.
    pub prefix: String,
    pub created_at: Timestamp,
    /// `None` if the token never expires.
    pub expires_at: Option<Timestamp>,
    /// The last recorded use, which may be some minutes old.
    pub last_used_at: Option<Timestamp>,
}

/// A personal token and its user.
#[derive(Debug, Clone)]
pub struct UserTokenOwner {
    pub user: UserRecord,
    /// The token's id.
    pub id: String,
    /// The caller decides whether the token has expired.
    pub expires_at: Option<Timestamp>,
    /// The last recorded use, which may be some minutes old.
    pub last_used_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

/// Adds a token.
pub fn insert(
    tx: &mut dyn Tx,
    user_id: &str,
    token: &UserTokenRecord,
    token_sha256: [u8; 32],
) -> Result<(), StoreError> {
    static INSERT: Statement = Statement::new(include_str!("sql/user_token_insert.sql"));
    let params = values![
        &token.id,
        user_id,
        &token.name,
        &token.prefix,
        token_sha256,
        token.created_at,
        token.expires_at
    ];
    tx.execute(&INSERT, params).map(|_| ())
}

/// Returns the token with this hash and its user.
pub fn find(tx: &mut dyn Tx, token_sha256: [u8; 32]) -> Result<Option<UserTokenOwner>, StoreError> {
    static FIND: Statement = Statement::new(include_str!("sql/user_token_find.sql"));
    let row = tx.peek(&FIND, values![token_sha256])?.into_iter().next();
    row.map(|mut row| {
        Ok(UserTokenOwner {
            user: record(&mut row)?,
            id: row.take()?,
            expires_at: row.take()?,
            last_used_at: row.take()?,
            created_at: row.take()?,
        })
    })
    .transpose()
}

/// Returns a user's tokens, newest first.
pub fn list(tx: &mut dyn Tx, user_id: &str) -> Result<Vec<UserTokenRecord>, StoreError> {
    static LIST: Statement = Statement::new(include_str!("sql/user_token_list.sql"));
    read_all(tx.query(&LIST, values![user_id])?, |row| {
        Ok(UserTokenRecord {
            id: row.take()?,
            name: row.take()?,
            prefix: row.take()?,
            created_at: row.take()?,
            expires_at: row.take()?,
            last_used_at: row.take()?,
        })
    })
}

/// Revokes a token of this user and returns its name; `None` if the user has no such token.
pub fn delete(
    tx: &mut dyn Tx,
    id: TokenId<&str>,
    user_id: UserId<&str>,
) -> Result<Option<String>, StoreError> {
    static DELETE: Statement = Statement::new(include_str!("sql/user_token_delete.sql"));
    let row = tx.query_one(&DELETE, values![id.0, user_id.0])?;
    row.map(|mut row| row.take()).transpose()
}

/// Revokes all tokens of a user and returns their number.
pub fn delete_of_user(tx: &mut dyn Tx, user_id: &str) -> Result<u64, StoreError> {
    static DELETE: Statement = Statement::new(include_str!("sql/user_token_delete_of_user.sql"));
    tx.execute(&DELETE, values![user_id])
}

/// Records the last use.
pub fn touch(tx: &mut dyn Tx, id: &str, at: Timestamp) -> Result<(), StoreError> {
    static TOUCH: Statement = Statement::new(include_str!("sql/user_token_touch.sql"));
    tx.execute(&TOUCH, values![id, at]).map(|_| ())
}
