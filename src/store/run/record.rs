//! A row of `runs`, and the states of its jobs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::store::job::JobKind;
use crate::store::{FromValue, Row, StoreError, Value};

/// A run's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum RunStatus {
    /// Its jobs run, or wait for their turn.
    Running,
    /// No further batch is released.
    Paused,
    /// At least one job succeeded, and no more failed than allowed.
    Succeeded,
    /// More jobs failed than allowed, or none succeeded.
    Failed,
    /// A person cancelled it.
    Cancelled,
}

impl RunStatus {
    /// The name used in the API and in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            RunStatus::Running => "RUNNING",
            RunStatus::Paused => "PAUSED",
            RunStatus::Succeeded => "SUCCEEDED",
            RunStatus::Failed => "FAILED",
            RunStatus::Cancelled => "CANCELLED",
        }
    }

    /// Returns the status with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [
            Self::Running,
            Self::Paused,
            Self::Succeeded,
            Self::Failed,
            Self::Cancelled,
        ]
        .into_iter()
        .find(|status| status.as_str() == name)
    }

    /// Whether the run has ended. Its status never changes again.
    pub fn is_final(self) -> bool {
        match self {
            RunStatus::Running | RunStatus::Paused => false,
            RunStatus::Succeeded | RunStatus::Failed | RunStatus::Cancelled => true,
        }
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromValue for RunStatus {
    fn from_value(value: Value) -> Option<Self> {
        String::from_value(value).and_then(|name| Self::parse(&name))
    }
}

impl From<RunStatus> for Value {
    fn from(status: RunStatus) -> Self {
        Value::from(status.as_str())
    }
}

/// A run.
#[derive(Debug, Clone)]
pub struct Run {
    pub id: String,
    pub status: RunStatus,
    pub preset: String,
    /// The parameters used, as a JSON object.
    pub params: String,
    pub kind: JobKind,
    /// The selector that chose the nodes, if they were not named.
    pub selector: Option<String>,
    /// The plan, as a JSON object.
    pub plan: String,
    /// `wait` or `skip`.
    pub if_offline: String,
    pub node_count: u64,
    pub batches: u64,
    /// The last batch that is released; -1 if none is.
    pub released_batch: i64,
    /// When the next batch is released at the earliest; `None` if no time was set.
    pub release_at: Option<Timestamp>,
    pub expires_in_seconds: Option<i64>,
    pub timeout_seconds: u64,
    pub not_before: Option<Timestamp>,
    pub created_by: String,
    pub created_by_email: String,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// When a person cancelled the run.
    pub cancelled_at: Option<Timestamp>,
    pub retry_of: Option<String>,
    pub schedule_id: Option<String>,
    /// Why no further job is started.
    pub stopped_because: Option<String>,
    /// The run that must end before this one begins.
    pub after_run: Option<String>,
}

/// Columns of `runs` in the order that [`run_of_row`] reads.
macro_rules! run_columns {
    () => {
        include_str!("../sql/run_columns.sql")
    };
}
pub(super) use run_columns;

/// Reads the columns of [`run_columns`].
pub(super) fn run_of_row(row: &mut Row) -> Result<Run, StoreError> {
    Ok(Run {
        id: row.take()?,
        status: row.take()?,
        preset: row.take()?,
        params: row.take()?,
        kind: row.take()?,
        selector: row.take()?,
        plan: row.take()?,
        if_offline: row.take()?,
        node_count: row.take()?,
        batches: row.take()?,
        released_batch: row.take()?,
        release_at: row.take()?,
        expires_in_seconds: row.take()?,
        timeout_seconds: row.take()?,
        not_before: row.take()?,
        created_by: row.take()?,
        created_by_email: row.take()?,
        created_at: row.take()?,
        finished_at: row.take()?,
        cancelled_at: row.take()?,
        retry_of: row.take()?,
        schedule_id: row.take()?,
        stopped_because: row.take()?,
        after_run: row.take()?,
    })
}

/// The states of a run's jobs. Their sum is the number of its nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunCounts {
    /// QUEUED, and held: their batch is not released, or something else is in the way.
    pub held: u64,
    /// QUEUED, and waiting only for their node.
    pub queued: u64,
    /// RUNNING.
    pub running: u64,
    /// SUCCEEDED.
    pub succeeded: u64,
    /// FAILED, or expired.
    pub failed: u64,
    /// CANCELLED, except those that expired or were skipped.
    pub cancelled: u64,
    /// Skipped because their node was offline.
    pub skipped: u64,
}
