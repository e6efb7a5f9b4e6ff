//! Password attempts that failed or are still being checked. They are stored in the database so
//! that all servers over it count the same attempts.

use super::{Row, Statement, StoreError, Tx, read_all, values};
use crate::clock::Timestamp;

/// Excludes other transactions that count or delete attempts, so that guesses sent to several
/// servers at the same time are all counted.
fn lock(tx: &mut dyn Tx) -> Result<(), StoreError> {
    tx.lock("login_attempts")
}

/// Deletes attempts up to `old`, and those after `future` in case the clock was set back.
pub fn prune(tx: &mut dyn Tx, old: Timestamp, future: Timestamp) -> Result<(), StoreError> {
    static PRUNE: Statement = Statement::new(include_str!("sql/attempt_prune.sql"));
    lock(tx)?;
    tx.execute(&PRUNE, values![old, future]).map(|_| ())
}

/// Returns the times of the latest attempts, newest first; at most `count`.
pub fn recent(
    tx: &mut dyn Tx,
    account: &str,
    address: &str,
    count: u64,
) -> Result<Vec<Timestamp>, StoreError> {
    static RECENT: Statement = Statement::new(include_str!("sql/attempt_recent.sql"));
    read_all(
        tx.query(&RECENT, values![account, address, count])?,
        Row::take,
    )
}

/// Returns the times of the latest attempts from an address on any account, newest first; at most
/// `count`.
pub fn recent_of_address(
    tx: &mut dyn Tx,
    address: &str,
    count: u64,
) -> Result<Vec<Timestamp>, StoreError> {
    static RECENT: Statement = Statement::new(include_str!("sql/attempt_recent_of_address.sql"));
    read_all(tx.query(&RECENT, values![address, count])?, Row::take)
}

/// Records an attempt.
pub fn insert(
    tx: &mut dyn Tx,
    account: &str,
    address: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    static INSERT: Statement = Statement::new(include_str!("sql/attempt_insert.sql"));
    let id = uuid::Uuid::now_v7().to_string();
    tx.execute(&INSERT, values![id, account, address, now])
        .map(|_| ())
}

/// Deletes the attempts on an account from an address.
pub fn clear(tx: &mut dyn Tx, account: &str, address: &str) -> Result<(), StoreError> {
    static CLEAR: Statement = Statement::new(include_str!("sql/attempt_clear.sql"));
    lock(tx)?;
    tx.execute(&CLEAR, values![account, address]).map(|_| ())
}
