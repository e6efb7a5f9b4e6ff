//! The body of `POST /api/runs`, and its checks.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::http::{FieldErrors, NamedValues};
use crate::jobs::{ClaimTimes, Plan, PlanRequest, check_timeout};
use crate::nodes::Selector;
use crate::store::job::JobKind;

/// The most nodes of a run.
pub const NODES_MAX: usize = 5_000;

/// The body of `POST /api/runs`.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunRequest {
    /// The preset's name.
    pub preset: String,
    /// Params by name, each as JSON of its type.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub params: Option<NamedValues>,
    /// 1 to 5,000 ids of nodes, in the order in which they go. Either this or `selector`.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>, min_items = 1)]
    pub nodes: Option<NodeIds>,
    /// A selector, such as `role=web,zone in (a,b)`: all nodes that match now, ordered by id.
    #[serde(default)]
    pub selector: Option<String>,
    /// `apply`, the default, or `check`: each job only asks whether each step is already done. A
    /// check takes no secrets, and none of its jobs counts as a failure.
    #[serde(default)]
    pub kind: Option<JobKind>,
    /// How the nodes are divided into batches, and when the run stops; all nodes at once if absent.
    #[serde(default)]
    pub plan: Option<PlanRequest>,
    /// What happens to the job of a node that is OFFLINE when its batch is released: `wait`, the
    /// default, or `skip`.
    #[serde(default)]
    pub if_offline: Option<IfOffline>,
    /// The first batch is not released before this time, at most 366 days ahead.
    #[serde(default)]
    #[schema(value_type = Option<Timestamp>)]
    pub not_before: Option<String>,
    /// Seconds, 60 to 31,622,400: a job is cancelled if no agent claims it within this time after
    /// the release of its batch, and counts as a failure. Without it, jobs wait forever.
    #[serde(default)]
    #[schema(minimum = 60, maximum = 31_622_400)]
    pub expires_in_seconds: Option<i64>,
    /// 1 to 604,800; the preset's timeout if absent.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 604_800)]
    pub timeout_seconds: Option<i64>,
}

/// What happens to the job of a node that is OFFLINE when its batch is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum IfOffline {
    /// It waits for the node.
    Wait,
    /// It is cancelled.
    Skip,
}

impl IfOffline {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Skip => "skip",
        }
    }
}

/// Ids of nodes, each once, in the order in which they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeIds {
    /// The first [`NODES_MAX`] ids.
    pub kept: Vec<String>,
    /// Whether there were more.
    pub has_more: bool,
}

impl FromIterator<String> for NodeIds {
    fn from_iter<I: IntoIterator<Item = String>>(ids: I) -> Self {
        let mut nodes = NodeIds::default();
        let mut known = HashSet::new();
        for id in ids {
            nodes.add(id, &mut known);
        }
        nodes
    }
}

impl NodeIds {
    fn add(&mut self, id: String, known: &mut HashSet<String>) {
        if known.contains(&id) {
            return;
        }
        if self.kept.len() == NODES_MAX {
            self.has_more = true;
            return;
        }
        known.insert(id.clone());
        self.kept.push(id);
    }
}

impl<'de> Deserialize<'de> for NodeIds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(NodeIdsVisitor)
    }
}

struct NodeIdsVisitor;

impl<'de> Visitor<'de> for NodeIdsVisitor {
    type Value = NodeIds;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let (mut nodes, mut known) = (NodeIds::default(), HashSet::new());
        while let Some(id) = list.next_element::<String>()? {
            nodes.add(id, &mut known);
        }
        Ok(nodes)
    }
}

/// What a checked request consists of, apart from its preset.
pub(super) type CheckedRequest = (Plan, ClaimTimes, Option<Selector>);

impl RunRequest {
    /// A request for a preset, without nodes and options.
    pub(super) fn of(preset: &str) -> Self {
        Self {
            preset: preset.to_owned(),
            params: None,
            nodes: None,
            selector: None,
            kind: None,
            plan: None,
            if_offline: None,
            not_before: None,
            expires_in_seconds: None,
            timeout_seconds: None,
        }
    }

    /// Checks everything but the preset and its params.
    pub(super) fn check_all(&self, faults: &mut FieldErrors) -> CheckedRequest {
        let (plan, times) = self.check(faults);
        let selector = self.selector.as_deref().and_then(|text| {
            let parsed = Selector::parse(text);
            parsed
                .map_err(|error| faults.add("selector", error.to_string()))
                .ok()
        });
        check_timeout(self.timeout_seconds, faults);
        (plan, times, selector)
    }

    /// The plan and the times. Adds their faults, and those of the choice of nodes, to `faults`.
    pub(super) fn check(&self, faults: &mut FieldErrors) -> (Plan, ClaimTimes) {
        match (&self.nodes, &self.selector) {
            (Some(_), Some(_)) => faults.add("selector", "can't be given together with nodes"),
            (None, None) => faults.add("nodes", "is required, unless selector is given"),
            (Some(nodes), None) => faults.check(
                !nodes.kept.is_empty() && !nodes.has_more,
                "nodes",
                "must have 1 to 5000 nodes",
            ),
            (None, Some(_)) => {}
        }
        let plan = self.plan.clone().unwrap_or_default();
        // Checked apart: a job's expiry counts from the release of its batch.
        let times = ClaimTimes {
            expires_in_seconds: ClaimTimes::check(None, self.expires_in_seconds, faults)
                .expires_in_seconds,
            ..ClaimTimes::check(self.not_before.as_deref(), None, faults)
        };
        (Plan::check(&plan, faults), times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(json: &str) -> RunRequest {
        serde_json::from_str(json).expect(json)
    }

    fn faults(json: &str) -> Vec<String> {
        let mut faults = FieldErrors::default();
        request(json).check(&mut faults);
        let error = faults.into_result().err();
        error.map_or(Vec::new(), |error| error.fields.into_keys().collect())
    }

    #[test]
    fn a_node_named_twice_counts_once_and_the_order_stays() {
        let request = request(r#"{"preset":"p","nodes":["b","a","b"]}"#);
        assert_eq!(request.nodes.expect("nodes").kept, ["b", "a"]);
    }

    #[test]
    fn one_to_five_thousand_nodes() {
        let named = |count: usize| {
            let nodes: Vec<String> = (0..count).map(|n| format!("\"n{n}\"")).collect();
            format!(r#"{{"preset":"p","nodes":[{}]}}"#, nodes.join(","))
        };
        assert_eq!(faults(&named(0)), ["nodes"]);
        assert!(faults(&named(1)).is_empty());
        assert!(faults(&named(5_000)).is_empty());
        assert_eq!(faults(&named(5_001)), ["nodes"]);
        assert!(faults(&named(5_000).replace("\"n0\"", "\"n0\",\"n0\"")).is_empty());
    }

    #[test]
    fn nodes_are_named_or_selected() {
        assert_eq!(faults(r#"{"preset":"p"}"#), ["nodes"]);
        assert_eq!(
            faults(r#"{"preset":"p","nodes":["a"],"selector":"x"}"#),
            ["selector"]
        );
        assert!(faults(r#"{"preset":"p","selector":"x"}"#).is_empty());
    }
}
