//! The queries of `hyprbox doctor`. They change nothing, and a server may run at the same time.

use std::path::Path;

use rusqlite::{Connection, Row};

use super::copy::{faults, open_to_read};
use super::sqlite::SqliteTx;
use super::{StoreError, Tx};
use crate::clock::Timestamp;

/// A RUNNING job counts as stuck if it is so many seconds past its timeout, which is far longer
/// than the server needs to end it.
const OVERDUE_SECONDS: i64 = 600;

/// The state of an SQLite file.
#[derive(Debug)]
pub struct Diagnosis {
    /// What `integrity_check` reports; empty for a sound database.
    pub faults: Vec<String>,
    /// The latest time in any row.
    pub newest: Option<Timestamp>,
    pub content: Content,
}

/// The contents of a database of either kind.
#[derive(Debug)]
pub struct Content {
    /// The schema's version.
    pub version: i64,
    /// Nodes with the version of their agent.
    pub agents: Vec<(String, String)>,
    /// RUNNING jobs far past their timeout, with the node.
    pub overdue: Vec<(String, String)>,
    /// Nodes with the number of jobs that have waited for more than a day.
    pub waiting: Vec<(String, i64)>,
    /// Paused nodes with the number of jobs that wait for them.
    pub paused: Vec<(String, i64)>,
    /// Ended jobs whose script still runs, with the node.
    pub still_running: Vec<(String, String)>,
    /// Nodes that can't run jobs, with the reason.
    pub problems: Vec<(String, String)>,
    /// Nodes with whether they require signatures by people, and the keys that they trust as JSON.
    pub signing: Vec<(String, String)>,
    /// The sign keys, oldest first, with the statements that name them as successors.
    pub sign_keys: Vec<(String, String)>,
    /// Nodes where a copy of the agent's state was used within a day, with the time.
    pub copied: Vec<(String, String)>,
}

/// The schema version since which nodes report problems.
const PROBLEMS_SINCE: i64 = 5;
/// The schema version since which nodes can be paused.
const PAUSES_SINCE: i64 = 6;
/// The schema version since which jobs are signed.
const SIGNING_SINCE: i64 = 9;
/// In one column: `0` or `1`, and the keys as JSON, or nothing if the agent checks no signatures.
const SIGNING: &str = "SELECT id, requires_signatures || coalesce(trusted_keys, '') FROM nodes
    WHERE agent_version IS NOT NULL ORDER BY id";
const SIGN_KEYS: &str = "SELECT public_key, coalesce(statement, '') FROM sign_keys ORDER BY seq";
const PAUSED: &str = "SELECT node_id, count(*) FROM jobs WHERE status = 'QUEUED'
    AND node_id IN (SELECT id FROM nodes WHERE paused = 1) GROUP BY node_id ORDER BY node_id";
const AGENTS: &str =
    "SELECT id, agent_version FROM nodes WHERE agent_version IS NOT NULL ORDER BY id";
const STILL_RUNNING: &str = "SELECT id, node_id FROM jobs WHERE still_running = 1 ORDER BY id";
const PROBLEMS: &str = "SELECT id, problem FROM nodes WHERE problem IS NOT NULL ORDER BY id";

/// Reads an SQLite file. The error is SQLite's message.
pub fn diagnose(path: &Path) -> Result<Diagnosis, String> {
    let text = |error: rusqlite::Error| error.to_string();
    let connection = open_to_read(path).map_err(text)?;
    let faults = faults(&connection, "integrity_check").map_err(text)?;
    let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0));
    let version = version.map_err(text)?;
    let since = |sql: &str| match version {
        PROBLEMS_SINCE.. => pairs(&connection, sql).map_err(text),
        _ => Ok(Vec::new()),
    };
    let signing = |sql: &str| match version {
        SIGNING_SINCE.. => pairs(&connection, sql).map_err(text),
        _ => Ok(Vec::new()),
    };
    let content = Content {
        version,
        still_running: since(STILL_RUNNING)?,
        problems: since(PROBLEMS)?,
        paused: match version {
            PAUSES_SINCE.. => pairs(&connection, PAUSED).map_err(text)?,
            _ => Vec::new(),
        },
        signing: signing(SIGNING)?,
        sign_keys: signing(SIGN_KEYS)?,
        copied: since(
            "SELECT id, copied_at FROM nodes
             WHERE unixepoch(copied_at) > unixepoch('now', '-1 day') ORDER BY id",
        )?,
        agents: pairs(
            &connection,
            AGENTS,
        )
        .map_err(text)?,
        overdue: pairs(
            &connection,
            &format!(
                "SELECT id, node_id FROM jobs WHERE status = 'RUNNING'
                 AND unixepoch(started_at) + timeout_seconds + {OVERDUE_SECONDS} < unixepoch('now') ORDER BY id"
            ),
        )
        .map_err(text)?,
        waiting: pairs(
            &connection,
            "SELECT node_id, count(*) FROM jobs WHERE status = 'QUEUED'
             AND unixepoch(created_at) < unixepoch('now', '-1 day') GROUP BY node_id ORDER BY node_id",
        )
        .map_err(text)?,
    };
    Ok(Diagnosis {
        faults,
        newest: newest(&connection).map_err(text)?,
        content,
    })
}

