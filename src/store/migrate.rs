//! Creates the SQLite schema, or upgrades it from an older version in one transaction, after
//! copying the file.

use std::io::Read;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::OpenError;

/// The schema version that this program reads and writes.
pub const SCHEMA_VERSION: i64 = 16;

/// The whole schema, for a new database.
pub(super) const SCHEMA: &str = include_str!("../../schema.sql");

/// Views and triggers, which contain no data and are recreated at each start. Each kind of database
/// has its own file.
const DERIVED: &str = include_str!("sql/derived.sqlite.sql");

/// The steps from an older version: the version that a step leads to, and its SQL
/// (migrations/NNNN_what.sql).
const MIGRATIONS: &[(i64, &str)] = &[
    (2, LINES_AND_PIDS),
    (3, ENROLMENTS),
    (4, RUNNING_BY_INSTANCE),
    (5, HARDENING),
    (6, FLEET),
    (7, STEP_TIMES),
    (8, SAVED_PRESETS),
    (9, SIGNED_JOBS),
    (10, NODE_STATUS_CHANGES),
    (11, SCHEDULES),
    (12, STANDING_ENVELOPES),
    (13, NOTIFICATIONS),
    (14, PROOF),
    (15, COMMIT_CONFIRM),
    (16, DRIFT),
];
/// To version 2, on either database.
pub(super) const LINES_AND_PIDS: &str = include_str!("migrations/0002_lines_and_pids.sql");
/// To version 3, on either database.
pub(super) const ENROLMENTS: &str = include_str!("migrations/0003_enrolments.sql");
/// To version 4, on either database.
pub(super) const RUNNING_BY_INSTANCE: &str =
    include_str!("migrations/0004_running_by_instance.sql");
/// To version 5, on either database.
pub(super) const HARDENING: &str = include_str!("migrations/0005_hardening.sql");
/// To version 6, on either database.
pub(super) const FLEET: &str = include_str!("migrations/0006_fleet.sql");
/// To version 7, on either database.
pub(super) const STEP_TIMES: &str = include_str!("migrations/0007_step_times.sql");
/// To version 8, on either database.
pub(super) const SAVED_PRESETS: &str = include_str!("migrations/0008_saved_presets.sql");
/// To version 9, on either database.
pub(super) const SIGNED_JOBS: &str = include_str!("migrations/0009_signed_jobs.sql");
/// To version 10, on either database.
pub(super) const NODE_STATUS_CHANGES: &str =
    include_str!("migrations/0010_node_status_changes.sql");
/// To version 11, on either database.
pub(super) const SCHEDULES: &str = include_str!("migrations/0011_schedules.sql");
/// To version 12, on either database.
pub(super) const STANDING_ENVELOPES: &str = include_str!("migrations/0012_standing_envelopes.sql");
/// To version 13, on either database.
pub(super) const NOTIFICATIONS: &str = include_str!("migrations/0013_notifications.sql");
/// To version 14, on either database.
pub(super) const PROOF: &str = include_str!("migrations/0014_proof.sql");
/// To version 15, on either database.
pub(super) const COMMIT_CONFIRM: &str = include_str!("migrations/0015_commit_confirm.sql");
/// To version 16, on either database.
pub(super) const DRIFT: &str = include_str!("migrations/0016_drift.sql");

/// Marks the file as a HyprBox database (`PRAGMA application_id`): "hbox".
const APPLICATION_ID: i64 = 0x6862_6f78;

/// Refuses an empty file if a database next to it shows that the file had contents.
fn refuse_truncated_file(path: &Path) -> Result<(), OpenError> {
    refuse_log(path)?;
    match path.parent() {
        Some(folder) => refuse_emptied(path, folder),
        None => Ok(()),
    }
}

/// Refuses an empty file if `folder`, which may hold its backups, has a database.
pub fn refuse_emptied(path: &Path, folder: &Path) -> Result<(), OpenError> {
    if !path.metadata().is_ok_and(|about| about.len() == 0) {
        return Ok(());
    }
    let Some(copy) = find_database(folder) else {
        return Ok(());
    };
    Err(OpenError(format!(
        "{} is empty, but {} is a database: restore it with `hyprbox restore --replace {}`, or remove the empty file to start with a new database",
        path.display(),
        copy.display(),
        copy.display()
    )))
}

/// Refuses a write-ahead log without its database, since opening the database would delete the log.
fn refuse_log(path: &Path) -> Result<(), OpenError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = Path::new(&log);
    if !log.metadata().is_ok_and(|about| about.len() > 0) {
        return Ok(());
    }
    Err(OpenError(format!(
        "{} is empty or missing, but its log {} exists: put the database back, restore a backup with `hyprbox restore --replace FILE`, or move the log away to start with a new database",
        path.display(),
        log.display()
    )))
}

/// Finds a database in a directory or one of its subdirectories.
fn find_database(folder: &Path) -> Option<std::path::PathBuf> {
    let files = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_database = |path: &Path| {
        let mut header = [0; 16];
        let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut header));
        read.is_ok() && &header == b"SQLite format 3\0"
    };
    files(folder)
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_file() => vec![entry.path()],
            Ok(kind) if kind.is_dir() => files(&entry.path()).map(|inner| inner.path()).collect(),
            _ => vec![],
        })
        .filter(|path| path.is_file())
        .find(|path| is_database(path))
}

