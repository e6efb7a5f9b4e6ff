//! Applies presets again where nodes have drifted.

use serde_json::{Map, Value};

use super::check::{groups, known_params};
use crate::auth::User;
use crate::jobs::{DriftState, JobError, PlanRequest, RunView, stored_steps};
use crate::presets::ParamKind;
use crate::runs::{CreateOutcome, NodeIds, RunError, RunRequest, Runs};
use crate::store::node;

/// What is applied again: a cell of the matrix, a row, or a column.
#[derive(Debug, Clone, Default)]
pub struct AgainTarget {
    pub node: Option<String>,
    pub preset: Option<String>,
}

/// A run that applies a preset again.
#[derive(Debug, Clone)]
pub struct AgainGroup {
    pub preset: String,
    /// The params of the last apply that succeeded, each secret as `***`.
    pub params: Map<String, Value>,
    pub nodes: Vec<String>,
    /// The last apply of one of these nodes, whose values a form can take.
    pub applied_job_id: String,
    /// Whether the preset takes secrets, which nobody has kept.
    pub needs_secrets: bool,
    /// Whether the preset still exists.
    pub exists: bool,
}

impl Runs {
    /// The runs that would apply presets again. A row and a column take what has drifted; a single
    /// cell is taken in any state.
    pub async fn plan_again(&self, target: AgainTarget) -> Result<Vec<AgainGroup>, RunError> {
        let nodes = match &target.node {
            Some(node) => vec![node.clone()],
            None => {
                let nodes = self.store.read(node::list).await.map_err(JobError::from)?;
                let mut ids: Vec<String> = nodes.into_iter().map(|node| node.id).collect();
                ids.sort_unstable();
                ids
            }
        };
        let is_cell = target.node.is_some() && target.preset.is_some();
        let mut rows = self.rows_of_nodes(nodes, target.preset).await?;
        rows.retain(|row| is_cell || DriftState::of(&stored_steps(row)) == DriftState::Drifted);
        let presets = self.presets().await?;
        let plan = |group: super::check::Group| {
            let preset = presets.get(&group.preset).map(|entry| &entry.preset);
            let mut params = preset.iter().flat_map(|preset| &preset.params);
            let first = group.rows.first();
            AgainGroup {
                needs_secrets: params.any(|param| param.kind == ParamKind::Secret),
                exists: preset.is_some(),
                applied_job_id: first.map_or(String::new(), |row| row.applied_job_id.clone()),
                nodes: group.rows.into_iter().map(|row| row.node_id).collect(),
                preset: group.preset,
                params: group.params,
            }
        };
        Ok(groups(rows).into_iter().map(plan).collect())
    }

    /// Applies a preset again. Several nodes begin with one of them as the canary.
    pub async fn apply_again(&self, user: &User, group: AgainGroup) -> Result<RunView, RunError> {
        let presets = self.presets().await?;
        let preset = presets.get(&group.preset).map(|entry| &entry.preset);
        let canary = i64::from(group.nodes.len() > 1);
        let request = RunRequest {
            params: Some(known_params(preset, group.params)),
            nodes: Some(group.nodes.into_iter().collect::<NodeIds>()),
            plan: Some(PlanRequest {
                canary: Some(canary),
                ..PlanRequest::default()
            }),
            ..RunRequest::of(&group.preset)
        };
        let outcome = self.create(user, request, None, None).await?;
        let (CreateOutcome::New(run) | CreateOutcome::Existing(run)) = outcome;
        Ok(run)
    }
}
