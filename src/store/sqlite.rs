//! SQLite: a pool of read-only connections, and one thread that owns the only writing connection.
//!
//! Writes that wait are drained into one `BEGIN IMMEDIATE … COMMIT`, each in a savepoint of its
//! own, and answered after the commit: with `synchronous=FULL` one fsync then serves many, and no
//! writer ever meets `SQLITE_BUSY` from another (docs/decisions/0002-one-writer.md has the
//! figures).

mod checkpoint;

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, params_from_iter};

use self::checkpoint::{Checkpointer, Log};
use super::{Change, Listener, OpenError, Row, Statement, StoreError, Tx, Value, migrate};
use crate::tasks::TASKS;

/// Writes that share one commit at the most.
const GROUP: usize = 64;
/// Writes that may wait; one more is [`StoreError::Busy`].
const QUEUE: usize = 2_048;
/// Connections for readers. More than this only adds memory: the work is on the processor.
const READERS: u32 = 6;
/// How long another program may hold the lock before a write gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);
/// Pages of log past which the writer itself checkpoints, so that the log can't outrun the
/// checkpointer: 64 MB.
const LOG_PAGES_MAX: i64 = 16_384;
/// Between two looks at how long the log is; a disk writes some MB in that time.
const LOG_LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long the writer then waits for readers. One that stays (an operator's shell, a backup) must
/// not hold up every write.
const RESTART_PATIENCE: Duration = Duration::from_millis(50);
/// After such a wait in vain, how long until the next one.
const RESTART_AGAIN: Duration = Duration::from_secs(1);
/// How long the last checkpoint may wait for readers when the server goes down; what is left is
/// read at the next start.
const CLOSE_PATIENCE: Duration = Duration::from_millis(300);
/// How often the writer looks for commits of other programs.
const FOREIGN_EVERY: Duration = Duration::from_secs(1);

type Pool = r2d2::Pool<SqliteConnectionManager>;

/// An open SQLite database.
pub(super) struct Sqlite {
    readers: Pool,
    queue: Mutex<Option<SyncSender<Box<dyn Write>>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A write on its way through the writer's thread, whatever its result's type.
pub(super) trait Write: Send {
    /// Does the work; false when it is to be undone.
    fn run(&mut self, tx: &mut dyn Tx) -> bool;
    /// Sends the answer: the work's own, or the commit's error.
    fn answer(self: Box<Self>, commit: Result<(), StoreError>);
}

struct WriteOf<F, T, E> {
    work: Option<F>,
    result: Option<Result<T, E>>,
    answer: tokio::sync::oneshot::Sender<Result<T, E>>,
}

/// Wraps `work` for the queue; its result goes to `answer`.
pub(super) fn write_of<T, E>(
    work: impl FnOnce(&mut dyn Tx) -> Result<T, E> + Send + 'static,
    answer: tokio::sync::oneshot::Sender<Result<T, E>>,
) -> Box<dyn Write>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    Box::new(WriteOf {
        work: Some(work),
        result: None,
        answer,
    })
}

impl<F, T, E> Write for WriteOf<F, T, E>
where
    F: FnOnce(&mut dyn Tx) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run(&mut self, tx: &mut dyn Tx) -> bool {
        let Some(work) = self.work.take() else {
            return false;
        };
        // A panic must cost its own caller an error, not every caller the writer.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(tx)));
        let result = outcome
            .unwrap_or_else(|_| Err(StoreError::Statement("a write panicked".to_owned()).into()));
        let keep = result.is_ok();
        self.result = Some(result);
        keep
    }

    fn answer(self: Box<Self>, commit: Result<(), StoreError>) {
        let result = match (commit, self.result) {
            (Ok(()), Some(result)) => result,
            // What failed by itself keeps its own words; what hoped for the commit learns of it.
            (Err(_), Some(Err(own))) => Err(own),
            (Err(error), Some(Ok(_)) | None) => Err(error.into()),
            (Ok(()), None) => Err(StoreError::Stopping.into()),
        };
        // The caller may have gone; what was committed stays committed.
        let _gone = self.answer.send(result);
    }
}

const WRITER: &str = "store-writer";
const CHECKPOINT: &str = "store-checkpoint";

impl Sqlite {
    pub(super) fn open(path: &Path, listener: Listener) -> Result<Self, OpenError> {
        let writer = open_writer(path)?;
        let readers = open_readers(path)?;
        let (queue, waiting) = sync_channel(QUEUE);
        let checkpointer = Checkpointer::open(path)?;
        let log = checkpointer.log();
        let threads = vec![
            spawn(WRITER, move || {
                TASKS.run_thread(WRITER, || {
                    write_loop(writer, &waiting, &listener, &log);
                });
            })?,
            spawn(CHECKPOINT, move || {
                TASKS.keep_thread(CHECKPOINT, || checkpointer.run());
            })?,
        ];
        Ok(Self {
            readers,
            queue: Mutex::new(Some(queue)),
            threads: Mutex::new(threads),
        })
    }

