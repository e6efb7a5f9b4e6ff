//! Reads which presets were applied to which nodes, and what the last check found.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::jobs::{DriftState, DriftStep, JobError, stored_params, stored_steps};
use crate::nodes::Selector;
use crate::runs::Runs;
use crate::store::drift::{self, StoredDrift};
use crate::store::{StoreError, Tx, node};

/// Nodes whose rows one statement reads.
const NODES_AT_ONCE: usize = 200;

/// A page of rows.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftPage {
    /// Ordered by node and preset.
    pub drift: Vec<DriftView>,
    /// Send it as `cursor` to get the next page; `null` on the last page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// A preset that was applied to a node with success, and whether the node is still like that.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftView {
    /// The node's id.
    pub node_id: String,
    /// The preset's name.
    pub preset: String,
    /// The params of the last apply that succeeded, each secret as `***`: what the node should be
    /// like.
    #[schema(value_type = Object)]
    pub params: Map<String, Value>,
    /// The job that applied it. It may have been deleted since.
    pub applied_job_id: String,
    /// When that job ended.
    pub applied_at: Timestamp,
    /// The last check with these params since then, by whomever. Secrets are not compared.
    #[schema(required = true)]
    pub check_job_id: Option<String>,
    /// When that check ended.
    #[schema(required = true)]
    pub checked_at: Option<Timestamp>,
    /// Whether the node is still like that.
    pub state: DriftState,
    /// What the check has found about each step; empty before the first check.
    pub steps: Vec<DriftStep>,
}

impl From<StoredDrift> for DriftView {
    fn from(row: StoredDrift) -> Self {
        let steps = stored_steps(&row);
        Self {
            params: stored_params(&row.params),
            state: DriftState::of(&steps),
            steps,
            node_id: row.node_id,
            preset: row.preset,
            applied_job_id: row.applied_job_id,
            applied_at: row.applied_at,
            check_job_id: row.check_job_id,
            checked_at: row.checked_at,
        }
    }
}

/// The place of a row: its node and its preset.
pub(super) type RowPlace = (String, String);

impl Runs {
    /// A page of rows of the nodes that match, of one preset if that is given.
    pub async fn drift(
        &self,
        selector: Option<Selector>,
        preset: Option<String>,
        after: Option<RowPlace>,
        limit: u64,
    ) -> Result<DriftPage, JobError> {
        let mut rows = self
            .store
            .read(move |tx| {
                let mut nodes = node::list(tx)?;
                nodes.retain(|node| selector.as_ref().is_none_or(|s| s.matches(node)));
                let mut ids: Vec<&str> = nodes.iter().map(|node| node.id.as_str()).collect();
                ids.sort_unstable();
                let after = after.as_ref().map(|(node, preset)| (&**node, &**preset));
                rows_of(tx, &ids, preset.as_deref(), after, limit + 1)
            })
            .await?;
        let kept = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > kept;
        rows.truncate(kept);
        let last = rows.last().filter(|_| has_more);
        Ok(DriftPage {
            next_cursor: last.map(|row| format!("{}/{}", row.node_id, row.preset)),
            drift: rows.into_iter().map(DriftView::from).collect(),
        })
    }

    /// Every row of these nodes, ordered by node and preset.
    pub async fn drift_of(
        &self,
        mut nodes: Vec<String>,
        preset: Option<String>,
    ) -> Result<Vec<DriftView>, JobError> {
        nodes.sort_unstable();
        let rows = self.rows_of_nodes(nodes, preset).await?;
        Ok(rows.into_iter().map(DriftView::from).collect())
    }

    /// Every row of these nodes, which are sorted.
    pub(super) async fn rows_of_nodes(
        &self,
        nodes: Vec<String>,
        preset: Option<String>,
    ) -> Result<Vec<StoredDrift>, JobError> {
        self.store
            .read(move |tx| {
                let ids: Vec<&str> = nodes.iter().map(String::as_str).collect();
                Ok(rows_of(
                    tx,
                    &ids,
                    preset.as_deref(),
                    None,
                    u64::from(u32::MAX),
                )?)
            })
            .await
    }
}

/// Up to `limit` rows of these nodes, which are sorted, after a row.
fn rows_of(
    tx: &mut dyn Tx,
    nodes: &[&str],
    preset: Option<&str>,
    after: Option<(&str, &str)>,
    limit: u64,
) -> Result<Vec<StoredDrift>, StoreError> {
    let from = after.map_or(0, |(first, _)| nodes.partition_point(|id| *id < first));
    let mut rows = Vec::new();
    for some in nodes[from..].chunks(NODES_AT_ONCE) {
        let left = limit.saturating_sub(rows.len() as u64);
        if left == 0 {
            break;
        }
        rows.extend(drift::list(tx, some, preset, after, left)?);
    }
    Ok(rows)
}
