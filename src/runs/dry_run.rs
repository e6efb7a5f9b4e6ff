//! `POST /api/runs?dryRun=true`: what a run would do.

use serde::{Deserialize, Serialize};

use super::{RunError, RunRequest, Runs};
use crate::http::FieldErrors;
use crate::nodes::NodeStatus;
use crate::presets::{Preset, Script};
use crate::store::node::Node;

/// The nodes that a run would take, and their batches. Nothing is queued.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DryRun {
    /// In the order of their batches.
    pub nodes: Vec<DryRunNode>,
    /// SHA-256 of the script that would be frozen, hex.
    pub script_sha256: String,
}

/// A node that a run would take.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DryRunNode {
    /// The node's id.
    pub id: String,
    /// Whether its agent is alive.
    pub status: NodeStatus,
    /// A paused node takes part, and its job waits.
    pub paused: bool,
    /// Whether the preset targets the node's distribution; `null` if that is unknown.
    #[schema(required = true)]
    pub matches_targets: Option<bool>,
    /// Counted from 0.
    pub batch: u64,
}

impl Runs {
    /// What a run would do.
    pub async fn dry_run(&self, request: RunRequest) -> Result<DryRun, RunError> {
        let rendered = self.render_run(&request, FieldErrors::default()).await?;
        let nodes = self.nodes_of_run(&request, &rendered.selector).await?;
        let presets = self.presets().await?;
        let preset = presets.get(&request.preset).map(|entry| &entry.preset);
        let batches = rendered.plan.batches(nodes.len());
        let view = |(node, batch): (Node, u64)| DryRunNode {
            status: self.nodes.presence.status_of(&node.id).0,
            matches_targets: preset.and_then(|preset| matches_targets(preset, &node)),
            paused: node.paused,
            id: node.id,
            batch,
        };
        Ok(DryRun {
            nodes: nodes.into_iter().zip(batches).map(view).collect(),
            script_sha256: rendered.script.sha256,
        })
    }

    /// The script of a request, and the ids of its nodes.
    pub async fn script_and_nodes(
        &self,
        request: &RunRequest,
    ) -> Result<(Script, Vec<String>), RunError> {
        let rendered = self.render_run(request, FieldErrors::default()).await?;
        let nodes = self.nodes_of_run(request, &rendered.selector).await?;
        let ids = nodes.into_iter().map(|node| node.id).collect();
        Ok((rendered.script, ids))
    }
}

fn matches_targets(preset: &Preset, node: &Node) -> Option<bool> {
    let id = node.facts.os_id.as_deref().filter(|id| !id.is_empty())?;
    let id_like = node.facts.os_id_like.as_deref().unwrap_or_default();
    Some(preset.targets_os(id, id_like))
}
