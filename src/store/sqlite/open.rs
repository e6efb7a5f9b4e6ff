//! Opens the connections to an SQLite file.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::store::{OpenError, migrate};

/// Connections for readers. More would only cost memory, since reading is bound by the processor.
const READERS: u32 = 6;
/// How long another program may hold the lock before a statement fails.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) type Pool = r2d2::Pool<SqliteConnectionManager>;

/// Opens the writing connection; creates or upgrades the database if needed.
pub(super) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    let cant = |error: rusqlite::Error| migrate::cant_open(path, &error);
    migrate::refuse_foreign_file(path)?;
    create_private(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(cant)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(cant)?;
    migrate::refuse_newer(&connection, path)?;
    connection
        .execute_batch(
            // auto_vacuum takes effect only in an empty file.
            "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;
             PRAGMA wal_autocheckpoint=0; PRAGMA secure_delete=FAST; PRAGMA cache_size=-4096;",
        )
        .map_err(cant)?;
    connection.set_prepared_statement_cache_capacity(128);
    keep_plans(&connection).map_err(cant)?;
    migrate::upgrade(&mut connection, path)?;
    drop_statistics(&connection).map_err(cant)?;
    Ok(connection)
}

/// Deletes the planner's statistics. Those of a nearly empty database, which a server took when it
/// stopped on its first day, made SQLite read all jobs for one once there were many. Without any,
/// the plans are always those that the tests check.
fn drop_statistics(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .execute_batch("DROP TABLE IF EXISTS sqlite_stat1; DROP TABLE IF EXISTS sqlite_stat4;")
}

/// Makes SQLite plan statements without regard to bound values. Otherwise it prepares statements
/// such as the claim again at each call, since the bound values differ.
fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map(drop)
}

/// Creates the file before SQLite does, readable only by its owner, since it contains hashes and
/// output. SQLite gives its log the same mode.
fn create_private(path: &Path) -> Result<(), OpenError> {
    let created = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match created {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(OpenError(format!(
            "can't create the database {}: {error}",
            path.display()
        ))),
    }
}

/// Opens the pool of read-only connections.
pub(super) fn open_readers(path: &Path) -> Result<Pool, OpenError> {
    let manager = SqliteConnectionManager::file(path)
        .with_flags(OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .with_init(|connection| {
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.set_prepared_statement_cache_capacity(64);
            keep_plans(connection)?;
            connection.execute_batch("PRAGMA cache_size=-1024;")
        });
    r2d2::Pool::builder()
        .max_size(READERS)
        .min_idle(Some(1))
        .test_on_check_out(false)
        .connection_timeout(Duration::from_secs(5))
        .build(manager)
        .map_err(|error| {
            OpenError(format!(
                "can't open the database {}: {error}",
                path.display()
            ))
        })
}
