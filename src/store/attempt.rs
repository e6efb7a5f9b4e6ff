//! Password attempts that did not succeed, or have not yet. They are in the database so that every
//! replica counts alike.

use super::{Row, Statement, StoreError, Tx, read_all, values};
use crate::clock::Timestamp;

/// Whoever counts attempts, or takes some away, is the only one: guesses sent to several servers at
/// once count one another.
fn lock(tx: &mut dyn Tx) -> Result<(), StoreError> {
    tx.lock("login_attempts")
}

/// Forgets attempts up to `old` and, should the clock have been set back, those after `future`.
pub fn prune(tx: &mut dyn Tx, old: Timestamp, future: Timestamp) -> Result<(), StoreError> {
    static PRUNE: Statement = Statement::new(include_str!("sql/attempt_prune.sql"));
    lock(tx)?;
    tx.execute(&PRUNE, values![old, future]).map(|_| ())
}

/// When the latest attempts were, newest first; `count` of them at the most.
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

/// When the latest attempts from an address were, on whatever account, newest first; at most
/// `count` of them.
pub fn recent_of_address(
    tx: &mut dyn Tx,
    address: &str,
    count: u64,
) -> Result<Vec<Timestamp>, StoreError> {
    static RECENT: Statement = Statement::new(include_str!("sql/attempt_recent_of_address.sql"));
    read_all(tx.query(&RECENT, values![address, count])?, Row::take)
}

/// Notes an attempt.
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

/// Resets the count.
pub fn clear(tx: &mut dyn Tx, account: &str, address: &str) -> Result<(), StoreError> {
    static CLEAR: Statement = Statement::new(include_str!("sql/attempt_clear.sql"));
    lock(tx)?;
    tx.execute(&CLEAR, values![account, address]).map(|_| ())
}