    pub(super) fn read<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&mut dyn Tx) -> Result<T, E>,
    ) -> Result<T, E> {
        let connection = self.readers.get().map_err(|_| StoreError::Busy)?;
        run_cached(&connection, "BEGIN")?;
        let outcome = work(&mut SqliteTx {
            connection: &connection,
            notes: Vec::new(),
        });
        // A failed end of a read changes nothing that the caller was told.
        if run_cached(&connection, "COMMIT").is_err() {
            run_cached(&connection, "ROLLBACK")?;
        }
        outcome
    }

    pub(super) fn enqueue(&self, write: Box<dyn Write>) -> Result<(), StoreError> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else {
            return Err(StoreError::Stopping);
        };
        queue.try_send(write).map_err(|refused| match refused {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Stopping,
        })
    }

    pub(super) fn close(&self) {
        // The writer's loop ends when the queue's last sender is gone and it has drained what
        // waits.
        drop(
            self.queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(512 * 1024)
        .spawn(work)
        .map_err(|error| OpenError(format!("can't start the thread {name}: {error}")))
}

fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    let cant = |error: rusqlite::Error| migrate::cant_open(path, &error);
    migrate::refuse_foreign_file(path)?;
    make_private(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(cant)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(cant)?;
    migrate::refuse_newer(&connection, path)?;
    connection
        .execute_batch(
            // The first takes effect in a fresh file alone, and before anything is in it.
            "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;
             PRAGMA wal_autocheckpoint=0; PRAGMA secure_delete=FAST; PRAGMA cache_size=-4096;",
        )
        .map_err(cant)?;
    connection.set_prepared_statement_cache_capacity(128);
    keep_plans(&connection).map_err(cant)?;
    migrate::bring_up_to_date(&mut connection, path)?;
    Ok(connection)
}

/// Lets a statement be planned by its words alone, and stay as it was prepared. SQLite would
/// otherwise ask what is bound to it, too, and prepare the claim and others like it anew whenever
/// that is another value: at each call.
fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map(drop)
}

/// Makes the file before SQLite does, for its owner alone: hashes and output are in it. Its log
/// takes over the mode.
fn make_private(path: &Path) -> Result<(), OpenError> {
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(OpenError(format!(
            "can't make the database {}: {error}",
            path.display()
        ))),
    }
}

