//! Users: one function per statement.

use super::{Row, Statement, StoreError, Tx, read_all, values};
use crate::clock::Timestamp;

/// A user without the password hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    pub id: String,
    /// In lower case; unique.
    pub email: String,
    pub name: String,
    /// `PENDING`, `VIEWER`, `OPERATOR` or `ADMIN`.
    pub role: String,
    pub created_at: Timestamp,
}

/// A user with the password hash.
#[derive(Debug, Clone)]
pub struct Account {
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

/// Returns the user with this id.
pub fn find(tx: &mut dyn Tx, id: &str) -> Result<Option<Account>, StoreError> {
    static FIND: Statement = Statement::new(include_str!("sql/user_find.sql"));
    let row = tx.query_one(&FIND, values![id])?;
    row.map(|mut row| account(&mut row)).transpose()
}

/// Returns the user with this email, which must be in lower case.
pub fn find_by_email(tx: &mut dyn Tx, email: &str) -> Result<Option<Account>, StoreError> {
    static FIND: Statement = Statement::new(include_str!("sql/user_find_by_email.sql"));
    let row = tx.query_one(&FIND, values![email])?;
    row.map(|mut row| account(&mut row)).transpose()
}

/// Returns all users in the order in which they were added.
pub fn list(tx: &mut dyn Tx) -> Result<Vec<UserRecord>, StoreError> {
    static LIST: Statement = Statement::new(include_str!("sql/user_list.sql"));
    read_all(tx.query(&LIST, values![])?, record)
}

/// Counts the users.
pub fn count(tx: &mut dyn Tx) -> Result<u64, StoreError> {
    static COUNT: Statement = Statement::new(include_str!("sql/user_count.sql"));
    match tx.query_one(&COUNT, values![])? {
        Some(mut row) => row.take(),
        None => Ok(0),
    }
}

/// Returns the user with this id and prevents their removal until the transaction ends. For
/// transactions that add a row which refers to the user.
pub fn find_held(tx: &mut dyn Tx, id: &str) -> Result<Option<Account>, StoreError> {
    static FIND: Statement = Statement::new(concat!(
        include_str!("sql/user_find.sql"),
        " /* for key share */"
    ));
    let row = tx.query_one(&FIND, values![id])?;
    row.map(|mut row| account(&mut row)).transpose()
}

/// Excludes other transactions that create the first user. If two people set the server up at the
/// same time, one of them wins.
pub fn lock_first(tx: &mut dyn Tx) -> Result<(), StoreError> {
    tx.lock("users")
}

/// Adds a user; false if the email is taken.
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

/// Returns the ids of all ADMINs and locks their rows until the transaction ends.
pub fn lock_admins(tx: &mut dyn Tx) -> Result<Vec<String>, StoreError> {
    static LOCK: Statement = Statement::new(include_str!("sql/user_lock_admins.sql"));
    read_all(tx.query(&LOCK, values![])?, Row::take)
}

/// Changes a user's role; false if the user does not exist.
pub fn set_role(tx: &mut dyn Tx, id: &str, role: &str) -> Result<bool, StoreError> {
    static SET: Statement = Statement::new(include_str!("sql/user_set_role.sql"));
    Ok(tx.execute(&SET, values![id, role])? == 1)
}

/// Sets a user's password; false if the user does not exist.
pub fn set_password(tx: &mut dyn Tx, id: &str, hash: &str) -> Result<bool, StoreError> {
    static SET: Statement = Statement::new(include_str!("sql/user_set_password.sql"));
    Ok(tx.execute(&SET, values![id, hash])? == 1)
}

/// Sets a user's password if the current hash is still `proved`; otherwise returns false.
pub fn change_password(
    tx: &mut dyn Tx,
    id: &str,
    hash: &str,
    proved: &str,
) -> Result<bool, StoreError> {
    static CHANGE: Statement = Statement::new(include_str!("sql/user_change_password.sql"));
    Ok(tx.execute(&CHANGE, values![id, hash, proved])? == 1)
}

/// Removes a user with their sessions and tokens; false if the user does not exist.
pub fn delete(tx: &mut dyn Tx, id: &str) -> Result<bool, StoreError> {
    static DELETE: Statement = Statement::new(include_str!("sql/user_delete.sql"));
    Ok(tx.execute(&DELETE, values![id])? == 1)
}
