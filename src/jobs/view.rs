//! A job as the API returns it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::store::job::{Job, JobStatus};

/// A job, without its script and output. A field without a value is `null`, never absent.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobView {
    /// UUIDv7.
    pub id: String,
    /// The preset's name.
    pub preset: String,
    /// The node's id.
    pub node_id: String,
    /// The params used, with defaults filled in; secrets appear as `***`.
    #[schema(value_type = Object)]
    pub params: Value,
    /// The job's state.
    pub status: JobStatus,
    /// The user's id.
    pub created_by: String,
    /// The user's email when it was queued.
    pub created_by_email: String,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When it was claimed.
    #[schema(required = true)]
    pub started_at: Option<Timestamp>,
    /// When it reached a terminal state.
    #[schema(required = true)]
    pub finished_at: Option<Timestamp>,
    /// Bash's exit code.
    #[schema(required = true)]
    pub exit_code: Option<i64>,
    /// The signal that ended bash.
    #[schema(required = true)]
    pub signal: Option<String>,
    /// Why the job failed, if the exit code does not show it.
    #[schema(required = true)]
    pub error_msg: Option<String>,
    /// Seconds that the script may run.
    pub timeout_seconds: u64,
    /// When a user requested the cancel of the running job.
    #[schema(required = true)]
    pub cancel_requested_at: Option<Timestamp>,
    /// When the agent completed the job after its lease had expired.
    #[schema(required = true)]
    pub recovered_at: Option<Timestamp>,
    /// SHA-256 of the script, hex.
    pub script_sha256: String,
    /// Bytes that the script wrote to stdout.
    pub stdout_bytes: u64,
    /// Bytes that the script wrote to stderr.
    pub stderr_bytes: u64,
    /// Bytes of stdout that are not kept.
    pub stdout_dropped: u64,
    /// Bytes of stderr that are not kept.
    pub stderr_dropped: u64,
}

/// A job with its script and kept output. Bytes that aren't UTF-8 appear as U+FFFD.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JobDetail {
    /// The job.
    #[serde(flatten)]
    pub job: JobView,
    /// The frozen script.
    pub script: String,
    /// The kept tail of stdout.
    pub stdout: String,
    /// The kept tail of stderr.
    pub stderr: String,
}

impl From<Job> for JobView {
    fn from(job: Job) -> Self {
        Self {
            id: job.id,
            preset: job.preset,
            node_id: job.node_id,
            params: serde_json::from_str(&job.params).unwrap_or_default(),
            status: job.status,
            created_by: job.created_by,
            created_by_email: job.created_by_email,
            created_at: job.created_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            exit_code: job.exit_code,
            signal: job.signal,
            error_msg: job.error_msg,
            timeout_seconds: job.timeout_seconds,
            cancel_requested_at: job.cancel_requested_at,
            recovered_at: job.recovered_at,
            script_sha256: job.script_sha256,
            stdout_bytes: job.stdout.bytes,
            stderr_bytes: job.stderr.bytes,
            stdout_dropped: job.stdout.dropped,
            stderr_dropped: job.stderr.dropped,
        }
    }
}
