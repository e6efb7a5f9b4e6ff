//! A row of `jobs`, without its script and output.

use std::fmt;

use hyprbox_protocol::PerStream;
use serde::{Deserialize, Serialize};

use super::hold::Holds;
use crate::clock::Timestamp;
use crate::store::{FromValue, Row, StoreError, Value};

/// A job's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum JobStatus {
    /// Waiting for the node's agent.
    Queued,
    /// An agent has claimed it.
    Running,
    /// The script exited with code 0.
    Succeeded,
    /// The script exited with another code, or could not be run to its end.
    Failed,
    /// A user cancelled the job.
    Cancelled,
}

impl JobStatus {
    /// The name used in the API and in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            JobStatus::Queued => "QUEUED",
            JobStatus::Running => "RUNNING",
            JobStatus::Succeeded => "SUCCEEDED",
            JobStatus::Failed => "FAILED",
            JobStatus::Cancelled => "CANCELLED",
        }
    }

    /// Returns the status with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [
            Self::Queued,
            Self::Running,
            Self::Succeeded,
            Self::Failed,
            Self::Cancelled,
        ]
        .into_iter()
        .find(|status| status.as_str() == name)
    }

    /// Whether the status is final. The only exception is a job that failed because its lease ran
    /// out: its agent may still complete it.
    pub fn is_terminal(self) -> bool {
        match self {
            JobStatus::Queued | JobStatus::Running => false,
            JobStatus::Succeeded | JobStatus::Failed | JobStatus::Cancelled => true,
        }
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromValue for JobStatus {
    fn from_value(value: Value) -> Option<Self> {
        String::from_value(value).and_then(|name| Self::parse(&name))
    }
}

impl From<JobStatus> for Value {
    fn from(status: JobStatus) -> Self {
        Value::from(status.as_str())
    }
}

/// What a job's script does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// Applies the preset.
    Apply,
    /// Only asks whether each step is already done.
    Check,
}

impl JobKind {
    /// The name used in the API and in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            JobKind::Apply => "apply",
            JobKind::Check => "check",
        }
    }

    /// Returns the kind with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Apply, Self::Check]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

impl FromValue for JobKind {
    fn from_value(value: Value) -> Option<Self> {
        String::from_value(value).and_then(|name| Self::parse(&name))
    }
}

impl From<JobKind> for Value {
    fn from(kind: JobKind) -> Self {
        Value::from(kind.as_str())
    }
}

/// The version of a preset that a script was rendered from. Both are `None` for a built-in preset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PresetSource {
    /// The version of a preset that was saved in the app.
    pub version: Option<u64>,
    /// The commit of a presets folder that is a git checkout.
    pub commit: Option<String>,
}

/// How many bytes of one output stream exist and how many are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// All bytes that the script has written, which is also the offset of the next byte.
    pub bytes: u64,
    /// How many of these bytes are not kept.
    pub dropped: u64,
    /// The offset of the first kept byte.
    pub start: u64,
    /// Whether the last line is still without a line end.
    pub is_open: bool,
    /// Number of `chunks` rows that hold the kept bytes.
    pub rows: u64,
}

/// A job without its script and output.
#[derive(Debug, Clone)]
pub struct Job {
    pub id: String,
    pub status: JobStatus,
    pub preset: String,
    pub node_id: String,
    pub created_by: String,
    /// The user's email when the job was queued. The user may have been removed since.
    pub created_by_email: String,
    pub created_at: Timestamp,
    /// When the job was claimed.
    pub started_at: Option<Timestamp>,
    /// When the job reached a final state.
    pub finished_at: Option<Timestamp>,
    pub exit_code: Option<i64>,
    /// The signal that ended bash.
    pub signal: Option<String>,
    /// Why the job failed, if the exit code does not show it.
    pub error_msg: Option<String>,
    pub timeout_seconds: u64,
    /// When a user asked to cancel the running job.
    pub cancel_requested_at: Option<Timestamp>,
    /// Until when the job waits for a confirmation, by the node's clock.
    pub confirm_by: Option<Timestamp>,
    /// How long that wait is.
    pub confirm_seconds: u64,
    /// When a user confirmed the waiting job.
    pub confirm_requested_at: Option<Timestamp>,
    /// When the agent completed the job after its lease had run out.
    pub recovered_at: Option<Timestamp>,
    /// When the job failed because its lease ran out.
    pub lost_at: Option<Timestamp>,
    /// The agent instance that claimed the job.
    pub claimed_by: Option<String>,
    /// The process of that instance; older agents send none.
    pub claimed_process: Option<String>,
    /// The job has ended here, but the agent reports that the script still runs.
    pub still_running: bool,
    /// The run that the job belongs to.
    pub run_id: Option<String>,
    /// The run's batch, from 0.
    pub batch: Option<u64>,
    pub kind: JobKind,
    /// The job is not claimed before this time.
    pub not_before: Option<Timestamp>,
    /// The job is not claimed at or after this time.
    pub expires_at: Option<Timestamp>,
    /// Why a QUEUED job can't be claimed yet.
    pub holds: Holds,
    /// Since when the run's pause holds the job.
    pub run_paused_at: Option<Timestamp>,
    /// The last step that the job has announced; see `jobs/run/step.rs`.
    pub step: Option<String>,
    /// SHA-256 of the accepted completion, to recognise a repetition.
    pub complete_digest: Option<Vec<u8>>,
    /// SHA-256 of the script in hex.
    pub script_sha256: String,
    /// What the script was rendered from.
    pub preset_source: PresetSource,
    /// Process id of bash on the node, once the agent has reported it.
    pub pid: Option<u64>,
    /// Lines of both streams that have begun; `None` if they were not counted from the start.
    pub lines: Option<u64>,
    /// Bytes of both streams that arrived.
    pub position: u64,
    pub stdout: StreamCounts,
    pub stderr: StreamCounts,
    /// When output last arrived.
    pub last_output_at: Option<Timestamp>,
    /// When bash began, computed from the node's time since then; `None` if the agent is older.
    pub script_began_at: Option<Timestamp>,
    /// How long bash ran by the node's clock, in milliseconds.
    pub ran_ms: Option<u64>,
    /// The key of the person who signed the job: a JSON object.
    pub signed_by: Option<String>,
    pub proof: OutputProof,
    /// What an ended check found.
    pub check_result: Option<CheckResult>,
    /// The parameters used, as a JSON object.
    pub params: String,
}

