//! People: one small function per statement.

use super::{Row, Statement, StoreError, Tx, read_all, values};
use crate::clock::Timestamp;

/// A user, as others may see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// UUIDv7.
    pub id: String,
    /// In lower case; unique.
    pub email: String,
    /// What they are called.
    pub name: String,
    /// `PENDING`, `VIEWER`, `OPERATOR` or `ADMIN`.
    pub role: String,
    /// When they were added.
    pub created_at: Timestamp,
}

/// A user and what their password is checked against.
#[derive(Debug, Clone)]
pub struct Account {
    /// The user.
    pub user: UserRecord,
    /// argon2id, PHC string.
    pub password_hash: String,
}

/// Reads the columns `id, email, name, role, created_at`.
pub(super) fn record(row: &mut Row) -> Result<UserRecord, StoreError> {
    Ok(UserRecord {
        id: row.take()?,
        email: row.take()?,
        name: row.take()?,
        role: row.take()?,
        created_at: row.take()?,
    })
}

fn account(row: &mut Row) -> Result<Account, StoreError> {
    Ok(Account {
        user: record(row)?,
        password_hash: row.take()?,
    })
}

/// The user with this id.
pub fn find(tx: &mut dyn Tx, id: &str) -> Result<Option<Account>, StoreError> {
    static FIND: Statement = Statement::new(include_str!("sql/user_find.sql"));
    let row = tx.query_one(&FIND, values![id])?;
    row.map(|mut row| account(&mut row)).transpose()
}

/// The user with this email, given in lower case.
pub fn find_by_email(tx: &mut dyn Tx, email: &str) -> Result<Option<Account>, StoreError> {
    static FIND: Statement = Statement::new(include_str!("sql/user_find_by_email.sql"));
    let row = tx.query_one(&FIND, values![email])?;
    row.map(|mut row| account(&mut row)).transpose()
}

/// Everybody, in the order in which they came.
pub fn list(tx: &mut dyn Tx) -> Result<Vec<UserRecord>, StoreError> {
    static LIST: Statement = Statement::new(include_str!("sql/user_list.sql"));
    read_all(tx.query(&LIST, values![])?, record)
}

/// How many users there are.
pub fn count(tx: &mut dyn Tx) -> Result<u64, StoreError> {
    static COUNT: Statement = Statement::new(include_str!("sql/user_count.sql"));
    match tx.query_one(&COUNT, values![])? {
        Some(mut row) => row.take(),
        None => Ok(0),
    }
}

/// The user with this id, whom nobody removes until this transaction ends: for one that adds
/// something of theirs.
pub fn find_held(tx: &mut dyn Tx, id: &str) -> Result<Option<Account>, StoreError> {
    static FIND: Statement = Statement::new(concat!(
        include_str!("sql/user_find.sql"),
        " /* for key share */"
    ));
    let row = tx.query_one(&FIND, values![id])?;
    row.map(|mut row| account(&mut row)).transpose()
}

/// Makes this transaction the only one that counts users and adds one for it: of two first users at
/// once one wins.
pub fn lock_first(tx: &mut dyn Tx) -> Result<(), StoreError> {
    tx.lock("users")
}

/// Adds a user; false when the email is taken.
pub fn insert(tx: &mut dyn Tx, user: &UserRecord, password_hash: &str) -> Result<bool, StoreError> {
    static INSERT: Statement = Statement::new(include_str!("sql/user_insert.sql"));
    let params = values![
        &user.id,
        &user.email,
        &user.name,
        &user.role,
        password_hash,
        user.created_at
    ];
    Ok(tx.execute(&INSERT, params)? == 1)
}

/// The ids of all ADMINs, whose rows nobody else changes until this transaction ends.
pub fn lock_admins(tx: &mut dyn Tx) -> Result<Vec<String>, StoreError> {
    static LOCK: Statement = Statement::new(include_str!("sql/user_lock_admins.sql"));
    read_all(tx.query(&LOCK, values![])?, Row::take)
}

/// Gives a user another role; false when there is no such user.
pub fn set_role(tx: &mut dyn Tx, id: &str, role: &str) -> Result<bool, StoreError> {
    static SET: Statement = Statement::new(include_str!("sql/user_set_role.sql"));
    Ok(tx.execute(&SET, values![id, role])? == 1)
}

/// Sets a user's password, whatever it was; false when there is no such user.
pub fn set_password(tx: &mut dyn Tx, id: &str, hash: &str) -> Result<bool, StoreError> {
    static SET: Statement = Statement::new(include_str!("sql/user_set_password.sql"));
    Ok(tx.execute(&SET, values![id, hash])? == 1)
}

/// Sets a user's password if it is still `proved`; false when it isn't.
pub fn change_password(
    tx: &mut dyn Tx,
    id: &str,
    hash: &str,
    proved: &str,
) -> Result<bool, StoreError> {
    static CHANGE: Statement = Statement::new(include_str!("sql/user_change_password.sql"));
    Ok(tx.execute(&CHANGE, values![id, hash, proved])? == 1)
}

/// Removes a user, with their sessions and tokens; false when there is no such user.
pub fn delete(tx: &mut dyn Tx, id: &str) -> Result<bool, StoreError> {
    static DELETE: Statement = Statement::new(include_str!("sql/user_delete.sql"));
    Ok(tx.execute(&DELETE, values![id])? == 1)
}
