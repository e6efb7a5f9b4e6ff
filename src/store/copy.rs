//! Whole copies of an SQLite database: taken while a server writes to it, and looked at before one
//! is put in its place.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::migrate;

/// Pages copied in one step: 1 MB, between two looks at whether to go on.
const STEP_PAGES: i32 = 256;
/// Steps between two fsyncs of the copy. A large heap of unwritten pages would make the server's
/// own fsyncs wait for it.
const STEPS_A_SYNC: u32 = 8;
/// How long another program may hold the database's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Faults that are told of a broken database.
const FAULTS_TOLD: usize = 5;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The caller did not want to go on.
    #[error("it was called off")]
    CalledOff,
    /// The database can't be read, or the copy not be written.
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

/// Copies the database `from` to the empty file `to`, as it is at one moment soon after the call:
/// what was committed before is in it. `to` is one file, without a log beside it, sound and on the
/// disk when this returns.
///
/// One read transaction spans all steps: without it a commit in between would make SQLite begin
/// again, for ever under load. Writers don't wait for it; their log grows meanwhile, and is moved
/// into the database afterwards.
pub fn copy(from: &Path, to: &Path, go_on: &dyn Fn() -> bool) -> Result<(), CopyError> {
    let source = open_to_read(from)?;
    source.execute_batch("BEGIN")?;
    source.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let mut target = Connection::open_with_flags(
        to,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    // A copy that breaks off is thrown away: it needs no journal.
    target.execute_batch("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;")?;
    let file = File::options().write(true).open(to)?;
    let backup = Backup::new(&source, &mut target)?;
    let mut steps = 0_u32;
    loop {
        if !go_on() {
            return Err(CopyError::CalledOff);
        }
        match backup.step(STEP_PAGES)? {
            StepResult::Done => break,
            StepResult::More => steps += 1,
            // Of a database that isn't in WAL mode, with somebody writing to it: the next step
            // tries again.
            StepResult::Busy | StepResult::Locked | _ => {
                std::thread::sleep(Duration::from_millis(10))
            }
        }
        if steps.is_multiple_of(STEPS_A_SYNC) {
            file.sync_data()?;
        }
    }
    drop(backup);
    // The copy has the source's mode of journal, which would lay a log beside it as soon as
    // somebody looks in.
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

/// Looks at a file that is to become the database: ours, not from a newer version, and sound. Gives
/// its schema's version.
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

/// Moves what stands in the log beside a database into it, as far as that goes: of a damaged one it
/// may not.
pub fn settle(database: &Path) {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let settled = Connection::open_with_flags(database, flags)
        .and_then(|connection| connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);"));
    if let Err(error) = settled {
        tracing::debug!(%error, "the log beside the database stays as it is");
    }
}

pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// What `integrity_check` or `quick_check` finds; nothing in a sound database.
pub(super) fn faults(connection: &Connection, check: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA {check}({FAULTS_TOLD})"))?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
    let texts: Vec<String> = lines.collect::<Result<_, _>>()?;
    // One text may hold several faults, a line each, after a heading in stars.
    let lines = texts.iter().flat_map(|text| text.lines());
    let faults = lines.filter(|line| !line.is_empty() && !line.starts_with("***") && *line != "ok");
    Ok(faults.map(str::to_owned).take(FAULTS_TOLD).collect())
}

fn dangling(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
    let rows = statement.query_map([], |row| {
        let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
        Ok(format!("a row of {table} belongs to no row of {parent}"))
    })?;
    rows.take(FAULTS_TOLD).collect()
}
