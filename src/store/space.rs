//! The size of the database. Returns disk space to the filesystem when much of the SQLite file is
//! empty. On PostgreSQL, autovacuum does this.

use super::tx::{Statement, Tx};
use super::{StoreError, values};

/// Empty pages that stay in the file for later use: 16 MB.
const KEPT_PAGES: i64 = 4_096;
/// At least one page in so many must be empty before any space is returned.
const EMPTY_SHARE: i64 = 4;

/// Returns one megabyte to the filesystem; false if too little is empty. SQLite moves pages from
/// the file's end into empty ones, so each call is a short write like any other.
pub fn release_step(tx: &mut dyn Tx) -> Result<bool, StoreError> {
    static FREE: Statement = Statement::new("PRAGMA freelist_count");
    static ALL: Statement = Statement::new("PRAGMA page_count");
    static MODE: Statement = Statement::new("PRAGMA auto_vacuum");
    static STEP: Statement = Statement::new("PRAGMA incremental_vacuum(256)");
    if tx.is_shared() {
        return Ok(false);
    }
    let mut number = |statement| match tx.query_one(statement, values![])? {
        Some(mut row) => row.take::<i64>(),
        None => Ok(0),
    };
    let (free, all, mode) = (number(&FREE)?, number(&ALL)?, number(&MODE)?);
    // A database created by an older version has mode 0: empty pages are reused but not returned.
    let is_incremental = mode == 2;
    if !is_incremental || free <= KEPT_PAGES || free < all / EMPTY_SHARE {
        return Ok(false);
    }
    tx.query(&STEP, values![])?;
    Ok(true)
}

/// Returns the size of the database: of SQLite's file without its log, or what PostgreSQL counts.
pub fn database_bytes(tx: &mut dyn Tx) -> Result<u64, StoreError> {
    static SQLITE: Statement = Statement::new(
        "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    );
    static POSTGRES: Statement = Statement::new("SELECT pg_database_size(current_database())");
    let size = if tx.is_shared() { &POSTGRES } else { &SQLITE };
    tx.query_one(size, values![])?
        .map_or(Ok(0), |mut row| row.take())
}
