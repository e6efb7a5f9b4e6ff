//! What `hyprbox doctor` asks a database. Nothing is changed, and a server may run meanwhile.

use std::path::Path;

use rusqlite::{Connection, Row};

use super::copy::{faults, open_to_read};
use crate::clock::Timestamp;

/// How long past its timeout a RUNNING job is taken for stuck, in seconds: far longer than any
/// sweep takes.
const OVERDUE_SECONDS: i64 = 600;

/// What was found in an SQLite file.
#[derive(Debug)]
pub struct Diagnosis {
    /// What `integrity_check` says; nothing of a sound database.
    pub faults: Vec<String>,
    /// The latest time that a row has.
    pub newest: Option<Timestamp>,
    /// What is in it.
    pub content: Content,
}

/// What is in a database, whichever it is.
#[derive(Debug)]
pub struct Content {
    /// The schema's version.
    pub version: i64,
    /// Each node with its agent's version.
    pub agents: Vec<(String, String)>,
    /// RUNNING jobs far past their timeout, with their node.
    pub overdue: Vec<(String, String)>,
    /// Nodes whose jobs have waited for more than a day, with their number.
    pub waiting: Vec<(String, i64)>,
    /// Jobs that have ended while their script runs on, with their node.
    pub still_running: Vec<(String, String)>,
    /// Nodes that can't run jobs, and why.
    pub problems: Vec<(String, String)>,
    /// Nodes of whose agent a copy was used within a day, and when.
    pub copied: Vec<(String, String)>,
}

/// The version since which nodes report their problems.
const PROBLEMS_SINCE: i64 = 5;
const STILL_RUNNING: &str = "SELECT id, node_id FROM jobs WHERE still_running = 1 ORDER BY id";
const PROBLEMS: &str = "SELECT id, problem FROM nodes WHERE problem IS NOT NULL ORDER BY id";

/// Looks into the database. The error is SQLite's own words.
pub fn diagnose(path: &Path) -> Result<Diagnosis, String> {
    let words = |error: rusqlite::Error| error.to_string();
    let connection = open_to_read(path).map_err(words)?;
    let faults = faults(&connection, "integrity_check").map_err(words)?;
    let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0));
    let version = version.map_err(words)?;
    let since = |sql: &str| match version {
        PROBLEMS_SINCE.. => pairs(&connection, sql).map_err(words),
        _ => Ok(Vec::new()),
    };
    let content = Content {
        version,
        still_running: since(STILL_RUNNING)?,
        problems: since(PROBLEMS)?,
        copied: since(
            "SELECT id, copied_at FROM nodes
             WHERE unixepoch(copied_at) > unixepoch('now', '-1 day') ORDER BY id",
        )?,
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
    };
    Ok(Diagnosis {
        faults,
        newest: newest(&connection).map_err(words)?,
        content,
    })
}

/// What was found in a PostgreSQL database.
#[cfg(feature = "postgres")]
#[derive(Debug)]
pub struct PostgresDiagnosis {
    /// `postgres://user@host:port/database`
    pub shown: String,
    /// `server_version` of its settings.
    pub server: String,
    /// Its clock, which counts for every server over it.
    pub now: Timestamp,
    /// What is in it; `None` where no server has made its tables yet.
    pub content: Option<Content>,
}

/// Looks into a PostgreSQL database. The error is one line, with the address and without the
/// password.
#[cfg(feature = "postgres")]
pub fn diagnose_postgres(url: &str) -> Result<PostgresDiagnosis, String> {
    use crate::store::postgres::session::describe;
    use crate::store::postgres::url::Endpoint;

    let endpoint = Endpoint::parse(url)?;
    let shown = endpoint.shown();
    let words = |error: postgres::Error| format!("{shown}: {}", describe(&error));
    let mut client = endpoint
        .connect()
        .map_err(|error| format!("{shown}: {error}"))?;
    let settings = "SET statement_timeout = '10s'; SET default_transaction_read_only = on; SET timezone = 'UTC'";
    client.batch_execute(settings).map_err(words)?;
    let about =
        "SELECT current_setting('server_version'), (extract(epoch FROM now()) * 1000)::bigint,
         to_regclass('schema_version') IS NOT NULL";
    let about = client.query_one(about, &[]).map_err(words)?;
    let mut pairs = |sql: &str| client.query(sql, &[]).map_err(words);
    let content = if about.get(2) {
        let version = pairs("SELECT max(version)::bigint FROM schema_version")?;
        let agents =
            "SELECT id, agent_version FROM nodes WHERE agent_version IS NOT NULL ORDER BY id";
        let overdue = format!(
            "SELECT id, node_id FROM jobs WHERE status = 'RUNNING'
             AND started_at + make_interval(secs => (timeout_seconds + {OVERDUE_SECONDS})::double precision) < now() ORDER BY id"
        );
        let waiting = "SELECT node_id, count(*) FROM jobs WHERE status = 'QUEUED'
             AND created_at < now() - interval '1 day' GROUP BY node_id ORDER BY node_id";
        let both = |row: &postgres::Row| (row.get(0), row.get(1));
        let version = version.first().and_then(|row| row.get(0)).unwrap_or(0);
        let copied = "SELECT id, to_char(copied_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') FROM nodes
             WHERE copied_at > now() - interval '1 day' ORDER BY id";
        let mut since = |sql: &str| match version {
            PROBLEMS_SINCE.. => Ok(pairs(sql)?.iter().map(both).collect()),
            _ => Ok::<_, String>(Vec::new()),
        };
        let (still_running, problems, copied) =
            (since(STILL_RUNNING)?, since(PROBLEMS)?, since(copied)?);
        Some(Content {
            version,
            still_running,
            problems,
            copied,
            agents: pairs(agents)?.iter().map(both).collect(),
            overdue: pairs(&overdue)?.iter().map(both).collect(),
            waiting: pairs(waiting)?
                .iter()
                .map(|row| (row.get(0), row.get(1)))
                .collect(),
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
