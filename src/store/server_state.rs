//! Tables with one row: the digest of the key file, and the time of the last readiness check. Also
//! the clock.

use super::{Statement, StoreError, Tx, values};
use crate::clock::{self, Timestamp};

static READ_KEY: Statement = Statement::new("SELECT digest FROM server_key WHERE id = 1");
static INSERT_KEY: Statement = Statement::new(include_str!("sql/server_key_insert.sql"));
// Not now(), which is when the transaction began: it may have waited for a lock since.
static DATABASE_NOW: Statement = Statement::new("SELECT clock_timestamp()");
static TOUCH: Statement = Statement::new(include_str!("sql/readiness_touch.sql"));

/// Whether `digest` is that of the key file that the database was created with. In a database
/// without a digest, records this one.
pub fn is_our_key(tx: &mut dyn Tx, digest: [u8; 32]) -> Result<bool, StoreError> {
    tx.execute(&INSERT_KEY, values![digest])?;
    Ok(key_digest(tx)? == Some(digest))
}

/// The digest of the key file that the database names.
pub fn key_digest(tx: &mut dyn Tx) -> Result<Option<[u8; 32]>, StoreError> {
    let recorded: Option<Vec<u8>> = match tx.query_one(&READ_KEY, values![])? {
        Some(mut row) => Some(row.take()?),
        None => None,
    };
    Ok(recorded.and_then(|digest| digest.try_into().ok()))
}

/// Names another key file.
pub fn set_key_digest(tx: &mut dyn Tx, digest: [u8; 32]) -> Result<(), StoreError> {
    static SET: Statement = Statement::new("UPDATE server_key SET digest = $1 WHERE id = 1");
    tx.execute(&INSERT_KEY, values![digest])?;
    tx.execute(&SET, values![digest]).map(|_| ())
}

/// How many connections servers have to a database that servers can share; 0 on SQLite, where a
/// lock file shows whether a server runs.
pub fn count_servers(tx: &mut dyn Tx) -> Result<i64, StoreError> {
    static COUNT: Statement = Statement::new(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'hyprbox'",
    );
    if !tx.is_shared() {
        return Ok(0);
    }
    tx.query_one(&COUNT, values![])?
        .map_or(Ok(0), |mut row| row.take())
}

/// The current time, by the database's clock if other servers share it.
pub fn now(tx: &mut dyn Tx) -> Result<Timestamp, StoreError> {
    if !tx.is_shared() {
        return Ok(clock::now());
    }
    tx.query_one(&DATABASE_NOW, values![])?
        .map_or_else(|| Ok(clock::now()), |mut row| row.take())
}

/// Writes the time to the database, to find out whether it accepts writes.
pub fn touch_readiness(tx: &mut dyn Tx, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(&TOUCH, values![now]).map(|_| ())
}
