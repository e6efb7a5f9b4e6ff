//! Checks of what was applied: a run for each preset and set of params.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::auth::User;
use crate::http::{ApiError, FieldErrors, NamedValues};
use crate::jobs::{JobError, RunView, stored_params};
use crate::presets::{MASK, ParamKind, Preset};
use crate::runs::{CreateOutcome, NodeIds, RunError, RunRequest, Runs};
use crate::store::StoreError;
use crate::store::drift::{self, StoredDrift};
use crate::store::job::JobKind;

/// A check that no agent has come for within a day is cancelled. Checks of nodes that are away
/// would otherwise pile up.
const EXPIRES_IN_SECONDS: i64 = 24 * 3600;

/// The body of `POST /api/drift/check`.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub struct DriftCheckRequest {
    /// Which nodes, such as `role=web,zone in (a,b)`.
    pub selector: String,
    /// Only this preset; every preset that was applied if absent.
    #[serde(default)]
    pub preset: Option<String>,
}

/// The checks that were queued.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftChecks {
    /// One for each preset and set of params. Empty if nothing was ever applied there.
    pub runs: Vec<RunView>,
    /// Presets that could not be checked, and why: deleted since, or another version needs other
    /// params.
    pub left_out: Vec<LeftOutPreset>,
}

/// A preset that could not be checked.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LeftOutPreset {
    /// The preset's name.
    pub preset: String,
    /// Why, in words.
    pub because: String,
}

/// Rows of the same preset and params.
pub(super) struct Group {
    pub(super) preset: String,
    pub(super) params: Map<String, Value>,
    pub(super) rows: Vec<StoredDrift>,
}

/// Groups rows by preset and params, ordered by preset and first node.
pub(super) fn groups(rows: Vec<StoredDrift>) -> Vec<Group> {
    let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
    for row in rows {
        let params = stored_params(&row.params);
        let key = (row.preset.clone(), Value::from(params.clone()).to_string());
        let group = groups.entry(key).or_insert_with(|| Group {
            preset: row.preset.clone(),
            params,
            rows: Vec::new(),
        });
        group.rows.push(row);
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|a, b| {
        let place = |group: &Group| group.rows.first().map(|row| row.node_id.clone());
        (&a.preset, place(a)).cmp(&(&b.preset, place(b)))
    });
    groups
}

/// The params that today's preset takes, without secrets.
pub(super) fn known_params(preset: Option<&Preset>, params: Map<String, Value>) -> NamedValues {
    let is_known = |name: &str| {
        let param = preset.and_then(|preset| preset.param(name));
        param.is_some_and(|param| param.kind != ParamKind::Secret)
    };
    let mut known = NamedValues::default();
    let kept = params.into_iter().filter(|(name, _)| is_known(name));
    known.kept.extend(kept);
    known
}

impl Runs {
    /// Queues a check of what was applied to the nodes that match.
    pub async fn check_drift(
        &self,
        user: &User,
        request: DriftCheckRequest,
    ) -> Result<DriftChecks, RunError> {
        let nodes = self.select_nodes(&request.selector).await?;
        let rows = self.rows_of_nodes(nodes, request.preset).await?;
        let mut checks = DriftChecks {
            runs: Vec::new(),
            left_out: Vec::new(),
        };
        for group in groups(rows) {
            let preset = group.preset.clone();
            match self.check_group(user, group).await {
                Ok(run) => checks.runs.push(run),
                Err(error) => checks.left_out.push(LeftOutPreset {
                    preset,
                    because: because(error)?,
                }),
            }
        }
        Ok(checks)
    }

    async fn check_group(&self, user: &User, group: Group) -> Result<RunView, RunError> {
        let presets = self.presets().await?;
        let preset = presets.get(&group.preset).map(|entry| &entry.preset);
        let nodes = group.rows.iter().map(|row| row.node_id.clone());
        let request = RunRequest {
            params: Some(known_params(preset, group.params.clone())),
            nodes: Some(nodes.collect::<NodeIds>()),
            kind: Some(JobKind::Check),
            expires_in_seconds: Some(EXPIRES_IN_SECONDS),
            ..RunRequest::of(&group.preset)
        };
        let rendered = self.render_run(&request, FieldErrors::default()).await?;
        let mut expected = group.params;
        expected.retain(|name, value| *value != MASK || rendered.params.contains_key(name));
        if rendered.params != expected {
            let (rows, params) = (group.rows, Value::from(rendered.params.clone()).to_string());
            self.store
                .write(move |tx| {
                    for row in &rows {
                        drift::set_check_params(tx, row, &params)?;
                    }
                    Ok::<_, StoreError>(())
                })
                .await?;
        }
        let outcome = self
            .create_rendered(user, request, rendered, None, None)
            .await?;
        let (CreateOutcome::New(run) | CreateOutcome::Existing(run)) = outcome;
        Ok(run)
    }

    /// The ids of the nodes that match, in their order. A selector that matches none is a fault.
    async fn select_nodes(&self, selector: &str) -> Result<Vec<String>, RunError> {
        let request = RunRequest {
            selector: Some(selector.to_owned()),
            ..RunRequest::of("")
        };
        let mut faults = FieldErrors::default();
        let (_, _, selector) = request.check_all(&mut faults);
        faults.into_faults().map_err(JobError::Fields)?;
        let nodes = self.nodes_of_run(&request, &selector).await?;
        let mut ids: Vec<String> = nodes.into_iter().map(|node| node.id).collect();
        ids.sort_unstable();
        Ok(ids)
    }
}

/// Why a preset can't be checked, in words. What is not about the preset stays an error.
fn because(error: RunError) -> Result<String, RunError> {
    if let RunError::NodesNotFound(_) = error {
        return Ok(error.to_string());
    }
    let RunError::Job(
        error @ (JobError::PresetNotFound | JobError::PresetBroken(_) | JobError::Fields(_)),
    ) = error
    else {
        return Err(error);
    };
    Ok(ApiError::from(error).in_words())
}
