//! Moves the log into the database file, off the writer: a durable commit is then never held up by
//! it. It sleeps while nothing was written.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::OpenError;
use crate::store::migrate::cant_open;

/// How long after the first write the log is moved: one move for all that come meanwhile.
const AFTER: Duration = Duration::from_millis(100);

/// The writer's end: by it the checkpointer hears what to do, and by its drop that nothing comes
/// any more.
pub(super) struct Log(Arc<Signal>);

#[derive(Default)]
struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Something was written that may not have been moved yet.
    has_news: bool,
    stopping: bool,
}

impl Signal {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for news, as long as it takes. False when there will be none.
    fn next(&self) -> bool {
        let waits = |state: &mut State| !state.has_news && !state.stopping;
        let woken = self.changed.wait_while(self.state(), waits);
        let mut state = woken.unwrap_or_else(PoisonError::into_inner);
        state.has_news = false;
        !state.stopping
    }

    /// A pause, cut short where the writer stops.
    fn pause(&self) {
        let waits = |state: &mut State| !state.stopping;
        // Whether it stops is looked at next.
        let _woken = self.changed.wait_timeout_while(self.state(), AFTER, waits);
    }

    fn has_news(&self) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.has_news, true) {
            self.changed.notify_one();
        }
    }
}

impl Log {
    /// There is something to move.
    pub(super) fn has_news(&self) {
        self.0.has_news();
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.state().stopping = true;
        self.0.changed.notify_one();
    }
}

/// The connection that moves.
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
        // What an earlier run left.
        signal.has_news();
        Ok(Self { connection, signal })
    }

    /// For the writer.
    pub(super) fn log(&self) -> Log {
        Log(Arc::clone(&self.signal))
    }

    /// Moves until the writer's end is dropped.
    pub(super) fn run(&self) {
        while self.signal.next() {
            // First, as writes come together, and a sync of this one would hold up theirs.
            self.signal.pause();
            if !checkpoint(&self.connection) {
                self.signal.has_news();
            }
        }
    }
}

/// Moves what it can from the log; true when that is all of it. Busy is the ordinary case under
/// load, and the next tick goes on from there.
fn checkpoint(connection: &Connection) -> bool {
    let moved = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        Ok(row.get::<_, i64>(1)? == row.get::<_, i64>(2)?)
    });
    moved.unwrap_or_else(|error| {
        tracing::debug!(%error, "checkpoint put off");
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_pages(path: &Path) -> u64 {
        let log = path.with_extension("db-wal");
        log.metadata().map_or(0, |about| about.len())
    }

    /// Waits until all of the log was moved: the next commit then starts it anew.
    fn until_moved(connection: &Connection) {
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            let (log, moved) = connection
                .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| {
                    Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
                })
                .expect("asks");
            if log == moved {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{moved} of {log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A writer with a table in its log, and the checkpointer that moves it.
    fn running_over(path: &Path) -> (Connection, Log, std::thread::JoinHandle<()>) {
        let writer = Connection::open(path).expect("opens");
        writer
            .execute_batch(
                "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t (x)",
            )
            .expect("a table");
        let checkpointer = Checkpointer::open(path).expect("opens");
        let log = checkpointer.log();
        let running = std::thread::spawn(move || checkpointer.run());
        (writer, log, running)
    }

    #[test]
    fn what_was_written_is_moved_and_the_end_comes_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hyprbox.db");
        let (writer, log, running) = running_over(&path);
        // That of an earlier run, without a word from the writer.
        until_moved(&writer);
        for _ in 0..3 {
            writer
                .execute_batch("INSERT INTO t VALUES (1)")
                .expect("a row");
            log.has_news();
            until_moved(&writer);
        }
        assert!(log_pages(&path) > 0);
        drop(log);
        running.join().expect("no panic");
    }

    #[test]
    fn what_a_reader_keeps_from_being_moved_is_moved_once_it_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hyprbox.db");
        let (writer, log, running) = running_over(&path);
        until_moved(&writer);
        let reader = Connection::open(&path).expect("opens");
        reader
            .execute_batch("BEGIN; SELECT * FROM t")
            .expect("reads");
        writer
            .execute_batch("INSERT INTO t VALUES (1)")
            .expect("a row");
        log.has_news();
        // Longer than a look takes: it must come again by itself.
        std::thread::sleep(3 * AFTER);
        reader.execute_batch("COMMIT").expect("ends");
        until_moved(&writer);
        drop(log);
        running.join().expect("no panic");
    }
}
