//! The claim's transaction without a server around it.

use std::path::Path;
use std::time::Instant;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};

/// The server's own statement.
const CLAIM: &str = include_str!("../../../src/store/sql/job_claim.sql");

/// Claims a second, so many to a durable commit, of one job for each of those nodes in that database.
pub(crate) fn claims_per_second(
    database: &Path,
    nodes: &[String],
    group: usize,
) -> anyhow::Result<f64> {
    let connection = Connection::open(database)?;
    connection.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA cache_size=-4096;",
    )?;
    // As the server has it, and quicker for the loop as well.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // rusqlite counts `$n` by first appearance.
    let mut claim = connection.prepare(&CLAIM.replace('$', "?"))?;
    let mut read = connection
        .prepare("SELECT script, script_sha256, timeout_seconds FROM jobs WHERE id = ?1")?;
    let start = Instant::now();
    for some in nodes.chunks(group) {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for node in some {
            let id: String = claim
                .query_row(params![node, "2026-01-01T00:00:00.000Z", "raw"], |row| {
                    row.get(0)
                })?;
            let _script: String = read.query_row([id], |row| row.get(0))?;
        }
        connection.execute_batch("COMMIT")?;
    }
    Ok(nodes.len() as f64 / start.elapsed().as_secs_f64())
}