/// What a check found: the number of steps in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckResult {
    /// Steps that are already done.
    pub ok: u64,
    /// Steps that would run.
    pub would_run: u64,
    /// Steps that can't tell: no `unless`, a secret is needed, or a minute was not enough.
    pub cant_tell: u64,
}

impl FromValue for CheckResult {
    fn from_value(value: Value) -> Option<Self> {
        let counts = String::from_value(value)?;
        let mut counts = counts.split(' ').map(|count| count.parse().ok());
        Some(Self {
            ok: counts.next()??,
            would_run: counts.next()??,
            cant_tell: counts.next()??,
        })
    }
}

/// What shows whether the kept output is complete and as the script wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputProof {
    /// SHA-256 of each stream in hex, as the agent reported it at the job's end.
    pub reported: PerStream<Option<String>>,
    /// Whether every byte is kept and the hashes fit; `None` if that is not known.
    pub verified: Option<bool>,
    /// State of the server's own SHA-256 of each stream while the job runs. `None` if no byte has
    /// arrived, or one is missing.
    pub states: PerStream<Option<Vec<u8>>>,
}

impl Job {
    /// Whether the job waits for a confirmation, as far as its agent has reported.
    pub fn waits(&self) -> bool {
        self.confirm_by.is_some()
            && self.confirm_requested_at.is_none()
            && self.cancel_requested_at.is_none()
            && (self.status == JobStatus::Running || self.still_running)
    }

    /// The counts of each stream.
    pub fn counts(&self) -> PerStream<StreamCounts> {
        PerStream::new(self.stdout, self.stderr)
    }
}

/// Columns of `jobs` in the order that [`job_of_row`] reads.
macro_rules! job_columns {
    () => {
        include_str!("../sql/job_columns.sql")
    };
}
pub(in crate::store) use job_columns;

/// Reads the columns of [`job_columns`].
pub(in crate::store) fn job_of_row(row: &mut Row) -> Result<Job, StoreError> {
    let counts = |row: &mut Row| {
        Ok::<_, StoreError>(StreamCounts {
            bytes: row.take()?,
            dropped: row.take()?,
            start: row.take()?,
            is_open: row.take()?,
            rows: row.take()?,
        })
    };
    Ok(Job {
        id: row.take()?,
        status: row.take()?,
        preset: row.take()?,
        node_id: row.take()?,
        created_by: row.take()?,
        created_by_email: row.take()?,
        created_at: row.take()?,
        started_at: row.take_typed_time()?,
        finished_at: row.take_typed_time()?,
        exit_code: row.take()?,
        signal: row.take()?,
        error_msg: row.take()?,
        timeout_seconds: row.take()?,
        cancel_requested_at: row.take_typed_time()?,
        confirm_by: row.take_typed_time()?,
        confirm_seconds: row.take()?,
        confirm_requested_at: row.take_typed_time()?,
        recovered_at: row.take_typed_time()?,
        lost_at: row.take()?,
        claimed_by: row.take()?,
        claimed_process: row.take()?,
        still_running: row.take()?,
        run_id: row.take()?,
        batch: row.take()?,
        kind: row.take()?,
        not_before: row.take_typed_time()?,
        expires_at: row.take_typed_time()?,
        holds: row.take()?,
        run_paused_at: row.take_typed_time()?,
        step: row.take()?,
        complete_digest: row.take()?,
        script_sha256: row.take()?,
        preset_source: PresetSource {
            version: row.take()?,
            commit: row.take()?,
        },
        pid: row.take()?,
        lines: row.take()?,
        position: row.take()?,
        stdout: counts(row)?,
        stderr: counts(row)?,
        last_output_at: row.take()?,
        script_began_at: row.take()?,
        ran_ms: row.take()?,
        signed_by: row.take()?,
        proof: OutputProof {
            reported: PerStream::new(row.take()?, row.take()?),
            verified: row.take()?,
            states: PerStream::new(row.take()?, row.take()?),
        },
        check_result: row.take()?,
        params: row.take()?,
    })
}