fn open_readers(path: &Path) -> Result<Pool, OpenError> {
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

fn write_loop(
    connection: Connection,
    waiting: &Receiver<Box<dyn Write>>,
    listener: &Listener,
    log: &Log,
) {
    let mut version = data_version(&connection);
    let mut look_from = Instant::now();
    loop {
        match waiting.recv_timeout(FOREIGN_EVERY) {
            Ok(first) => {
                write_group(&connection, first, waiting, listener);
                log.has_news();
                bound_the_log(&connection, &mut look_from);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        // It moves for other programs' commits alone, as this connection is the only writer in
        // here.
        let seen = data_version(&connection);
        if seen != version {
            version = seen;
            log.has_news();
            listener(&[Change::Foreign]);
        }
    }
    let last = connection.busy_timeout(CLOSE_PATIENCE).and_then(|()| {
        connection.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE);")
    });
    if let Err(error) = last {
        tracing::warn!(%error, "the last checkpoint failed; the log stays beside the database and is read at the next start");
    }
}

fn data_version(connection: &Connection) -> Option<i64> {
    connection
        .prepare_cached("PRAGMA data_version")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .ok()
}

fn write_group(
    connection: &Connection,
    first: Box<dyn Write>,
    waiting: &Receiver<Box<dyn Write>>,
    listener: &Listener,
) {
    let mut done = Vec::with_capacity(GROUP);
    if let Err(error) = run_cached(connection, "BEGIN IMMEDIATE") {
        // Another program holds the lock. Those who wait have waited as long as the first: one
        // after the other, each with a patience of its own, they would wait for minutes.
        first.answer(Err(error.clone()));
        for write in waiting.try_iter().take(QUEUE) {
            write.answer(Err(error.clone()));
        }
        return;
    }
    let mut notes = Vec::new();
    let mut next = Some(first);
    while let Some(mut write) = next.take() {
        run_one(connection, write.as_mut(), &mut notes);
        done.push(write);
        // A full disk may end the whole transaction; what came next would then commit by itself,
        // unseen.
        if done.len() < GROUP && !connection.is_autocommit() {
            next = waiting.try_recv().ok();
        }
    }
    let commit = commit_group(connection);
    if commit.is_ok() && !notes.is_empty() {
        listener(&notes);
    }
    for write in done {
        write.answer(commit.clone());
    }
}

fn commit_group(connection: &Connection) -> Result<(), StoreError> {
    if connection.is_autocommit() {
        return Err(StoreError::Full);
    }
    let commit = run_cached(connection, "COMMIT");
    if commit.is_err()
        && !connection.is_autocommit()
        && let Err(error) = run_cached(connection, "ROLLBACK")
    {
        tracing::error!(%error, "a failed commit could not be rolled back");
    }
    commit
}

/// Runs one write in its savepoint.
fn run_one(connection: &Connection, write: &mut dyn Write, notes: &mut Vec<Change>) {
    if run_cached(connection, "SAVEPOINT one").is_err() {
        return;
    }
    let mut tx = SqliteTx {
        connection,
        notes: Vec::new(),
    };
    let end = if write.run(&mut tx) {
        notes.append(&mut tx.notes);
        "RELEASE one"
    } else {
        "ROLLBACK TO one"
    };
    if !connection.is_autocommit()
        && let Err(error) = run_cached(connection, end)
    {
        tracing::error!(%error, "a savepoint could not be ended");
    }
}

/// Keeps the log from growing for ever under a load that the checkpointer can't keep up with; not
/// before `look_from`.
fn bound_the_log(connection: &Connection, look_from: &mut Instant) {
    if Instant::now() < *look_from {
        return;
    }
    let pages = connection
        .prepare_cached("PRAGMA wal_checkpoint(NOOP)")
        .and_then(|mut statement| statement.query_row([], |row| row.get::<_, i64>(1)))
        .unwrap_or(0);
    if pages <= LOG_PAGES_MAX {
        *look_from = Instant::now() + LOG_LOOK_EVERY;
        return;
    }
    match restart_the_log(connection) {
        Ok(true) => {}
        Ok(false) => *look_from = Instant::now() + RESTART_AGAIN,
        Err(error) => {
            tracing::debug!(%error, "the log could not be restarted");
            *look_from = Instant::now() + RESTART_AGAIN;
        }
    }
}

/// False where a reader kept the log from being restarted.
fn restart_the_log(connection: &Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(RESTART_PATIENCE)?;
    let restarted = connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| {
        Ok(row.get::<_, i64>(0)? == 0)
    });
    connection.busy_timeout(BUSY_TIMEOUT)?;
    restarted
}

fn run_cached(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute([]))
        .map(|_| ())
        .map_err(|error| store_error(&error))
}

struct SqliteTx<'c> {
    connection: &'c Connection,
    notes: Vec<Change>,
}

impl Tx for SqliteTx<'_> {
    fn query(&mut self, statement: &Statement, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        let wrong = |error: rusqlite::Error| store_error(&error);
        let mut prepared = self
            .connection
            .prepare_cached(statement.for_sqlite())
            .map_err(wrong)?;
        let columns = prepared.column_count();
        let mut rows = prepared.query(params_from_iter(params)).map_err(wrong)?;
        let mut out = Vec::new();
        while let Some(row) = rows.next().map_err(wrong)? {
            let values: Result<Vec<Value>, rusqlite::Error> = (0..columns)
                .map(|column| row.get_ref(column).map(value_of))
                .collect();
            out.push(Row::new(values.map_err(wrong)?));
        }
        Ok(out)
    }

    fn execute(&mut self, statement: &Statement, params: &[Value]) -> Result<u64, StoreError> {
        self.connection
            .prepare_cached(statement.for_sqlite())
            .and_then(|mut prepared| prepared.execute(params_from_iter(params)))
            .map(|changed| changed as u64)
            .map_err(|error| store_error(&error))
    }

    fn note(&mut self, change: Change) {
        self.notes.push(change);
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Value::Int(int) => ToSqlOutput::Borrowed(ValueRef::Integer(*int)),
            Value::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Value::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Value::Time(at) => ToSqlOutput::Owned(at.to_string().into()),
        })
    }
}

fn value_of(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(int) => Value::Int(int),
        // No column is REAL; a number typed by hand that is one is read as whole.
        ValueRef::Real(real) => Value::Int(real as i64),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    }
}

fn store_error(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy,
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(
            ErrorCode::ReadOnly
            | ErrorCode::CannotOpen
            | ErrorCode::SystemIoFailure
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::PermissionDenied,
        ) => StoreError::Unusable(error.to_string()),
        _ => StoreError::Statement(error.to_string()),
    }
}