/// Reads only the file's first bytes, before SQLite opens it, so that another program's file is not
/// changed.
pub(super) fn refuse_foreign_file(path: &Path) -> Result<(), OpenError> {
    let mut header = [0; 100];
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return refuse_log(path),
        Err(error) => {
            return Err(OpenError(format!(
                "can't read the database {}: {error}",
                path.display()
            )));
        }
    };
    let length = file.metadata().map_or(0, |about| about.len());
    if length == 0 {
        return refuse_truncated_file(path);
    }
    if file.read_exact(&mut header).is_err() || &header[..16] != b"SQLite format 3\0" {
        return Err(OpenError(format!(
            "{} is not a HyprBox database: move it away, or set HYPRBOX_DATABASE_URL to another file",
            path.display()
        )));
    }
    let number = |at: usize| {
        i64::from(u32::from_be_bytes([
            header[at],
            header[at + 1],
            header[at + 2],
            header[at + 3],
        ]))
    };
    refuse_version(path, number(60))
}

/// Checks again through SQLite, which also reads the log next to the file. Changes nothing.
pub(super) fn refuse_newer(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let wrong = |error: rusqlite::Error| cant_open(path, &error);
    let version = number("PRAGMA user_version").map_err(wrong)?;
    let tables = number("SELECT count(*) FROM sqlite_schema").map_err(wrong)?;
    let application = number("PRAGMA application_id").map_err(wrong)?;
    if tables > 0 && (version == 0 || application != APPLICATION_ID) {
        return Err(OpenError(format!(
            "{} is another program's database: set HYPRBOX_DATABASE_URL to another file",
            path.display()
        )));
    }
    refuse_version(path, version)
}

fn refuse_version(path: &Path, version: i64) -> Result<(), OpenError> {
    if version <= SCHEMA_VERSION {
        return Ok(());
    }
    Err(OpenError(format!(
        "{} is from a newer version of hyprbox (schema {version}, this one knows {SCHEMA_VERSION}): install that version or a later one",
        path.display()
    )))
}

/// Creates the schema or upgrades it.
pub(super) fn upgrade(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let wrong = |error: rusqlite::Error| cant_open(path, &error);
    let version: i64 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(wrong)?;
    if version > 0 && version < SCHEMA_VERSION {
        copy_before_upgrade(connection, path, version)?;
    }
    let transaction = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(wrong)?;
    if version == 0 {
        transaction.execute_batch(SCHEMA).map_err(wrong)?;
        transaction
            .pragma_update(None, "application_id", APPLICATION_ID)
            .map_err(wrong)?;
    } else {
        apply(&transaction, version, MIGRATIONS).map_err(wrong)?;
    }
    transaction.execute_batch(DERIVED).map_err(wrong)?;
    transaction
        .pragma_update(None, "user_version", SCHEMA_VERSION)
        .map_err(wrong)?;
    transaction.commit().map_err(wrong)
}

fn apply(connection: &Connection, from: i64, steps: &[(i64, &str)]) -> rusqlite::Result<()> {
    for (to, sql) in steps {
        if *to > from {
            tracing::info!(version = to, "upgrading the database");
            connection.execute_batch(sql)?;
        }
    }
    Ok(())
}

fn copy_before_upgrade(
    connection: &Connection,
    path: &Path,
    version: i64,
) -> Result<(), OpenError> {
    let copy = backup_path(path, version);
    if copy.exists() {
        // An interrupted upgrade left this copy, which is the older state.
        return Ok(());
    }
    connection
        .execute("VACUUM INTO ?1", [copy.to_string_lossy()])
        .map_err(|error| {
            OpenError(format!(
                "can't copy the database to {} before the upgrade: {error}",
                copy.display()
            ))
        })?;
    tracing::info!(copy = %copy.display(), "copied the database before the upgrade");
    Ok(())
}

pub(super) fn cant_open(path: &Path, error: &rusqlite::Error) -> OpenError {
    OpenError(format!(
        "can't open the database {}: {error}",
        path.display()
    ))
}

/// The path of the copy made before an upgrade from `version`.
fn backup_path(path: &Path, version: i64) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".before-upgrade-from-{version}"));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_newer_steps_run_in_order() {
        let connection = Connection::open_in_memory().expect("opens");
        let steps = [
            (1, "CREATE TABLE wrong (id TEXT)"),
            (2, "CREATE TABLE things (id TEXT)"),
            (3, "ALTER TABLE things ADD COLUMN size BIGINT"),
        ];
        apply(&connection, 1, &steps).expect("applies");
        connection
            .execute("INSERT INTO things (id, size) VALUES ('a', 1)", [])
            .expect("both steps ran");
        assert!(
            connection.prepare("SELECT * FROM wrong").is_err(),
            "the step to the old version ran again"
        );
    }

    #[test]
    fn a_new_database_has_the_current_version_and_opens_again() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("hyprbox.db");
        for _ in 0..2 {
            refuse_foreign_file(&path).expect("ours");
            let mut connection = Connection::open(&path).expect("opens");
            refuse_newer(&connection, &path).expect("not newer");
            upgrade(&mut connection, &path).expect("up to date");
            let version: i64 = connection
                .query_row("PRAGMA user_version", [], |row| row.get(0))
                .expect("version");
            assert_eq!(version, SCHEMA_VERSION);
        }
    }
}
