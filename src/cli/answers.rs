//! Responses of the API for which the server has no type that can be deserialized. With `--json`
//! responses are printed as they are.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use crate::auth::User;
use crate::clock::Timestamp;
use crate::jobs::JobView;
use crate::nodes::NodeStatus;
use crate::store::job::JobStatus;

/// A new session.
#[derive(Deserialize)]
pub(super) struct Session {
    pub(super) token: String,
    pub(super) user: User,
}

#[derive(Deserialize)]
pub(super) struct Presets {
    pub(super) presets: Vec<Preset>,
    #[serde(default)]
    pub(super) errors: Vec<PresetError>,
}

/// A preset file that can't be used.
#[derive(Deserialize)]
pub(super) struct PresetError {
    pub(super) file: String,
    pub(super) line: Option<u64>,
    pub(super) message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Preset {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) targets: Vec<String>,
    pub(super) risk: String,
    pub(super) timeout_seconds: u64,
    pub(super) params: Vec<Param>,
    pub(super) origin: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Param {
    pub(super) name: String,
    pub(super) r#type: String,
    pub(super) required: bool,
    #[serde(default)]
    pub(super) default: Value,
    pub(super) description: String,
    #[serde(default)]
    pub(super) min: Option<i64>,
    #[serde(default)]
    pub(super) max: Option<i64>,
    #[serde(default)]
    pub(super) pattern: Option<String>,
    #[serde(default)]
    pub(super) values: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rendered {
    pub(super) script: String,
}

/// A run, without its jobs.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RunAnswer {
    pub(super) id: String,
    pub(super) preset: String,
    pub(super) params: Value,
    pub(super) selector: Option<String>,
    pub(super) status: RunStatus,
    pub(super) counts: RunCounts,
    pub(super) node_count: u64,
    pub(super) created_by_email: String,
    pub(super) created_at: Timestamp,
    pub(super) finished_at: Option<Timestamp>,
    pub(super) retry_of: Option<String>,
    pub(super) stopped_because: Option<String>,
    /// Nodes of the first run that were deleted since.
    #[serde(default)]
    pub(super) left_out: Vec<String>,
    #[serde(default)]
    pub(super) jobs: Vec<RunJob>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum RunStatus {
    Running,
    Paused,
    Succeeded,
    Failed,
    Cancelled,
}

impl RunStatus {
    pub(super) fn is_final(self) -> bool {
        match self {
            Self::Running | Self::Paused => false,
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
        }
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        })
    }
}

/// The numbers of a run's jobs by their state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct RunCounts {
    pub(super) held: u64,
    pub(super) queued: u64,
    pub(super) running: u64,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
    pub(super) skipped: u64,
}

/// A job of a run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RunJob {
    pub(super) id: String,
    pub(super) node_id: String,
    pub(super) batch: u64,
    pub(super) status: JobStatus,
    #[serde(default)]
    pub(super) holds: Vec<RunHold>,
    pub(super) exit_code: Option<i64>,
    pub(super) error_msg: Option<String>,
    pub(super) step: Option<RunStep>,
    pub(super) started_at: Option<Timestamp>,
    pub(super) finished_at: Option<Timestamp>,
}

/// Why a queued job can't start yet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct RunHold {
    pub(super) kind: String,
    #[serde(default)]
    pub(super) detail: Option<String>,
}

/// The step that a job's output announced last.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct RunStep {
    pub(super) index: u64,
    pub(super) count: u64,
    pub(super) name: String,
}

impl RunStep {
    /// `step 2 of 5: Set the SSH port`
    pub(super) fn words(&self) -> String {
        format!("step {} of {}: {}", self.index, self.count, self.name)
    }
}

/// A job in a list or an event. Not every list has its step.
#[derive(Clone, Deserialize)]
pub(super) struct WatchedJob {
    #[serde(flatten)]
    pub(super) job: JobView,
    #[serde(default)]
    pub(super) step: Option<RunStep>,
}

/// What a run would do.
#[derive(Deserialize)]
pub(super) struct DryRun {
    pub(super) nodes: Vec<PlannedNode>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PlannedNode {
    pub(super) id: String,
    pub(super) status: NodeStatus,
    pub(super) paused: bool,
    /// `None` while the node's system is unknown.
    pub(super) matches_targets: Option<bool>,
    pub(super) batch: u64,
}

/// The next due times of an expression.
#[derive(Deserialize)]
pub(super) struct DueTimes {
    pub(super) times: Vec<DueTime>,
}

/// A due time, in UTC and by the clock of its zone.
#[derive(Deserialize)]
pub(super) struct DueTime {
    pub(super) utc: Timestamp,
    pub(super) local: String,
}
