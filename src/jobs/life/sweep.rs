//! Periodic work: fails jobs whose lease has expired or whose timeout is long over, and deletes old
//! jobs and idempotency keys.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use hyprbox_protocol::FailureReason;

use crate::clock::{self, Timestamp};
use crate::hub::next_change;
use crate::jobs::life::end::{EndEntry, record_end};
use crate::jobs::life::queue::KEY_AGE_MS;
use crate::jobs::repeat::Failures;
use crate::jobs::run::advance::RunAdvance;
use crate::jobs::{JobError, Jobs};
use crate::ledger::append_deletions;
use crate::store::job::{self, Job};
use crate::store::ledger::kind;
use crate::store::{
    Change, StoreError, Tx, idempotency, node, node_status, retention, run, schedule, space,
    standing_envelope,
};

/// How often leases are checked.
const TICK: Duration = Duration::from_millis(500);
/// How long after its timeout a job's end may arrive before the server fails the job.
const OVERDUE_MS: u64 = 60_000;
/// How often old rows are deleted, and all agents and viewers are woken.
const SLOW_TICK: Duration = Duration::from_secs(30);
/// How often a server that shares its database reads changes whose notification may have been lost.
const NEWS_TICK: Duration = Duration::from_secs(2);
/// Pause between batches of deletions, so that urgent writes get through.
const BATCH_PAUSE: Duration = Duration::from_millis(50);
/// Agent instances kept per node.
const INSTANCES_KEPT: u64 = 32;
/// Changes of a node's status that are kept, by age and by number per node: an agent that restarts
/// every few seconds makes any number.
const STATUS_AGE_MS: i64 = 30 * DAY_MS;
const STATUS_CHANGES_KEPT: u64 = 1_000;
/// How long a shared script must be unused before it is deleted, in milliseconds: longer than any
/// transaction that queues jobs with it.
const SCRIPT_UNUSED_MS: i64 = 3_600 * 1_000;
const DAY_MS: i64 = 24 * 3_600 * 1_000;

/// Deletes some rows of a kind that are older than a time, and returns their ids.
type Prune = fn(&mut dyn Tx, Timestamp) -> Result<Vec<String>, StoreError>;

/// What `HYPRBOX_KEEP_DAYS` deletes, and as what the ledger records it.
const PRUNES: [(&str, Prune); 3] = [
    (kind::JOB_DELETED, job::prune),
    (kind::RUN_DELETED, run::prune),
    (kind::SLOT_DELETED, schedule::prune_slots),
];

impl Jobs {
    /// Runs the periodic work until the server shuts down.
    pub async fn run_sweeps(self) {
        // Concurrent, because a long deletion must not delay the check of leases.
        tokio::join!(
            self.watch_leases(),
            self.watch_due_times(),
            self.watch_due_batches(),
            self.delete_old_rows()
        );
    }

