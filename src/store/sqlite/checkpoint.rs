//! Moves the log into the database file on its own thread, so that it never delays a commit. The
//! thread sleeps until something is written.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::OpenError;
use crate::store::migrate::cant_open;

/// Time from the first write to the checkpoint, which covers all writes in between.
const DELAY: Duration = Duration::from_millis(100);

/// The writer's handle: requests checkpoints, and ends the checkpointer on drop.
pub(super) struct CheckpointSignal(Arc<Signal>);

#[derive(Default)]
struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Something was written since the last checkpoint.
    requested: bool,
    stopping: bool,
}

impl Signal {
    fn state(&self) -> MutexGuard<'_, State> {
        crate::sync::lock(&self.state)
    }

    /// Waits for a request; false if the writer stops.
    fn next(&self) -> bool {
        let waits = |state: &mut State| !state.requested && !state.stopping;
        let woken = self.changed.wait_while(self.state(), waits);
        let mut state = woken.unwrap_or_else(PoisonError::into_inner);
        state.requested = false;
        !state.stopping
    }

    /// Pauses for [`DELAY`], or until the writer stops.
    fn pause(&self) {
        let waits = |state: &mut State| !state.stopping;
        // The next call of `next` finds out whether the writer stops.
        let _woken = self.changed.wait_timeout_while(self.state(), DELAY, waits);
    }

    fn request(&self) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.requested, true) {
            self.changed.notify_one();
        }
    }
}

impl CheckpointSignal {
    /// Requests a checkpoint.
    pub(super) fn request(&self) {
        self.0.request();
    }
}

impl Drop for CheckpointSignal {
    fn drop(&mut self) {
        self.0.state().stopping = true;
        self.0.changed.notify_one();
    }
}

/// The connection that runs the checkpoints.
pub(super) struct Checkpointer {
    connection: Connection,
    signal: Arc<Signal>,
}

impl Checkpointer {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(path, flags).map_err(|error| cant_open(path, &error))?;
        let signal = Arc::new(Signal::default());
        // An earlier run may have left a log.
        signal.request();
        Ok(Self { connection, signal })
    }

    /// Returns the writer's handle.
    pub(super) fn signal(&self) -> CheckpointSignal {
        CheckpointSignal(Arc::clone(&self.signal))
    }

    /// Runs checkpoints until the writer's handle is dropped.
    pub(super) fn run(&self) {
        while self.signal.next() {
            // Writes come in bursts, and the checkpoint's fsync would delay theirs.
            self.signal.pause();
            if !checkpoint(&self.connection) {
                self.signal.request();
            }
        }
    }
}

/// Moves as much of the log as possible; true if nothing is left. Under load a part usually stays
/// for the next checkpoint.
fn checkpoint(connection: &Connection) -> bool {
    let moved = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        Ok(row.get::<_, i64>(1)? == row.get::<_, i64>(2)?)
    });
    moved.unwrap_or_else(|error| {
        tracing::debug!(%error, "checkpoint failed; trying again");
        false
    })
}

#[cfg(test)]
mod tests {
    use hyprbox_testkit::eventually;

    use super::*;

    fn log_pages(path: &Path) -> u64 {
        let log = path.with_extension("db-wal");
        log.metadata().map_or(0, |about| about.len())
    }

    /// The pages in the log, and how many of them were moved.
    fn progress(connection: &Connection) -> (i64, i64) {
        let read = connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| {
            Ok((row.get(1)?, row.get(2)?))
        });
        read.expect("a result")
    }

    /// Waits until the whole log was moved. The next commit then starts the log from the beginning.
    fn wait_until_moved(connection: &Connection) {
        eventually("the whole log to be moved", || {
            let (log, moved) = progress(connection);
            (log == moved).then_some(())
        });
    }

    /// Starts a checkpointer and a writer that has a table in the log.
    fn start(path: &Path) -> (Connection, CheckpointSignal, std::thread::JoinHandle<()>) {
        let writer = Connection::open(path).expect("opens");
        writer
            .execute_batch(
                "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t (x)",
            )
            .expect("a table");
        let checkpointer = Checkpointer::open(path).expect("opens");
        let signal = checkpointer.signal();
        let running = std::thread::spawn(move || checkpointer.run());
        (writer, signal, running)
    }

    #[test]
    fn writes_are_moved_and_the_checkpointer_stops_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hyprbox.db");
        let (writer, signal, running) = start(&path);
        // The log of an earlier run is moved without a request.
        wait_until_moved(&writer);
        for _ in 0..3 {
            writer
                .execute_batch("INSERT INTO t VALUES (1)")
                .expect("a row");
            signal.request();
            wait_until_moved(&writer);
        }
        assert!(log_pages(&path) > 0);
        drop(signal);
        running.join().expect("no panic");
    }

    #[test]
    fn a_log_held_by_a_reader_is_moved_once_the_reader_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hyprbox.db");
        let (writer, signal, running) = start(&path);
        wait_until_moved(&writer);
        let insert = || {
            writer
                .execute_batch("INSERT INTO t VALUES (1)")
                .expect("a row");
        };
        insert();
        let reader = Connection::open(&path).expect("opens");
        reader
            .execute_batch("BEGIN; SELECT * FROM t")
            .expect("reads");
        insert();
        signal.request();
        eventually("the part before the reader's to be moved", || {
            let (log, moved) = progress(&writer);
            (0 < moved && moved < log).then_some(())
        });
        // It must be tried again without a request.
        reader.execute_batch("COMMIT").expect("ends");
        wait_until_moved(&writer);
        drop(signal);
        running.join().expect("no panic");
    }
}
