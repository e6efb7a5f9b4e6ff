//! Advances runs when time passes or somebody changes the database: the end of a pause, a first
//! batch that must not begin before a time, and rows that were changed by hand. Everything else
//! happens in the transaction that ends a job.

use std::time::Duration;

use tokio::sync::broadcast;

use crate::hub::next_change;
use crate::jobs::{JobError, Jobs};
use crate::store::run;
use crate::store::{Change, Tx, server_state};

/// The longest sleep before a batch that is due at a known time: the clock may be changed.
const SLEEP_MAX: Duration = Duration::from_secs(5);
/// How often a server that shares its database checks for rows that were changed by hand, and for
/// changes whose notification was lost.
const SHARED_TICK: Duration = Duration::from_secs(2);

impl Jobs {
    /// Releases due batches until the server shuts down.
    pub(in crate::jobs) async fn watch_due_batches(&self) {
        self.repeat(
            "advance runs",
            || self.advance_due(),
            || run_may_be_due(self.hub.changes()),
        )
        .await;
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
        let sleep = left.map(|left| {
            // Not before the time: a millisecond is the resolution of the clock.
            Duration::from_millis(u64::try_from(left).unwrap_or(0) + 1).min(SLEEP_MAX)
        });
        Ok(match self.store.is_shared() {
            true => Some(sleep.unwrap_or(SHARED_TICK).min(SHARED_TICK)),
            false => sleep,
        })
    }
}

/// Waits for a change after which a run may be due at an earlier time.
async fn run_may_be_due(mut changes: broadcast::Receiver<Change>) {
    if !next_change(&mut changes, |change| matches!(change, Change::Run { .. })).await {
        std::future::pending().await
    }
}
