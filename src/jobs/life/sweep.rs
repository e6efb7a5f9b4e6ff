//! What time does to jobs: leases that run out, keys and jobs that grow old.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::sync::broadcast;

use crate::audit;
use crate::clock;
use crate::jobs::life::queue::KEY_AGE_MS;
use crate::jobs::{JobError, Jobs};
use crate::store::job::{self, Job};
use crate::store::{Change, Tx, idempotency, node, retention, space};

/// How often leases are looked at.
const TICK: Duration = Duration::from_millis(500);
/// How often what is old is thrown away, and everybody is told to look again.
const SLOW_TICK: Duration = Duration::from_secs(30);
/// How often a server that shares its database looks for news that another one could not tell it.
const NEWS_TICK: Duration = Duration::from_secs(2);
/// Pause between steps of a work that can wait, for those that can't.
const BETWEEN_STEPS: Duration = Duration::from_millis(50);
/// Agent instances that are remembered of each node.
const INSTANCES_KEPT: u64 = 32;
const DAY_MS: i64 = 24 * 3_600 * 1_000;

impl Jobs {
    /// Sweeps until the server goes down.
    pub async fn sweep_for_ever(self) {
        // Beside each other: what is thrown away may be much, and a lease must not wait for it.
        tokio::join!(self.watch_for_ever(), self.throw_away_for_ever());
    }

    async fn throw_away_for_ever(&self) {
        let mut slow = tokio::time::interval(SLOW_TICK);
        slow.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let thrown_away = tokio::select! {
                thrown_away = async { slow.tick().await; self.throw_away().await } => thrown_away,
                () = self.stopped() => return,
            };
            if let Err(error) = thrown_away {
                tracing::warn!(%error, "what is old could not be thrown away; the next try does it");
            }
        }
    }

    async fn watch_for_ever(&self) {
        let (mut first_seen, mut claims) = (HashMap::new(), HashSet::new());
        let mut is_failing = false;
        let mut tick = tokio::time::interval(TICK);
        let mut news = tokio::time::interval(NEWS_TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        news.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // Before the look: a change that comes in between is then heard next time.
            let changes = self.hub.changes();
            let swept = tokio::select! {
                _ = tick.tick() => self.sweep_leases(&mut first_seen).await,
                _ = news.tick(), if self.store.is_shared() => self.look_for_news(&mut claims).await,
                () = self.stopped() => return,
            };
            if let Err(error) = swept {
                if self.store.is_shared() {
                    // Nobody could write down what they heard: every lease starts anew.
                    first_seen.clear();
                }
                // Once: a database that is away for an hour would be told of some ten thousand
                // times.
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%error, "leases could not be looked at; that is tried until it works");
                }
                continue;
            }
            if std::mem::take(&mut is_failing) {
                tracing::info!("leases are looked at again");
            }
            if first_seen.is_empty() && !self.store.is_shared() {
                tokio::select! {
                    () = may_run(changes) => {}
                    () = self.stopped() => return,
                }
            }
        }
    }

    /// Fails RUNNING jobs whose agent instance gave no sign of life for a lease. `first_seen`
    /// holds, on the run clock, when this server first saw each RUNNING job: its lease counts from
    /// there at the earliest.
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
                .last_life_ms(&node_id, instance.as_deref())
                .unwrap_or(0);
            if now_ms.saturating_sub(seen.max(life)) >= self.limits.lease_seconds * 1_000 {
                overdue.push(id);
            }
        }
        let lease_seconds = self.limits.lease_seconds;
        for id in overdue {
            let lost = self
                .store
                .write(move |tx| lose(tx, &id, lease_seconds))
                .await?;
            if let Some(job) = lost {
                tracing::warn!(job = %job.id, node = %job.node_id, "agent disappeared: its lease ran out");
                self.metrics.finished(&job);
            }
        }
        Ok(())
    }

    /// A server that was killed after a commit told nobody of it. `claims` are those that were news
    /// before.
    async fn look_for_news(&self, claims: &mut HashSet<String>) -> Result<(), JobError> {
        let news = self
            .store
            .read(|tx| Ok::<_, JobError>(job::news(tx)?))
            .await?;
        let known = std::mem::take(claims);
        for job::News { node_id, claimed } in news {
            if !claimed.as_ref().is_some_and(|id| known.contains(id)) {
                self.hub.wake_node(&node_id);
            }
            claims.extend(claimed);
        }
        Ok(())
    }

    async fn throw_away(&self) -> Result<(), JobError> {
        let now = clock::now();
        let work = move |tx: &mut dyn Tx| {
            idempotency::prune(tx, now.plus_millis(-KEY_AGE_MS))?;
            node::prune_instances(tx, INSTANCES_KEPT)?;
            job::nodes_with_work(tx)
        };
        // A nudge that was lost costs one of these, and no more. Nodes without work are left in
        // peace: ten thousand agents that all look twice a minute would keep the database busier
        // than their jobs do.
        for node_id in self.store.write(work).await? {
            self.hub.wake_node(&node_id);
        }
        self.hub.nudge_watchers();
        // Also if nothing is deleted now: a leap is known only by what came before it.
        let clock = self.store.write(retention::read_clock).await?;
        let days = self.limits.keep_days;
        if let Some(days) = days.and_then(|days| i64::try_from(days).ok()) {
            if let Some(leap_ms) = clock.leap_ms {
                tracing::warn!(
                    days = leap_ms / DAY_MS,
                    "the clock leapt ahead, or the server was off: HYPRBOX_KEEP_DAYS deletes nothing for a day"
                );
            }
            let Some(trusted) = clock.trusted else {
                return self.give_back_space().await;
            };
            let before = trusted.plus_millis(-days * DAY_MS);
            while self.store.write(move |tx| job::prune(tx, before)).await? > 0 {
                tokio::time::sleep(BETWEEN_STEPS).await;
            }
        }
        self.give_back_space().await
    }

    async fn give_back_space(&self) -> Result<(), JobError> {
        while self.store.write(space::give_back).await? {
            tokio::time::sleep(BETWEEN_STEPS).await;
        }
        Ok(())
    }
}

/// Waits until a job may be RUNNING where none was: a server that idles is to cost nothing.
async fn may_run(mut changes: broadcast::Receiver<Change>) {
    loop {
        match changes.recv().await {
            Ok(
                Change::Node { .. }
                | Change::Output { .. }
                | Change::Watched { .. }
                | Change::Credentials,
            ) => {}
            Ok(Change::Job { .. } | Change::Foreign) | Err(_) => return,
        }
    }
}

fn lose(tx: &mut dyn Tx, id: &str, lease_seconds: u64) -> Result<Option<Job>, JobError> {
    if !job::lose(tx, id, clock::now(), lease_seconds)? {
        // It ended between the look and here, or another server hears its agent.
        return Ok(None);
    }
    let job = job::find(tx, id)?.ok_or(JobError::NotFound)?;
    let entry = audit::Entry {
        actor: "server",
        action: "job.lose",
        job_id: Some(id),
        node_id: Some(&job.node_id),
        detail: Some("agent disappeared: no sign of life for a whole lease"),
    };
    audit::record(tx, entry)?;
    tx.note(Change::Job {
        id: job.id.clone(),
        node_id: job.node_id.clone(),
    });
    Ok(Some(job))
}
