//! SQLite: a pool of read-only connections, and one thread that owns the only writing connection.
//!
//! The thread runs all waiting writes in one `BEGIN IMMEDIATE … COMMIT`, each in its own savepoint,
//! and returns their results after the commit. With `synchronous=FULL` one fsync then serves many
//! writes, and no write gets `SQLITE_BUSY` because of another one
//! (docs/decisions/0001-one-writer.md has the figures).

mod checkpoint;
mod open;
mod transaction;

use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use self::checkpoint::{CheckpointSignal, Checkpointer};
use self::open::{BUSY_TIMEOUT, Pool, open_readers, open_writer};
pub(super) use self::transaction::SqliteTx;
use self::transaction::{Effects, run_cached};
use super::{Change, Listener, OpenError, StoreError, Tx};
use crate::tasks::TASKS;

/// At most so many writes share one commit.
const GROUP: usize = 64;
/// Writes that may wait; one more is [`StoreError::Busy`].
const QUEUE: usize = 2_048;
/// If the log has more pages than this (64 MB), the writer checkpoints it itself, so that the log
/// can't outgrow the checkpointer.
const LOG_PAGES_MAX: i64 = 16_384;
/// Time between two checks of the log's size. A disk writes some megabytes in that time.
const LOG_CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// How long the writer's own checkpoint waits for readers. A long reader (an operator's shell, a
/// backup) must not delay every write.
const RESTART_TIMEOUT: Duration = Duration::from_millis(50);
/// Pause after a checkpoint that waited for readers in vain.
const RESTART_RETRY: Duration = Duration::from_secs(1);
/// How long the last checkpoint may wait for readers at shutdown. The next start reads the rest of
/// the log.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(300);
/// How often the writer checks for commits of other programs.
const FOREIGN_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// An open SQLite database.
pub(super) struct Sqlite {
    readers: Pool,
    queue: Mutex<Option<SyncSender<Box<dyn Write>>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A queued write, independent of its result's type.
pub(super) trait Write: Send {
    /// Does the work; false if its changes must be rolled back.
    fn run(&mut self, tx: &mut dyn Tx) -> bool;
    /// Sends the work's result to the caller, or the error of the commit.
    fn finish(self: Box<Self>, commit: Result<(), StoreError>);
}

struct QueuedWrite<F, T, E> {
    work: Option<F>,
    result: Option<Result<T, E>>,
    caller: tokio::sync::oneshot::Sender<Result<T, E>>,
}

/// Wraps `work` for the queue. Its result is sent to `caller`.
pub(super) fn queued_write<T, E>(
    work: impl FnOnce(&mut dyn Tx) -> Result<T, E> + Send + 'static,
    caller: tokio::sync::oneshot::Sender<Result<T, E>>,
) -> Box<dyn Write>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    Box::new(QueuedWrite {
        work: Some(work),
        result: None,
        caller,
    })
}

