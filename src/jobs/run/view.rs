//! A run as the API returns it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::jobs::run::plan::Plan;
use crate::store::job::JobKind;
use crate::store::run::{self, Run, RunCounts, RunStatus};
use crate::store::{StoreError, Tx};

/// A run, without its jobs. A field without a value is `null`, never absent.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunView {
    /// UUIDv7.
    pub id: String,
    /// The preset's name.
    pub preset: String,
    /// The params used, with defaults filled in; secrets appear as `***`.
    #[schema(value_type = Object)]
    pub params: Value,
    /// What its scripts do.
    pub kind: JobKind,
    /// The selector that chose the nodes; `null` if they were named.
    #[schema(required = true)]
    pub selector: Option<String>,
    /// How the nodes are divided into batches, and when the run stops.
    pub plan: Plan,
    /// The run's state.
    pub status: RunStatus,
    /// The states of its jobs.
    pub counts: RunCounts,
    /// Number of its nodes.
    pub node_count: u64,
    /// The user's id.
    pub created_by: String,
    /// The user's email when it was queued.
    pub created_by_email: String,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When its last job ended.
    #[schema(required = true)]
    pub finished_at: Option<Timestamp>,
    /// The run that this one repeats.
    #[schema(required = true)]
    pub retry_of: Option<String>,
    /// The schedule that made it.
    #[schema(required = true)]
    pub schedule_id: Option<String>,
    /// Why it stopped before every job was started.
    #[schema(required = true)]
    pub stopped_because: Option<String>,
}

impl RunView {
    /// The run with the counts of its jobs.
    pub fn new(run: Run, counts: RunCounts) -> Self {
        Self {
            id: run.id,
            preset: run.preset,
            params: serde_json::from_str(&run.params).unwrap_or_default(),
            kind: run.kind,
            selector: run.selector,
            plan: Plan::stored(&run.plan),
            status: run.status,
            counts,
            node_count: run.node_count,
            created_by: run.created_by,
            created_by_email: run.created_by_email,
            created_at: run.created_at,
            finished_at: run.finished_at,
            retry_of: run.retry_of,
            schedule_id: run.schedule_id,
            stopped_because: run.stopped_because,
        }
    }

    /// The run with the counts of its jobs, read now.
    pub fn read(tx: &mut dyn Tx, run: Run) -> Result<Self, StoreError> {
        let counts = run::counts(tx, &run.id)?;
        Ok(Self::new(run, counts))
    }
}
