//! Disk that is given back when much of the database is empty. On Postgres that is autovacuum's
//! work.

use super::tx::{Statement, Tx};
use super::{StoreError, values};

/// Empty pages that are kept for what comes next: 16 MB.
const KEPT_PAGES: i64 = 4_096;
/// Of all pages, at least this share must be empty before any is given back: as a divisor.
const SHARE: i64 = 4;

/// Gives one more megabyte back to the filesystem; false where there is nothing worth it. The pages
/// at the file's end move into empty ones, so this is a write like any other, and as short.
pub fn give_back(tx: &mut dyn Tx) -> Result<bool, StoreError> {
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
    // A database from before this was so has mode 0: its pages are used again, and none given back.
    let is_incremental = mode == 2;
    if !is_incremental || free <= KEPT_PAGES || free < all / SHARE {
        return Ok(false);
    }
    tx.query(&STEP, values![])?;
    Ok(true)
}
