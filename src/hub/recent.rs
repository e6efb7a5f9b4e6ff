//! Remembers recent changes, so that a dashboard that reconnects receives only these and not
//! everything again.

use std::collections::{BTreeSet, HashMap};

use crate::clock::Timestamp;
use crate::store::Change;

/// How long a change is remembered, in milliseconds. A client that was away longer starts over.
pub const REMEMBERED_MS: i64 = 15 * 60 * 1_000;
/// Most ids that are remembered. After more changes than this, a client had better start over.
const IDS_MAX: usize = 50_000;

/// Jobs and nodes, each with the time of its last change.
#[derive(Debug)]
pub(super) struct RecentChanges {
    /// All changes since this time are here.
    complete_from: Timestamp,
    jobs: HashMap<String, Timestamp>,
    nodes: HashMap<String, Timestamp>,
}

/// The ids of changed jobs and nodes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ChangedIds {
    pub jobs: BTreeSet<String>,
    /// Nodes that were added, changed or deleted, and the nodes of the changed jobs.
    pub nodes: BTreeSet<String>,
}

impl RecentChanges {
    pub(super) fn starting_at(now: Timestamp) -> Self {
        Self {
            complete_from: now,
            jobs: HashMap::new(),
            nodes: HashMap::new(),
        }
    }

    /// Remembers a change that was committed at `now`.
    pub(super) fn record(&mut self, change: &Change, now: Timestamp) {
        match change {
            Change::Job { id, node_id } => {
                self.jobs.insert(id.clone(), now);
                self.nodes.insert(node_id.clone(), now);
            }
            Change::Node { id } => {
                self.nodes.insert(id.clone(), now);
            }
            // Anything may have changed: only changes after this one are known.
            Change::Foreign => *self = Self::starting_at(now),
            Change::Progress { job_id } => {
                self.jobs.insert(job_id.clone(), now);
            }
            Change::Run { .. }
            | Change::Output { .. }
            | Change::Watched { .. }
            | Change::Due
            | Change::Credentials => {}
        }
        if self.jobs.len() + self.nodes.len() > IDS_MAX {
            self.drop_old(now);
        }
    }

    fn drop_old(&mut self, now: Timestamp) {
        let oldest = now.plus_millis(-REMEMBERED_MS);
        self.jobs.retain(|_, at| *at >= oldest);
        self.nodes.retain(|_, at| *at >= oldest);
        if self.complete_from < oldest {
            self.complete_from = oldest;
        }
        if self.jobs.len() + self.nodes.len() > IDS_MAX / 2 {
            *self = Self::starting_at(now);
        }
    }

    /// The changes since `since`, and those in the `overlap_ms` before it; `None` if they are no
    /// longer known.
    pub(super) fn since(&self, since: Timestamp, overlap_ms: i64) -> Option<ChangedIds> {
        if since < self.complete_from {
            return None;
        }
        let since = since.plus_millis(-overlap_ms);
        let ids = |of: &HashMap<String, Timestamp>| {
            let changed = of.iter().filter(|(_, at)| **at >= since);
            changed.map(|(id, _)| id.clone()).collect()
        };
        Some(ChangedIds {
            jobs: ids(&self.jobs),
            nodes: ids(&self.nodes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + millis)
    }

    fn node(id: impl ToString) -> Change {
        Change::Node { id: id.to_string() }
    }

    fn nodes(ids: &[&str]) -> Option<ChangedIds> {
        Some(ChangedIds {
            nodes: ids.iter().map(ToString::to_string).collect(),
            ..ChangedIds::default()
        })
    }

    #[test]
    fn changes_from_before_the_record_are_unknown() {
        let mut recent = RecentChanges::starting_at(at(0));
        recent.record(&node("a"), at(10));
        recent.record(&node("b"), at(20));
        assert_eq!(recent.since(at(-1), 0), None);
        assert_eq!(recent.since(at(0), 0), nodes(&["a", "b"]));
        assert_eq!(recent.since(at(11), 0), nodes(&["b"]));
        assert_eq!(recent.since(at(21), 0), nodes(&[]));
        assert_eq!(recent.since(at(21), 1), nodes(&["b"]));
        recent.record(&Change::Foreign, at(30));
        assert_eq!(recent.since(at(20), 0), None);
        assert_eq!(recent.since(at(30), 0), nodes(&[]));
    }

    #[test]
    fn a_changed_job_is_also_a_change_of_its_node() {
        let mut recent = RecentChanges::starting_at(at(0));
        let change = Change::Job {
            id: "j".into(),
            node_id: "n".into(),
        };
        recent.record(&change, at(1));
        let changed = recent.since(at(0), 0).expect("known");
        assert!(changed.jobs.contains("j") && changed.nodes.contains("n"));
    }

    #[test]
    fn the_number_of_remembered_ids_is_bounded() {
        let mut recent = RecentChanges::starting_at(at(0));
        for n in 0..IDS_MAX {
            recent.record(&node(n), at(0));
        }
        // Old ids make room for the new one, and the record starts later.
        recent.record(&node("new"), at(20 * MINUTE));
        assert_eq!(recent.since(at(6 * MINUTE), 0), nodes(&["new"]));
        assert_eq!(recent.since(at(4 * MINUTE), 0), None);
        // Too many recent changes: only those from now on are known.
        for n in 0..=IDS_MAX {
            recent.record(&node(n), at(21 * MINUTE));
        }
        assert!(recent.nodes.len() < IDS_MAX);
        assert_eq!(recent.since(at(20 * MINUTE), 0), None);
    }
}
