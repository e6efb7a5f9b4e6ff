//! Due times: jobs are released when their `not_before` is reached, and cancelled when they expire.
//!
//! Every server does what is due, under conditions in SQL, so replicas need no leader. A claim does
//! not depend on this task: it refuses held and expired jobs by itself.

use std::time::{Duration, Instant};

use crate::clock;
use crate::jobs::life::end::{EndEntry, record_end};
use crate::jobs::run::advance::RunAdvance;
use crate::jobs::{JobError, Jobs};
use crate::store::job;
use crate::store::{Change, Tx, run, server_state};

/// The longest sleep before the clock is read again, since it may have been changed. Servers that
/// share a database also find what others have queued this way.
const RECHECK: Duration = Duration::from_secs(2);
/// Jobs per transaction, so that no other write waits long.
const BATCH: u64 = 500;
/// Pause before another attempt if nothing could be done.
const RETRY: Duration = Duration::from_secs(1);

impl Jobs {
    /// Acts on due times until the server shuts down.
    pub(in crate::jobs) async fn watch_due_times(&self) {
        self.repeat(
            "release or expire due jobs",
            || self.act_on_due_times(),
            || self.hub.due_changed(),
        )
        .await;
    }

    /// Does what is due. Returns the time until the next check; `None` if nothing waits for a time
    /// and a change will announce it.
    async fn act_on_due_times(&self) -> Result<Option<Duration>, JobError> {
        loop {
            let began = Instant::now();
            let next = self
                .store
                .read(|tx| {
                    let next = job::next_due(tx)?;
                    let now = server_state::now(tx)?;
                    Ok::<_, JobError>(next.map(|next| next.millis_since(now)))
                })
                .await?;
            let Some(left_ms) = next else {
                return Ok(self.store.is_shared().then_some(RECHECK));
            };
            if let Ok(left_ms @ 1..) = u64::try_from(left_ms) {
                let left = Duration::from_millis(left_ms).saturating_sub(began.elapsed());
                return Ok(Some(left.min(RECHECK)));
            }
            if self.expire().await? + self.release().await? == 0 {
                // Another server has done it, or an operator has typed a time that sorts early.
                return Ok(Some(RETRY));
            }
        }
    }

    /// Cancels expired jobs, a batch of the single ones and of each run, and returns how many.
    async fn expire(&self) -> Result<usize, JobError> {
        let find = |tx: &mut dyn Tx| {
            let now = server_state::now(tx)?;
            Ok::<_, JobError>(job::runs_with_expired(tx, now)?)
        };
        let of_runs = self.store.read(find).await?.into_iter().map(Some);
        let mut count = 0;
        for run_id in std::iter::once(None).chain(of_runs) {
            let runs = self.run_advance();
            let work = move |tx: &mut dyn Tx| expire(tx, &runs, run_id.as_deref());
            count += self.store.write(work).await?;
        }
        Ok(count)
    }

    async fn release(&self) -> Result<usize, JobError> {
        self.store.write(release).await
    }
}

/// Cancels one batch of expired jobs, of a run or single ones, and returns how many.
fn expire(tx: &mut dyn Tx, runs: &RunAdvance, run_id: Option<&str>) -> Result<usize, JobError> {
    // A run's row is locked before its jobs, as in every other end.
    if let Some(run_id) = run_id {
        run::find_locked(tx, run_id)?;
    }
    let expired = job::expire(tx, run_id, clock::now(), BATCH)?;
    for job in &expired {
        let entry = EndEntry {
            actor: "server",
            action: "job.expire",
            detail: job.error_msg.as_deref().unwrap_or_default(),
        };
        record_end(tx, runs, job, Some(entry))?;
    }
    Ok(expired.len())
}

/// Releases one batch of jobs whose time has come, and returns how many.
fn release(tx: &mut dyn Tx) -> Result<usize, JobError> {
    let released = job::release_due(tx, clock::now(), BATCH)?;
    let count = released.len();
    for (id, node_id) in released {
        tx.publish(Change::Job {
            id: id.0,
            node_id: node_id.0,
        });
    }
    Ok(count)
}
