//! The transaction of a claim without a server.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};

/// The server's own statement.
const CLAIM: &str = include_str!("../../../src/store/sql/job_claim.sql");

/// Claims one job for each node and returns the claims per second. `group` is the mean number of
/// claims per durable commit.
pub(crate) fn claims_per_second(
    database: &Path,
    nodes: &[String],
    group: f64,
) -> anyhow::Result<f64> {
    anyhow::ensure!(group >= 1.0, "a commit must have at least one claim");
    let connection = Connection::open(database)?;
    connection.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA cache_size=-4096;",
    )?;
    // The server also sets this. It makes the loop faster.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // SQLite binds `$n` in order of first appearance.
    let mut claim = connection.prepare(&CLAIM.replace('$', "?"))?;
    let mut read = connection
        .prepare("SELECT script, script_sha256, timeout_seconds FROM jobs WHERE id = ?1")?;
    let start = Instant::now();
    let (mut rest, mut due) = (nodes, 0.0);
    while !rest.is_empty() {
        due += group;
        let (some, after) = rest.split_at(rest.len().min(due as usize));
        (rest, due) = (after, due.fract());
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for node in some {
            let id: String = claim.query_row(
                params![node, "2026-01-01T00:00:00.000Z", "raw", None::<&str>],
                |row| row.get(0),
            )?;
            let _script: String = read.query_row([id], |row| row.get(0))?;
        }
        connection.execute_batch("COMMIT")?;
    }
    Ok(nodes.len() as f64 / start.elapsed().as_secs_f64())
}

/// Returns a counter of durable commits; only the difference of two values is meaningful. The
/// counter is in the header of the write-ahead log's index, as SQLite's file format defines.
pub(crate) fn commits(database: &Path) -> anyhow::Result<u32> {
    let mut index = database.as_os_str().to_owned();
    index.push("-shm");
    let mut counter = [0; 4];
    File::open(&index)?.read_exact_at(&mut counter, 8)?;
    Ok(u32::from_ne_bytes(counter))
}