    async fn delete_old_rows(&self) {
        let mut slow = tokio::time::interval(SLOW_TICK);
        slow.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let pruned = tokio::select! {
                pruned = async { slow.tick().await; self.prune().await } => pruned,
                () = self.stopped() => return,
            };
            if let Err(error) = pruned {
                tracing::warn!(%error, "can't delete old jobs and keys; retrying in 30 s");
            }
        }
    }

    async fn watch_leases(&self) {
        let (mut first_seen, mut claims) = (HashMap::new(), HashSet::new());
        let mut failures = Failures::of("check leases");
        let mut tick = tokio::time::interval(TICK);
        let mut news = tokio::time::interval(NEWS_TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        news.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // Subscribed before the read, so that a change after it is not missed.
            let mut changes = self.hub.changes();
            let swept = tokio::select! {
                _ = tick.tick() => self.sweep_leases(&mut first_seen).await,
                _ = news.tick(), if self.store.is_shared() => self.wake_for_missed_changes(&mut claims).await,
                () = self.stopped() => return,
            };
            if failures.log(swept).is_none() {
                if self.store.is_shared() {
                    // No server could record signs of life meanwhile, so every lease starts again.
                    first_seen.clear();
                }
                continue;
            }
            if first_seen.is_empty() && !self.store.is_shared() {
                tokio::select! {
                    // After a change of a job, one may be RUNNING. An idle server does not poll.
                    _ = next_change(&mut changes, |change| matches!(change, Change::Job { .. })) => {}
                    () = self.stopped() => return,
                }
            }
        }
    }

    /// Fails RUNNING jobs whose agent instance gave no sign of life for a whole lease, and those
    /// whose end has not arrived by their deadline. `first_seen` holds the times, on the run clock,
    /// that this server assigned to each RUNNING job when it first read the job.
    async fn sweep_leases(
        &self,
        first_seen: &mut HashMap<String, FirstSeen>,
    ) -> Result<(), JobError> {
        let running = self
            .store
            .read(|tx| Ok::<_, JobError>(job::running_since(tx, clock::now())?))
            .await?;
        let now_ms = self.nodes.presence.now_ms();
        let known = std::mem::take(first_seen);
        let (mut overdue, mut timed_out) = (Vec::new(), Vec::new());
        for job in running {
            let seen = known
                .get(&job.id)
                .copied()
                .unwrap_or_else(|| FirstSeen::of(&job, now_ms));
            first_seen.insert(job.id.clone(), seen);
            let life = self
                .nodes
                .presence
                .last_seen_ms(&job.node_id, job.instance.as_deref())
                .unwrap_or(0);
            // Both times are rounded down, so the lease is over only if they differ by more.
            if now_ms.saturating_sub(seen.at_ms.max(life)) > self.limits.lease_seconds * 1_000 {
                overdue.push(job.id);
            } else if now_ms > seen.deadline_ms + job.confirm_seconds * 1_000 {
                timed_out.push(job.id);
            }
        }
        for id in timed_out {
            let runs = self.run_advance();
            let failed = self.store.write(move |tx| time_out(tx, &runs, &id)).await?;
            if let Some(job) = failed {
                tracing::warn!(job = %job.id, node = %job.node_id, "no end of the job has arrived: its timeout is over");
            }
        }
        let lease_seconds = self.limits.lease_seconds;
        for id in overdue {
            let runs = self.run_advance();
            let lost = self
                .store
                .write(move |tx| lose(tx, &runs, &id, lease_seconds))
                .await?;
            if let Some(job) = lost {
                tracing::warn!(job = %job.id, node = %job.node_id, "agent disappeared: its lease ran out");
            }
        }
        Ok(())
    }

    /// Wakes the nodes of recent changes, because a server that was killed after its commit sent no
    /// notification. `claims` are the claims that an earlier call has handled.
    async fn wake_for_missed_changes(&self, claims: &mut HashSet<String>) -> Result<(), JobError> {
        let news = self
            .store
            .read(|tx| Ok::<_, JobError>(job::recent_work(tx)?))
            .await?;
        let known = std::mem::take(claims);
        for job::RecentWork { node_id, claimed } in news {
            if !claimed.as_ref().is_some_and(|id| known.contains(id)) {
                self.hub.wake_node(&node_id);
            }
            claims.extend(claimed);
        }
        Ok(())
    }

    async fn prune(&self) -> Result<(), JobError> {
        let now = clock::now();
        let work = move |tx: &mut dyn Tx| {
            idempotency::prune(tx, now.plus_millis(-KEY_AGE_MS))?;
            node::prune_instances(tx, INSTANCES_KEPT)?;
            node_status::prune(tx, now.plus_millis(-STATUS_AGE_MS), STATUS_CHANGES_KEPT)?;
            job::nodes_with_work(tx)
        };
        // Makes up for a lost notification. Nodes without work are not woken: ten thousand agents
        // that query twice a minute would keep the database busier than their jobs do.
        for node_id in self.store.write(work).await? {
            self.hub.wake_node(&node_id);
        }
        self.hub.nudge_watchers();
        // Read even if nothing is deleted: a leap shows only against the previous reading.
        let clock = self.store.write(retention::read_clock).await?;
        let days = self.limits.keep_days;
        if let Some(days) = days.and_then(|days| i64::try_from(days).ok()) {
            if let Some(leap_ms) = clock.leap_ms {
                tracing::warn!(
                    days = leap_ms / DAY_MS,
                    "the clock leapt ahead or the server was off; HYPRBOX_KEEP_DAYS deletes nothing for a day"
                );
            }
            let Some(trusted) = clock.trusted else {
                return self.release_space().await;
            };
            let before = trusted.plus_millis(-days * DAY_MS);
            // What retention deletes must be in the ledger first.
            self.nodes.ledger.append_due().await?;
            for (kind, prune) in PRUNES {
                let prune = move |tx: &mut dyn Tx| {
                    let deleted = prune(tx, before)?;
                    append_deletions(tx, kind, &deleted)?;
                    Ok::<_, StoreError>(deleted.len())
                };
                while self.store.write(prune).await? > 0 {
                    tokio::time::sleep(BATCH_PAUSE).await;
                }
            }
            let unused_since = now.plus_millis(-SCRIPT_UNUSED_MS);
            self.store
                .write(move |tx| {
                    job::prune_scripts(tx, unused_since)?;
                    standing_envelope::prune(tx)
                })
                .await?;
        }
        self.release_space().await
    }

    async fn release_space(&self) -> Result<(), JobError> {
        while self.store.write(space::release_step).await? {
            tokio::time::sleep(BATCH_PAUSE).await;
        }
        Ok(())
    }
}

