//! Receives the changes of other servers and of people with psql. One thread with its own
//! connection passes them to the listener.
//!
//! Changes that arrive together are passed on together, each change once. Notifications sent while
//! the connection is down are lost, so each new connection counts as "anything may have changed".

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio_postgres::Notification;

use super::connection::{ConnectionError, PgConnection};
use super::endpoint::Endpoint;
use super::payload::{CHANNEL, OwnPids, change_of};
use crate::store::{Change, Listener};
use crate::tasks::TASKS;

/// How often the thread checks whether it must stop.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// How often a quiet connection is tested.
const TEST_INTERVAL: Duration = Duration::from_secs(5);
/// First and longest pause between attempts to connect.
const RETRY: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

const NAME: &str = "store-listen";

pub(super) fn start(
    endpoint: Endpoint,
    own: Arc<OwnPids>,
    listener: Listener,
    stop: Arc<AtomicBool>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(NAME.to_owned())
        .spawn(move || {
            let thread = ListenerThread {
                own,
                listener,
                stop,
            };
            TASKS.keep_thread(NAME, || thread.run(&endpoint));
        })
}

struct ListenerThread {
    own: Arc<OwnPids>,
    listener: Listener,
    stop: Arc<AtomicBool>,
}

impl ListenerThread {
    fn must_stop(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn run(&self, endpoint: &Endpoint) {
        let mut pause = RETRY[0];
        while !self.must_stop() {
            let listened = connect(endpoint).and_then(|connection| {
                pause = RETRY[0];
                self.listen(connection)
            });
            let Err(error) = listened else {
                return;
            };
            if self.must_stop() {
                return;
            }
            tracing::warn!(%error, "can't receive changes of other servers; connecting again");
            std::thread::sleep(pause);
            pause = (pause * 2).min(RETRY[1]);
        }
    }

    /// Passes changes on until the connection is lost or the server shuts down.
    fn listen(&self, mut connection: PgConnection) -> Result<(), ConnectionError> {
        (self.listener)(&[Change::Foreign]);
        let mut tested = Instant::now();
        while !self.must_stop() {
            let changes = self.changes_of(&connection.listen(STOP_CHECK_INTERVAL)?);
            if !changes.is_empty() {
                (self.listener)(&changes);
            }
            if tested.elapsed() >= TEST_INTERVAL {
                connection.run("SELECT 1")?;
                tested = Instant::now();
            }
        }
        Ok(())
    }

    /// Returns the changes of others, each change once.
    fn changes_of(&self, notifications: &[Notification]) -> Vec<Change> {
        let mut seen = HashSet::new();
        let mut changes = Vec::new();
        for notification in notifications {
            if self.own.locked().contains(&notification.process_id()) {
                continue;
            }
            for line in notification.payload().lines() {
                if seen.insert(line) {
                    changes.push(change_of(line));
                }
            }
        }
        changes
    }
}

fn connect(endpoint: &Endpoint) -> Result<PgConnection, ConnectionError> {
    let mut connection = PgConnection::open(endpoint)?;
    connection.run(&format!("SET statement_timeout = '10s'; LISTEN {CHANNEL}"))?;
    Ok(connection)
}