/// The state of a PostgreSQL database.
#[cfg(feature = "postgres")]
#[derive(Debug)]
pub struct PostgresDiagnosis {
    /// `postgres://user@host:port/database`
    pub shown: String,
    /// `server_version` of its settings.
    pub server: String,
    /// The database's clock, which counts for every server over it.
    pub now: Timestamp,
    /// `None` if no server has created the tables yet.
    pub content: Option<Content>,
}

/// Reads a PostgreSQL database. The error is one line with the address and without the password.
#[cfg(feature = "postgres")]
pub fn diagnose_postgres(url: &str) -> Result<PostgresDiagnosis, String> {
    use tokio_postgres::Row;

    use crate::store::postgres::connection::PgConnection;
    use crate::store::postgres::endpoint::Endpoint;

    let endpoint = Endpoint::parse(url)?;
    let shown = endpoint.shown();
    let explain = |error| format!("{shown}: {error}");
    let mut connection = PgConnection::open(&endpoint).map_err(explain)?;
    let settings = "SET statement_timeout = '10s'; SET default_transaction_read_only = on; SET timezone = 'UTC'";
    connection.run(settings).map_err(explain)?;
    let mut query = |sql: &str| connection.query(sql, &[]).map_err(explain);
    let about =
        "SELECT current_setting('server_version'), (extract(epoch FROM now()) * 1000)::bigint,
         to_regclass('schema_version') IS NOT NULL";
    let about = query(about)?;
    let Some(about) = about.first() else {
        return Err(format!("{shown}: the database returned no row"));
    };
    let content = if about.get(2) {
        let version = query("SELECT max(version)::bigint FROM schema_version")?;
        let version = version.first().and_then(|row| row.get(0)).unwrap_or(0);
        let overdue = format!(
            "SELECT id, node_id FROM jobs WHERE status = 'RUNNING'
             AND started_at + make_interval(secs => (timeout_seconds + {OVERDUE_SECONDS})::double precision) < now() ORDER BY id"
        );
        let waiting = "SELECT node_id, count(*) FROM jobs WHERE status = 'QUEUED'
             AND created_at < now() - interval '1 day' GROUP BY node_id ORDER BY node_id";
        let copied = "SELECT id, to_char(copied_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') FROM nodes
             WHERE copied_at > now() - interval '1 day' ORDER BY id";
        let text_pair = |row: &Row| (row.get(0), row.get(1));
        let waiting = query(waiting)?;
        let paused = match version {
            PAUSES_SINCE.. => query(PAUSED)?,
            _ => Vec::new(),
        };
        let counts = |rows: &[Row]| rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let (waiting, paused) = (counts(&waiting), counts(&paused));
        let mut pairs = |sql: &str| -> Result<Vec<(String, String)>, String> {
            Ok(query(sql)?.iter().map(text_pair).collect())
        };
        let (signing, sign_keys) = match version {
            SIGNING_SINCE.. => (pairs(SIGNING)?, pairs(SIGN_KEYS)?),
            _ => (Vec::new(), Vec::new()),
        };
        let mut since = |sql: &str| match version {
            PROBLEMS_SINCE.. => pairs(sql),
            _ => Ok(Vec::new()),
        };
        Some(Content {
            version,
            still_running: since(STILL_RUNNING)?,
            problems: since(PROBLEMS)?,
            signing,
            sign_keys,
            copied: since(copied)?,
            agents: pairs(AGENTS)?,
            overdue: pairs(&overdue)?,
            waiting,
            paused,
        })
    } else {
        None
    };
    Ok(PostgresDiagnosis {
        server: about.get(0),
        now: Timestamp::from_millis(about.get(1)),
        content,
        shown,
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

/// Runs `work` on an SQLite file without changing it. The error is one line.
pub fn read_only<T>(
    path: &Path,
    work: impl FnOnce(&mut dyn Tx) -> Result<T, StoreError>,
) -> Result<T, String> {
    let connection = open_to_read(path).map_err(|error| error.to_string())?;
    let mut tx = SqliteTx::reading(&connection);
    work(&mut tx).map_err(|error| error.to_string())
}
