//! Periodic work: fails jobs whose lease has expired, and deletes old jobs and idempotency keys.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::sync::broadcast;

use crate::clock;
use crate::jobs::life::end::{EndEntry, record_end};
use crate::jobs::life::queue::KEY_AGE_MS;
use crate::jobs::run::advance::RunAdvance;
use crate::jobs::{JobError, Jobs};
use crate::store::job::{self, Job};
use crate::store::{Change, Tx, idempotency, node, retention, run, space};

/// How often leases are checked.
const TICK: Duration = Duration::from_millis(500);
/// How often old rows are deleted, and all agents and viewers are woken.
const SLOW_TICK: Duration = Duration::from_secs(30);
/// How often a server that shares its database reads changes whose notification may have been lost.
const NEWS_TICK: Duration = Duration::from_secs(2);
/// Pause between batches of deletions, so that urgent writes get through.
const BATCH_PAUSE: Duration = Duration::from_millis(50);
/// Agent instances kept per node.
const INSTANCES_KEPT: u64 = 32;
/// How long a shared script must be unused before it is deleted, in milliseconds: longer than any
/// transaction that queues jobs with it.
const SCRIPT_UNUSED_MS: i64 = 3_600 * 1_000;
const DAY_MS: i64 = 24 * 3_600 * 1_000;

impl Jobs {
    /// Runs the periodic work until the server shuts down.
    pub async fn run_sweeps(self) {
        // Concurrent, because a long deletion must not delay the check of leases.
        tokio::join!(self.watch_leases(), self.delete_old_rows());
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
        let mut is_failing = false;
        let mut tick = tokio::time::interval(TICK);
        let mut news = tokio::time::interval(NEWS_TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        news.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // Subscribed before the read, so that a change after it is not missed.
            let changes = self.hub.changes();
            let swept = tokio::select! {
                _ = tick.tick() => self.sweep_leases(&mut first_seen).await,
                _ = news.tick(), if self.store.is_shared() => self.wake_for_missed_changes(&mut claims).await,
                () = self.stopped() => return,
            };
            if let Err(error) = swept {
                if self.store.is_shared() {
                    // No server could record signs of life meanwhile, so every lease starts again.
                    first_seen.clear();
                }
                // Logged once: a database that is away for an hour would fill the log.
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%error, "can't check leases; retrying until the database answers");
                }
                continue;
            }
            if std::mem::take(&mut is_failing) {
                tracing::info!("leases are checked again");
            }
            if first_seen.is_empty() && !self.store.is_shared() {
                tokio::select! {
                    () = job_may_run(changes) => {}
                    () = self.stopped() => return,
                }
            }
        }
    }

    /// Fails RUNNING jobs whose agent instance gave no sign of life for a whole lease. `first_seen`
    /// holds the time, on the run clock, at which this server first read each RUNNING job; a lease
    /// never begins before that.
    async fn sweep_leases(&self, first_seen: &mut HashMap<String, u64>) -> Result<(), JobError> {
        let running = self
            .store
            .read(|tx| Ok::<_, JobError>(job::running(tx)?))
            .await?;
        let now_ms = self.nodes.presence.now_ms();
        let known = std::mem::take(first_seen);
        let mut overdue = Vec::new();
        for (id, node_id, instance) in running {
            let seen = known.get(&id).copied().unwrap_or(now_ms);
            first_seen.insert(id.clone(), seen);
            let life = self
                .nodes
                .presence
                .last_seen_ms(&node_id, instance.as_deref())
                .unwrap_or(0);
            if now_ms.saturating_sub(seen.max(life)) >= self.limits.lease_seconds * 1_000 {
                overdue.push(id);
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
                self.metrics.finished(&job);
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
            while self.store.write(move |tx| job::prune(tx, before)).await? > 0 {
                tokio::time::sleep(BATCH_PAUSE).await;
            }
            while self.store.write(move |tx| run::prune(tx, before)).await? > 0 {
                tokio::time::sleep(BATCH_PAUSE).await;
            }
            let unused_since = now.plus_millis(-SCRIPT_UNUSED_MS);
            self.store
                .write(move |tx| job::prune_scripts(tx, unused_since))
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

/// Waits for a change after which a job may be RUNNING, so that an idle server does not poll.
async fn job_may_run(mut changes: broadcast::Receiver<Change>) {
    loop {
        match changes.recv().await {
            Ok(
                Change::Node { .. }
                | Change::Run { .. }
                | Change::Progress { .. }
                | Change::Output { .. }
                | Change::Watched { .. }
                | Change::Credentials,
            ) => {}
            Ok(Change::Job { .. } | Change::Foreign) | Err(_) => return,
        }
    }
}

fn lose(
    tx: &mut dyn Tx,
    runs: &RunAdvance,
    id: &str,
    lease_seconds: u64,
) -> Result<Option<Job>, JobError> {
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
