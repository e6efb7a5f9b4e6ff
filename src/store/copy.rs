//! Copies of a whole SQLite database: taken while a server writes to it, and checked before one
//! replaces the database.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::migrate;

/// Pages copied in one step (1 MB). The copy can be cancelled between two steps.
const STEP_PAGES: i32 = 256;
/// Steps between two fsyncs of the copy. Too many unwritten pages would delay the server's own
/// fsyncs.
const STEPS_A_SYNC: u32 = 8;
/// How long another program may hold the database's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// At most so many faults of a damaged database are reported.
const FAULTS_MAX: usize = 5;

/// Why a copy failed.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The caller cancelled the copy.
    #[error("the copy was cancelled")]
    Cancelled,
    /// The database can't be read, or the copy can't be written.
    #[error("{0}")]
    Failed(String),
}

impl From<rusqlite::Error> for CopyError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<std::io::Error> for CopyError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Copies the database `from` to the empty file `to`, in its state at one moment soon after the
/// call, including everything committed before. When this returns, `to` is a single file without a
/// log, checked and fsynced.
///
/// One read transaction spans all steps. Without it SQLite would start again after each commit and
/// never finish under load. Writers don't wait for the copy, but their log grows until it ends.
pub fn copy(from: &Path, to: &Path, go_on: &dyn Fn() -> bool) -> Result<(), CopyError> {
    let source = open_to_read(from)?;
    source.execute_batch("BEGIN")?;
    source.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let mut target = Connection::open_with_flags(
        to,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    // An unfinished copy is deleted, so it needs no journal.
    target.execute_batch("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;")?;
    let file = File::options().write(true).open(to)?;
    let backup = Backup::new(&source, &mut target)?;
    let mut steps = 0_u32;
    loop {
        if !go_on() {
            return Err(CopyError::Cancelled);
        }
        match backup.step(STEP_PAGES)? {
            StepResult::Done => break,
            StepResult::More => steps += 1,
            // Somebody writes to a database that is not in WAL mode. The next step tries again.
            StepResult::Busy | StepResult::Locked | _ => {
                std::thread::sleep(Duration::from_millis(10))
            }
        }
        if steps.is_multiple_of(STEPS_A_SYNC) {
            file.sync_data()?;
        }
    }
    drop(backup);
    // The copy has the source's journal mode, which would create a log as soon as somebody reads
    // the copy.
    target.execute_batch("PRAGMA journal_mode=DELETE;")?;
    let found = faults(&target, "quick_check")?;
    if !found.is_empty() {
        return Err(CopyError::Failed(format!(
            "the database is damaged: {}",
            found.join("; ")
        )));
    }
    target.close().map_err(|(_, error)| error)?;
    file.sync_all()?;
    Ok(())
}

/// Checks a file that will become the database: it must be a HyprBox database, not from a newer
/// version, and sound. Returns the schema's version.
pub fn inspect(path: &Path) -> Result<i64, String> {
    let shown = path.display();
    let about = std::fs::metadata(path).map_err(|error| format!("can't read {shown}: {error}"))?;
    if about.len() == 0 {
        return Err(format!("{shown} is empty"));
    }
    migrate::refuse_foreign_file(path).map_err(|error| error.to_string())?;
    let cant = |error: rusqlite::Error| format!("can't read {shown}: {error}");
    let connection = open_to_read(path).map_err(cant)?;
    migrate::refuse_newer(&connection, path).map_err(|error| error.to_string())?;
    let mut found = faults(&connection, "integrity_check").map_err(cant)?;
    if found.is_empty() {
        found = dangling(&connection).map_err(cant)?;
    }
    if !found.is_empty() {
        return Err(format!("{shown} is damaged: {}", found.join("; ")));
    }
    connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(cant)
}

/// Moves the log of a database into it. This may fail for a damaged database.
pub fn merge_log(database: &Path) {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let merged = Connection::open_with_flags(database, flags)
        .and_then(|connection| connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);"));
    if let Err(error) = merged {
        tracing::debug!(%error, "can't move the log into the database");
    }
}

pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Returns what `integrity_check` or `quick_check` reports; nothing for a sound database.
pub(super) fn faults(connection: &Connection, check: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA {check}({FAULTS_MAX})"))?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
    let texts: Vec<String> = lines.collect::<Result<_, _>>()?;
    // One text may contain several faults, one per line, after a heading in asterisks.
    let lines = texts.iter().flat_map(|text| text.lines());
    let faults = lines.filter(|line| !line.is_empty() && !line.starts_with("***") && *line != "ok");
    Ok(faults.map(str::to_owned).take(FAULTS_MAX).collect())
}

fn dangling(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
    let rows = statement.query_map([], |row| {
        let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
        Ok(format!(
            "a row of {table} refers to a missing row of {parent}"
        ))
    })?;
    rows.take(FAULTS_MAX).collect()
}
