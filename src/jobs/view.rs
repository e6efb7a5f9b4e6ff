//! A job as the API shows it.

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
    /// Those used, defaults filled in; a secret shows as `***`.
    #[schema(value_type = Object)]
    pub params: Value,
    /// Where it stands.
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
    /// Why it failed, where the exit code doesn't say.
    #[schema(required = true)]
    pub error_msg: Option<String>,
    /// How long the script may run.
    pub timeout_seconds: u64,
    /// When a person asked to cancel it while it ran.
    #[schema(required = true)]
    pub cancel_requested_at: Option<Timestamp>,
    /// When it was completed after its lease had run out.
    #[schema(required = true)]
    pub recovered_at: Option<Timestamp>,
    /// SHA-256 of the script, hex.
    pub script_sha256: String,
    /// Bytes written to stdout in all.
    pub stdout_bytes: u64,
    /// Bytes written to stderr in all.
    pub stderr_bytes: u64,
    /// Of stdout's bytes, those that are not kept.
    pub stdout_dropped: u64,
    /// Of stderr's bytes, those that are not kept.
    pub stderr_dropped: u64,
}

/// A job with its script and kept output. Bytes that aren't UTF-8 show as U+FFFD.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
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
