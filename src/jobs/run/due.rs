//! Advances runs when time passes or somebody changes the database: the end of a pause, a first
//! batch that must not begin before a time, and rows that were changed by hand. Everything else
//! happens in the transaction that ends a job.

use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::jobs::{JobError, Jobs};
use crate::store::run;
use crate::store::{Change, Tx, server_state};

/// The longest sleep before a batch that is due at a known time: the clock may be changed.
const SLEEP_MAX: Duration = Duration::from_secs(5);
/// How often a server that shares its database checks for rows that were changed by hand, and for
/// changes whose notification was lost.
const SHARED_TICK: Duration = Duration::from_secs(2);
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(1);

impl Jobs {
    /// Runs until the server shuts down.
    pub async fn release_due_batches(self) {
        let mut is_failing = false;
        loop {
            // Subscribed before the read, so that a change after it is not missed.
            let changes = self.hub.changes();
            let next = tokio::select! {
                next = self.advance_due() => next,
                () = self.stopped() => return,
            };
            let sleep = match next {
                Ok(next) => {
                    is_failing = false;
                    next
                }
                Err(error) => {
                    // Logged once: a database that is away for an hour would fill the log.
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::warn!(%error, "can't advance runs; retrying until the database answers");
                    }
                    Some(RETRY)
                }
            };
            let sleep = match self.store.is_shared() {
                true => Some(sleep.unwrap_or(SHARED_TICK).min(SHARED_TICK)),
                false => sleep,
            };
            tokio::select! {
                () = sleep_for(sleep) => {}
                () = run_may_be_due(changes) => {}
                () = self.stopped() => return,
            }
        }
    }

    /// Advances every run that can go on. Returns how long to wait for the next one, if any waits
    /// for a time.
    async fn advance_due(&self) -> Result<Option<Duration>, JobError> {
        let advance = self.run_advance();
        let find_due = move |tx: &mut dyn Tx| {
            let mut due = Vec::new();
            for id in run::unfinished(tx)? {
                if advance.can_advance(tx, &id)? {
                    due.push(id);
                }
            }
            Ok::<_, JobError>(due)
        };
        for id in self.store.read(find_due).await? {
            let advance = self.run_advance();
            self.store
                .write(move |tx| Ok::<_, JobError>(advance.advance(tx, &id)?))
                .await?;
        }
        let left = move |tx: &mut dyn Tx| {
            let Some(next) = run::next_release(tx)? else {
                return Ok(None);
            };
            Ok::<_, JobError>(Some(next.millis_since(server_state::now(tx)?)))
        };
        let left = self.store.read(left).await?;
        Ok(left.map(|left| {
            // Not before the time: a millisecond is the resolution of the clock.
            Duration::from_millis(u64::try_from(left).unwrap_or(0) + 1).min(SLEEP_MAX)
        }))
    }
}

async fn sleep_for(sleep: Option<Duration>) {
    match sleep {
        Some(sleep) => tokio::time::sleep(sleep).await,
        None => std::future::pending().await,
    }
}

/// Waits for a change after which a run may be due at an earlier time.
async fn run_may_be_due(mut changes: broadcast::Receiver<Change>) {
    loop {
        match changes.recv().await {
            Ok(Change::Run { .. } | Change::Foreign) | Err(RecvError::Lagged(_)) => return,
            Ok(
                Change::Job { .. }
                | Change::Progress { .. }
                | Change::Node { .. }
                | Change::Output { .. }
                | Change::Watched { .. }
                | Change::Due
                | Change::Credentials,
            ) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
