//! What `hyprbox doctor` asks an SQLite database. Nothing is changed, and a server may run meanwhile.

use std::path::Path;

use rusqlite::{Connection, Row};

use super::copy::{faults, open_to_read};
use crate::clock::Timestamp;

/// How long past its timeout a RUNNING job is taken for stuck, in seconds: far longer than any sweep takes.
const OVERDUE_SECONDS: i64 = 600;

/// What was found.
#[derive(Debug)]
pub struct Diagnosis {
    /// `PRAGMA user_version`.
    pub version: i64,
    /// What `integrity_check` says; nothing of a sound database.
    pub faults: Vec<String>,
    /// The latest time that a row has.
    pub newest: Option<Timestamp>,
    /// Each node with its agent's version.
    pub agents: Vec<(String, String)>,
    /// RUNNING jobs far past their timeout, with their node.
    pub overdue: Vec<(String, String)>,
    /// Nodes whose jobs have waited for more than a day, with their number.
    pub waiting: Vec<(String, i64)>,
}

/// Looks into the database. The error is SQLite's own words.
pub fn diagnose(path: &Path) -> Result<Diagnosis, String> {
    let words = |error: rusqlite::Error| error.to_string();
    let connection = open_to_read(path).map_err(words)?;
    let faults = faults(&connection, "integrity_check").map_err(words)?;
    let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0));
    Ok(Diagnosis {
        version: version.map_err(words)?,
        faults,
        newest: newest(&connection).map_err(words)?,
        agents: pairs(
            &connection,
            "SELECT id, agent_version FROM nodes WHERE agent_version IS NOT NULL ORDER BY id",
        )
        .map_err(words)?,
        overdue: pairs(
            &connection,
            &format!(
                "SELECT id, node_id FROM jobs WHERE status = 'RUNNING'
                 AND unixepoch(started_at) + timeout_seconds + {OVERDUE_SECONDS} < unixepoch('now') ORDER BY id"
            ),
        )
        .map_err(words)?,
        waiting: pairs(
            &connection,
            "SELECT node_id, count(*) FROM jobs WHERE status = 'QUEUED'
             AND unixepoch(created_at) < unixepoch('now', '-1 day') GROUP BY node_id ORDER BY node_id",
        )
        .map_err(words)?,
    })
}

fn newest(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let text: Option<String> = connection.query_row(
        "SELECT max(at) FROM (SELECT max(created_at) AS at FROM jobs UNION ALL SELECT max(last_seen_at) FROM nodes)",
        [],
        |row| row.get(0),
    )?;
    Ok(text.and_then(|text| text.parse().ok()))
}

fn pairs<T: rusqlite::types::FromSql>(
    connection: &Connection,
    sql: &str,
) -> rusqlite::Result<Vec<(String, T)>> {
    let pair = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    connection.prepare(sql)?.query_map([], pair)?.collect()
}