impl<F, T, E> Write for QueuedWrite<F, T, E>
where
    F: FnOnce(&mut dyn Tx) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run(&mut self, tx: &mut dyn Tx) -> bool {
        let Some(work) = self.work.take() else {
            return false;
        };
        // A panic must fail only this write and not end the writer's thread.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(tx)));
        let result = outcome
            .unwrap_or_else(|_| Err(StoreError::Statement("a write panicked".to_owned()).into()));
        let keep = result.is_ok();
        self.result = Some(result);
        keep
    }

    fn finish(self: Box<Self>, commit: Result<(), StoreError>) {
        let result = match (commit, self.result) {
            (Ok(()), Some(result)) => result,
            // A failed write keeps its own error; the others get the commit's error.
            (Err(_), Some(Err(own))) => Err(own),
            (Err(error), Some(Ok(_)) | None) => Err(error.into()),
            (Ok(()), None) => Err(StoreError::Stopping.into()),
        };
        // The caller may be gone. The write stays committed.
        let _caller_gone = self.caller.send(result);
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
        let signal = checkpointer.signal();
        let threads = vec![
            spawn(WRITER, move || {
                TASKS.run_thread(WRITER, || {
                    write_loop(writer, &waiting, &listener, &signal);
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
            effects: Effects::default(),
        });
        // The result stays valid even if the end of the read transaction fails.
        if run_cached(&connection, "COMMIT").is_err() {
            run_cached(&connection, "ROLLBACK")?;
        }
        outcome
    }

    pub(super) fn enqueue(&self, write: Box<dyn Write>) -> Result<(), StoreError> {
        let queue = crate::sync::lock(&self.queue);
        let Some(queue) = queue.as_ref() else {
            return Err(StoreError::Stopping);
        };
        queue.try_send(write).map_err(|refused| match refused {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Stopping,
        })
    }

    pub(super) fn close(&self) {
        // The writer's thread ends when the last sender is dropped and the queue is empty.
        drop(crate::sync::lock(&self.queue).take());
        let mut threads = crate::sync::lock(&self.threads);
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

fn write_loop(
    connection: Connection,
    waiting: &Receiver<Box<dyn Write>>,
    listener: &Listener,
    checkpoint: &CheckpointSignal,
) {
    let mut version = data_version(&connection);
    let mut check_after = Instant::now();
    loop {
        match waiting.recv_timeout(FOREIGN_CHECK_INTERVAL) {
            Ok(first) => {
                write_group(&connection, first, waiting, listener);
                checkpoint.request();
                limit_log(&connection, &mut check_after);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        // The version changes only when other programs commit, since this connection is the
        // server's only writer.
        let seen = data_version(&connection);
        if seen != version {
            version = seen;
            checkpoint.request();
            listener(&[Change::Foreign]);
        }
    }
    let last = connection
        .busy_timeout(CLOSE_TIMEOUT)
        .and_then(|()| connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);"));
    if let Err(error) = last {
        tracing::warn!(%error, "the last checkpoint failed; the log stays next to the database and is read at the next start");
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
        // Another program holds the lock. All waiting writes fail now: if each one waited for the
        // lock in turn, the last would wait for minutes.
        first.finish(Err(error.clone()));
        for write in waiting.try_iter().take(QUEUE) {
            write.finish(Err(error.clone()));
        }
        return;
    }
    let mut effects = Effects::default();
    let mut next = Some(first);
    while let Some(mut write) = next.take() {
        run_one(connection, write.as_mut(), &mut effects);
        done.push(write);
        // A full disk may have ended the whole transaction. Further writes would then commit on
        // their own.
        if done.len() < GROUP && !connection.is_autocommit() {
            next = waiting.try_recv().ok();
        }
    }
    let commit = commit_group(connection);
    if commit.is_ok() {
        effects.acts.into_iter().for_each(|act| act());
        if !effects.changes.is_empty() {
            listener(&effects.changes);
        }
    }
    for write in done {
        write.finish(commit.clone());
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
        tracing::error!(%error, "can't roll back a failed commit");
    }
    commit
}

/// Runs one write in its savepoint.
fn run_one(connection: &Connection, write: &mut dyn Write, effects: &mut Effects) {
    if run_cached(connection, "SAVEPOINT one").is_err() {
        return;
    }
    let mut tx = SqliteTx {
        connection,
        effects: Effects::default(),
    };
    let end = if write.run(&mut tx) {
        effects.changes.append(&mut tx.effects.changes);
        effects.acts.append(&mut tx.effects.acts);
        "RELEASE one"
    } else {
        "ROLLBACK TO one"
    };
    if !connection.is_autocommit()
        && let Err(error) = run_cached(connection, end)
    {
        tracing::error!(%error, "can't end a savepoint");
    }
}

/// Limits the log's size under a load that the checkpointer can't keep up with. Does nothing before
/// `check_after`.
fn limit_log(connection: &Connection, check_after: &mut Instant) {
    if Instant::now() < *check_after {
        return;
    }
    let pages = connection
        .prepare_cached("PRAGMA wal_checkpoint(NOOP)")
        .and_then(|mut statement| statement.query_row([], |row| row.get::<_, i64>(1)))
        .unwrap_or(0);
    if pages <= LOG_PAGES_MAX {
        *check_after = Instant::now() + LOG_CHECK_INTERVAL;
        return;
    }
    match restart_log(connection) {
        Ok(true) => {}
        Ok(false) => *check_after = Instant::now() + RESTART_RETRY,
        Err(error) => {
            tracing::debug!(%error, "can't restart the log");
            *check_after = Instant::now() + RESTART_RETRY;
        }
    }
}

/// Moves the whole log into the database; false if a reader prevented it.
fn restart_log(connection: &Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(RESTART_TIMEOUT)?;
    let restarted = connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| {
        Ok(row.get::<_, i64>(0)? == 0)
    });
    connection.busy_timeout(BUSY_TIMEOUT)?;
    restarted
}
