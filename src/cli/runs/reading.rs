//! A run as the server describes it at one moment.

use serde_json::Value;

use crate::cli::answers::RunAnswer;
use crate::cli::client::Client;
use crate::nodes::NodeView;

/// A run as it was read.
pub(super) struct Reading {
    pub(super) run: RunAnswer,
    pub(super) json: Value,
    /// The nodes, if some of them keep released jobs waiting.
    pub(super) nodes: Vec<NodeView>,
}

/// The nodes, if some of them keep released jobs of the run waiting. They only explain why: none if
/// they can't be read.
pub(super) async fn nodes_of(client: &Client, run: &RunAnswer) -> Vec<NodeView> {
    if run.counts.queued == 0 {
        return Vec::new();
    }
    let nodes = client.list::<NodeView>("/api/nodes", "nodes").await;
    nodes.map_or_else(|_| Vec::new(), |nodes| nodes.value)
}
