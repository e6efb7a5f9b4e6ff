//! What changed lately: for a dashboard that comes back, which is told that and not everything
//! again.

use std::collections::{BTreeSet, HashMap};

use crate::clock::Timestamp;
use crate::store::Change;

/// How long a change is remembered, in milliseconds. One who was away for longer starts over.
pub const REMEMBERED_MS: i64 = 15 * 60 * 1_000;
/// Ids remembered at the most: of more than this, nobody wants to hear one by one.
const IDS_MAX: usize = 50_000;

/// Jobs and nodes with the time of their last change.
#[derive(Debug)]
pub(super) struct Recent {
    /// Everything that changed after this is here.
    complete_from: Timestamp,
    jobs: HashMap<String, Timestamp>,
    nodes: HashMap<String, Timestamp>,
}

/// Ids of what changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ChangedIds {
    /// Jobs.
    pub jobs: BTreeSet<String>,
    /// Nodes: those that came, turned or went, and those of the jobs.
    pub nodes: BTreeSet<String>,
}

impl Recent {
    pub(super) fn from(now: Timestamp) -> Self {
        Self {
            complete_from: now,
            jobs: HashMap::new(),
            nodes: HashMap::new(),
        }
    }

    /// Remembers a change that came at `now`.
    pub(super) fn note(&mut self, change: &Change, now: Timestamp) {
        match change {
            Change::Job { id, node_id } => {
                self.jobs.insert(id.clone(), now);
                self.nodes.insert(node_id.clone(), now);
            }
            Change::Node { id } => {
                self.nodes.insert(id.clone(), now);
            }
            // Nobody knows what: only what comes after it is known.
            Change::Foreign => *self = Self::from(now),
            Change::Output { .. } | Change::Watched { .. } | Change::Credentials => {}
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
            *self = Self::from(now);
        }
    }

    /// What changed at `since` or later, and in the `overlap_ms` before it; none where that is not
    /// known any more.
    pub(super) fn since(&self, since: Timestamp, overlap_ms: i64) -> Option<ChangedIds> {
        if since < self.complete_from {
            return None;
        }
        let since = since.plus_millis(-overlap_ms);
        let ids = |of: &HashMap<String, Timestamp>| {
            let late = of.iter().filter(|(_, at)| **at >= since);
            late.map(|(id, _)| id.clone()).collect()
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
    fn what_is_known_is_told_and_what_is_not_is_not_guessed() {
        let mut recent = Recent::from(at(0));
        recent.note(&node("a"), at(10));
        recent.note(&node("b"), at(20));
        assert_eq!(recent.since(at(-1), 0), None);
        assert_eq!(recent.since(at(0), 0), nodes(&["a", "b"]));
        assert_eq!(recent.since(at(11), 0), nodes(&["b"]));
        assert_eq!(recent.since(at(21), 0), nodes(&[]));
        assert_eq!(recent.since(at(21), 1), nodes(&["b"]));
        recent.note(&Change::Foreign, at(30));
        assert_eq!(recent.since(at(20), 0), None);
        assert_eq!(recent.since(at(30), 0), nodes(&[]));
    }

    #[test]
    fn a_job_is_its_nodes_change_too() {
        let mut recent = Recent::from(at(0));
        let change = Change::Job {
            id: "j".into(),
            node_id: "n".into(),
        };
        recent.note(&change, at(1));
        let changed = recent.since(at(0), 0).expect("known");
        assert!(changed.jobs.contains("j") && changed.nodes.contains("n"));
    }

    #[test]
    fn it_stays_bounded() {
        let mut recent = Recent::from(at(0));
        for n in 0..IDS_MAX {
            recent.note(&node(n), at(0));
        }
        // The old ones make room for the new; how far back it goes is still true.
        recent.note(&node("new"), at(20 * MINUTE));
        assert_eq!(recent.since(at(6 * MINUTE), 0), nodes(&["new"]));
        assert_eq!(recent.since(at(4 * MINUTE), 0), None);
        // More than fit within the time: nothing is known but what comes from now on.
        for n in 0..=IDS_MAX {
            recent.note(&node(n), at(21 * MINUTE));
        }
        assert!(recent.nodes.len() < IDS_MAX);
        assert_eq!(recent.since(at(20 * MINUTE), 0), None);
    }
}
