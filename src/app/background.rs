//! What runs beside the requests for as long as the server does.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::Auth;
use crate::http::Budget;
use crate::memory;
use crate::nodes::{Nodes, RunClock};
use crate::presets::Catalog;
use crate::store::Change;
use crate::tasks::TASKS;

/// How often signs of life and last uses are written down. Where other servers look at them, four
/// times a lease at least.
const WRITE_SEEN_EVERY: Duration = Duration::from_secs(5);
/// How often a server takes over what others wrote down of nodes' lives; four times a lease at
/// least.
const TAKE_OVER_EVERY: Duration = Duration::from_secs(2);
/// How often the presets folder is looked at when nobody asks, so that a broken file is logged
/// soon.
const PRESETS_EVERY: Duration = Duration::from_secs(2);

/// Returns the memory that large requests have freed to the system, once nothing more of it comes
/// free.
pub(super) async fn trim_memory(budget: Budget) {
    /// What is freed within it is returned at once.
    const PAUSE: Duration = Duration::from_millis(500);
    loop {
        budget.worth_trimming().await;
        tokio::time::sleep(PAUSE).await;
        // An error says that the runtime is going down.
        let _trimmed = tokio::task::spawn_blocking(memory::trim).await;
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}

fn quarter_of(lease_seconds: u64) -> Duration {
    Duration::from_secs(lease_seconds) / 4
}

/// Takes over what other servers wrote down of nodes' lives: every now and then, and soon after one
/// of them tells of a node.
pub(super) async fn take_over_lives(nodes: Nodes, lease_seconds: u64) {
    /// The least time between two looks.
    const PAUSE: Duration = Duration::from_millis(200);
    let mut tick = every(TAKE_OVER_EVERY.min(quarter_of(lease_seconds)));
    let mut changes = nodes.hub.changes();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            change = changes.recv() => match change {
                Ok(Change::Node { .. } | Change::Foreign) => {
                    tokio::time::sleep(PAUSE).await;
                    changes = changes.resubscribe();
                }
                Ok(
                    Change::Job { .. }
                    | Change::Output { .. }
                    | Change::Watched { .. }
                    | Change::Credentials,
                ) => continue,
                Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
            },
        }
        if let Err(error) = nodes.take_over_lives(lease_seconds).await {
            tracing::warn!(%error, "signs of life that other servers heard could not be read; the next look reads them");
        }
    }
}

/// Counts time, tells of nodes that turned, writes down what was seen, and looks at the presets and
/// the shipped agents.
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
                nodes.announce_turned();
            }
            _ = seen.tick() => {
                let written = nodes.write_seen().await;
                if let Err(error) = written.and(auth.flush_last_used().await) {
                    tracing::warn!(%error, "signs of life could not be written; the next try writes them");
                }
            }
            _ = presets.tick() => {
                let (catalog, install) = (Arc::clone(&catalog), nodes.install.clone());
                let look = move || {
                    catalog.refresh();
                    install.look();
                };
                // What was known stays as it was.
                if let Err(error) = tokio::task::spawn_blocking(look).await {
                    TASKS.died("presets", &error.to_string());
                }
            }
        }
    }
}