/// Times on the run clock of a RUNNING job. Neither its lease nor its deadline begins before the
/// server runs, so that agents can deliver what they could not deliver meanwhile.
#[derive(Debug, Clone, Copy)]
struct FirstSeen {
    /// When this server first read the job.
    at_ms: u64,
    /// When the server fails the job if its end has not arrived.
    deadline_ms: u64,
}

impl FirstSeen {
    fn of(job: &job::RunningJob, now_ms: u64) -> Self {
        let timeout_ms = job.timeout_seconds.saturating_mul(1_000);
        let ran_ms = u64::try_from(job.ran_ms).unwrap_or(0);
        let left_ms = timeout_ms.saturating_sub(ran_ms) + OVERDUE_MS;
        Self {
            at_ms: now_ms,
            deadline_ms: now_ms.saturating_add(left_ms),
        }
    }
}

fn time_out(tx: &mut dyn Tx, runs: &RunAdvance, id: &str) -> Result<Option<Job>, JobError> {
    run::lock_of_job(tx, id)?;
    let Some(job) = job::find_locked(tx, id)? else {
        return Ok(None);
    };
    let message = FailureReason::timed_out_after(job.timeout_seconds);
    let Some(job) = job::time_out(tx, id, &message, clock::now())? else {
        return Ok(None);
    };
    let entry = EndEntry {
        actor: "server",
        action: "job.time_out",
        detail: "no end has arrived within a minute after the timeout",
    };
    record_end(tx, runs, &job, Some(entry))?;
    Ok(Some(job))
}

fn lose(
    tx: &mut dyn Tx,
    runs: &RunAdvance,
    id: &str,
    lease_seconds: u64,
) -> Result<Option<Job>, JobError> {
    run::lock_of_job(tx, id)?;
    // `None`: the job has ended meanwhile, or another server is in contact with its agent.
    let Some(job) = job::lose(tx, id, clock::now(), lease_seconds)? else {
        return Ok(None);
    };
    let entry = EndEntry {
        actor: "server",
        action: "job.lose",
        detail: "agent disappeared: no sign of life for a whole lease",
    };
    record_end(tx, runs, &job, Some(entry))?;
    Ok(Some(job))
}
