//! A node's signs of life in memory, and the status that follows from them.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::processes::Processes;
use super::second_instances::SecondInstances;
use crate::clock::{self, Timestamp};
use crate::store::node::NodeFacts;

/// Shortest time without a sign of life before a node is OFFLINE, in milliseconds.
const OFFLINE_AFTER_MIN_MS: u64 = 90_000;
/// Agent instances in memory per node; one more replaces the oldest.
pub(super) const INSTANCES_MAX: usize = 32;

/// Whether a node's agent is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum NodeStatus {
    /// Seen within three heartbeat intervals, or within 90 s if that is longer.
    Online,
    /// Not seen for longer, or stopped.
    Offline,
}

/// What is known of one node's agent.
#[derive(Debug, Default)]
pub(super) struct NodeLife {
    pub(super) seen_at: Option<Timestamp>,
    /// On the run clock; negative if it was before this server started.
    pub(super) seen_ms: Option<i64>,
    pub(super) stopping: bool,
    pub(super) interval_ms: u64,
    pub(super) facts: Option<NodeFacts>,
    pub(super) instances: HashMap<String, Instance>,
    pub(super) processes: HashMap<String, Processes>,
    pub(super) second_instances: SecondInstances,
    /// Seen since the last write to the database.
    pub(super) unwritten: bool,
    /// The status that was last announced to the rest of the server.
    pub(super) announced: Option<NodeStatus>,
    /// The status that was last passed to the database's record of changes.
    pub(super) recorded: Option<NodeStatus>,
}

/// An agent instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instance {
    /// When it was last seen, on the run clock; negative if that was before this server started.
    pub(super) seen_ms: i64,
    /// Seen since the last write to the database.
    pub(super) unwritten: bool,
}

impl Instance {
    pub(super) fn seen_at(now_ms: u64) -> Self {
        Self {
            seen_ms: signed(now_ms),
            unwritten: true,
        }
    }

    pub(super) fn is_alive(&self, now_ms: u64) -> bool {
        signed(now_ms) - self.seen_ms < signed(OFFLINE_AFTER_MIN_MS)
    }
}

pub(super) fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

impl NodeLife {
    pub(super) fn record_sign(&mut self, now_ms: u64) {
        self.seen_at = Some(clock::now());
        self.seen_ms = Some(signed(now_ms));
        self.stopping = false;
        self.unwritten = true;
    }

    pub(super) fn status(&self, now_ms: u64) -> NodeStatus {
        let patience = (3 * self.interval_ms).max(OFFLINE_AFTER_MIN_MS);
        match self.seen_ms {
            Some(seen) if !self.stopping && signed(now_ms) - seen < signed(patience) => {
                NodeStatus::Online
            }
            Some(_) | None => NodeStatus::Offline,
        }
    }
}

/// Records a sign of life of an instance. Returns whether it is new here while another one is
/// alive.
pub(super) fn record_instance(
    instances: &mut HashMap<String, Instance>,
    id: &str,
    now_ms: u64,
) -> bool {
    if let Some(instance) = instances.get_mut(id) {
        *instance = Instance::seen_at(now_ms);
        return false;
    }
    let is_another_alive = instances.values().any(|instance| instance.is_alive(now_ms));
    if instances.len() >= INSTANCES_MAX
        && let Some(oldest) = instances
            .iter()
            .min_by_key(|(_, instance)| instance.seen_ms)
            .map(|(id, _)| id.clone())
    {
        instances.remove(&oldest);
    }
    instances.insert(id.to_owned(), Instance::seen_at(now_ms));
    is_another_alive
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(seen_ms: i64, interval_ms: u64, stopping: bool) -> NodeLife {
        NodeLife {
            seen_ms: Some(seen_ms),
            interval_ms,
            stopping,
            ..NodeLife::default()
        }
    }

    #[test]
    fn online_for_three_intervals_and_at_least_ninety_seconds() {
        assert_eq!(life(0, 1_000, false).status(89_999), NodeStatus::Online);
        assert_eq!(life(0, 1_000, false).status(90_000), NodeStatus::Offline);
        assert_eq!(life(0, 60_000, false).status(179_999), NodeStatus::Online);
        assert_eq!(life(0, 60_000, false).status(180_000), NodeStatus::Offline);
        assert_eq!(life(0, 60_000, true).status(1), NodeStatus::Offline);
        assert_eq!(life(-100_000, 30_000, false).status(1), NodeStatus::Offline);
        assert_eq!(NodeLife::default().status(0), NodeStatus::Offline);
    }

    #[test]
    fn a_second_instance_is_reported_while_the_first_is_alive() {
        let mut instances = HashMap::new();
        assert!(!record_instance(&mut instances, "a", 0));
        assert!(!record_instance(&mut instances, "a", 5));
        assert!(record_instance(&mut instances, "b", 10));
        assert!(!record_instance(&mut instances, "c", 200_000));
    }
}
