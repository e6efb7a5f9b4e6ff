//! Background work that runs as long as the server.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::Auth;
use crate::http::Budget;
use crate::hub::next_change;
use crate::memory;
use crate::nodes::{Nodes, RunClock};
use crate::presets::Catalog;
use crate::store::Change;
use crate::tasks::TASKS;

/// How often signs of life and last uses are written. At least four times per lease if other
/// servers read them.
const WRITE_SEEN_EVERY: Duration = Duration::from_secs(5);
/// How often a server reads the signs of life that other servers have written; at least four times
/// per lease.
const TAKE_OVER_EVERY: Duration = Duration::from_secs(2);
/// How often the presets folder is read without a request, so that a faulty file is logged soon.
const PRESETS_EVERY: Duration = Duration::from_secs(2);

/// Returns memory to the system that is no longer needed.
pub(super) async fn return_memory(budget: Budget) {
    tokio::join!(release_memory_of_first_runs(), trim_memory(budget));
}

/// Returns memory that large requests have freed.
async fn trim_memory(budget: Budget) {
    /// Collects memory that is freed within this time, and returns it together.
    const PAUSE: Duration = Duration::from_millis(500);
    loop {
        budget.worth_trimming().await;
        tokio::time::sleep(PAUSE).await;
        // An error means that the runtime is shutting down.
        let _trimmed = tokio::task::spawn_blocking(memory::trim).await;
    }
}

/// Returns what only the first run of each background task needed, which is mostly code.
async fn release_memory_of_first_runs() {
    const SETTLED: Duration = Duration::from_secs(10);
    tokio::time::sleep(SETTLED).await;
    // An error means that the runtime is shutting down.
    let _released = tokio::task::spawn_blocking(memory::release_unused_memory).await;
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}

fn quarter_of(lease_seconds: u64) -> Duration {
    Duration::from_secs(lease_seconds) / 4
}

/// Reads the signs of life that other servers have written, periodically and soon after a change of
/// a node.
pub(super) async fn merge_lives(nodes: Nodes, lease_seconds: u64) {
    /// The least time between two reads.
    const PAUSE: Duration = Duration::from_millis(200);
    let mut tick = every(TAKE_OVER_EVERY.min(quarter_of(lease_seconds)));
    let mut changes = nodes.hub.changes();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            has_more = next_change(&mut changes, |change| matches!(change, Change::Node { .. })) => {
                if !has_more {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
                changes = changes.resubscribe();
            }
        }
        if let Err(error) = nodes.merge_lives(lease_seconds).await {
            tracing::warn!(%error, "can't read the signs of life of other servers; retrying");
        }
    }
}

/// Advances the run clock, announces nodes that went online or offline, writes signs of life, and
/// rereads presets and shipped agents.
pub(super) async fn run(
    auth: Auth,
    nodes: Nodes,
    catalog: Arc<Catalog>,
    clock: Arc<RunClock>,
    lease_seconds: u64,
) {
    let write_seen_every = if nodes.store.is_shared() {
        WRITE_SEEN_EVERY.min(quarter_of(lease_seconds))
    } else {
        WRITE_SEEN_EVERY
    };
    let (mut tick, mut seen, mut presets) = (
        every(RunClock::TICK),
        every(write_seen_every),
        every(PRESETS_EVERY),
    );
    loop {
        tokio::select! {
            _ = tick.tick() => {
                clock.tick();
                nodes.publish_status_changes();
            }
            _ = seen.tick() => {
                let written = nodes.record_status_changes().await.and(nodes.write_seen().await);
                if let Err(error) = written.and(auth.flush_last_used().await) {
                    tracing::warn!(%error, "can't write signs of life; retrying");
                }
            }
            _ = presets.tick() => {
                let (catalog, install) = (Arc::clone(&catalog), nodes.install.clone());
                let reread = move || {
                    catalog.refresh();
                    install.refresh_version();
                };
                // After a failure the presets and agents read before stay in use.
                if let Err(error) = tokio::task::spawn_blocking(reread).await {
                    TASKS.died("presets", &error.to_string());
                }
            }
        }
    }
}
