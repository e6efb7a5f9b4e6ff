//! A job as the API returns it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::http::grouped;
use crate::store::job::{CheckResult, HoldKind, Holds, Job, JobKind, JobStatus};

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
    /// How long bash ran, in milliseconds by the node's clock; null before its end, and if the
    /// agent is older.
    #[schema(required = true)]
    pub ran_ms: Option<u64>,
    /// When a user requested the cancel of the running job.
    #[schema(required = true)]
    pub cancel_requested_at: Option<Timestamp>,
    /// Until when the job waits for a confirmation, by the node's clock; without one its steps are
    /// undone. Null if the job has not begun to wait.
    #[schema(required = true)]
    pub confirm_by: Option<Timestamp>,
    /// When a user confirmed the waiting job.
    #[schema(required = true)]
    pub confirm_requested_at: Option<Timestamp>,
    /// When the agent completed the job after its lease had expired.
    #[schema(required = true)]
    pub recovered_at: Option<Timestamp>,
    /// The run that the job belongs to; null for a single job.
    #[schema(required = true)]
    pub run_id: Option<String>,
    /// The run's batch, from 0; null for a single job.
    #[schema(required = true)]
    pub batch: Option<u64>,
    /// What the script does.
    pub kind: JobKind,
    /// The job is not claimed before this time.
    #[schema(required = true)]
    pub not_before: Option<Timestamp>,
    /// The job is not claimed at or after this time, and is then CANCELLED. Null: the job waits
    /// for ever, or its batch is not released yet.
    #[schema(required = true)]
    pub expires_at: Option<Timestamp>,
    /// Why the QUEUED job can't be claimed yet; empty if only its node's agent must come for it.
    pub holds: Vec<HoldView>,
    /// SHA-256 of the script, hex.
    pub script_sha256: String,
    /// The version of a preset that was saved in the app; `null` for any other preset.
    #[schema(required = true)]
    pub preset_version: Option<u64>,
    /// The commit of a presets folder that is a git checkout: 40 hex digits, with `-dirty` if the
    /// preset's file differs from the commit.
    #[schema(required = true)]
    pub preset_commit: Option<String>,
    /// The key of the person who signed the job; `null` if only the server has.
    #[schema(required = true)]
    pub signed_by: Option<SignedBy>,
    /// Bytes that the script wrote to stdout.
    pub stdout_bytes: u64,
    /// Bytes that the script wrote to stderr.
    pub stderr_bytes: u64,
    /// Bytes of stdout that are not kept.
    pub stdout_dropped: u64,
    /// Bytes of stderr that are not kept.
    pub stderr_dropped: u64,
    /// Whether the output is what the script wrote: true if every byte is kept and its SHA-256 is
    /// the one that the agent computed, false if every byte is kept and it is not. Null while the
    /// job runs, if bytes are missing, and if the agent is older.
    #[schema(required = true)]
    pub output_verified: Option<bool>,
    /// What a check found; null before its end, and for any other job.
    #[schema(required = true)]
    pub check_result: Option<CheckResult>,
}

/// The key with which a person signed a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SignedBy {
    /// `SHA256:…`, as `ssh-keygen -l` shows it.
    pub fingerprint: String,
    /// The key's comment, often an email.
    pub comment: String,
}

/// A reason why a QUEUED job can't be claimed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HoldView {
    /// The kind of reason.
    pub kind: HoldKind,
    /// The reason in words.
    pub detail: String,
    /// When the hold was opened.
    pub since: Timestamp,
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

impl JobView {
    /// The ended job's output in words: how much there is, and whether it is what the script wrote.
    /// `None` before the end, and if bytes are missing.
    pub fn proof_in_words(&self) -> Option<String> {
        if !self.status.is_terminal() || self.stdout_dropped + self.stderr_dropped > 0 {
            return None;
        }
        let bytes = match self.stdout_bytes + self.stderr_bytes {
            1 => "1 byte".to_owned(),
            n => format!("{} bytes", grouped(n)),
        };
        Some(match self.output_verified {
            Some(true) => format!("complete: {bytes}, verified"),
            Some(false) => {
                format!("{bytes}, but not the bytes that the script wrote: the SHA-256 differs")
            }
            None => format!("{bytes}, not verified"),
        })
    }
}

impl From<Job> for JobView {
    fn from(job: Job) -> Self {
        let holds = HoldFacts::from(&job).views();
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
            ran_ms: job.ran_ms,
            cancel_requested_at: job.cancel_requested_at,
            confirm_by: job.confirm_by,
            confirm_requested_at: job.confirm_requested_at,
            recovered_at: job.recovered_at,
            holds,
            run_id: job.run_id,
            batch: job.batch,
            kind: job.kind,
            not_before: job.not_before,
            expires_at: job.expires_at,
            script_sha256: job.script_sha256,
            preset_version: job.preset_source.version,
            preset_commit: job.preset_source.commit,
            signed_by: job
                .signed_by
                .and_then(|json| serde_json::from_str(&json).ok()),
            stdout_bytes: job.stdout.bytes,
            stderr_bytes: job.stderr.bytes,
            stdout_dropped: job.stdout.dropped,
            stderr_dropped: job.stderr.dropped,
            output_verified: job.proof.verified,
            check_result: job.check_result,
        }
    }
}

/// The facts that a job's holds follow from.
#[derive(Debug, Clone, Copy)]
pub struct HoldFacts {
    pub holds: Holds,
    pub batch: Option<u64>,
    pub not_before: Option<Timestamp>,
    pub run_paused_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

impl HoldFacts {
    /// The open holds in words. A run's pause begins with the pause, the other holds with the job.
    pub fn views(self) -> Vec<HoldView> {
        let view = |kind| {
            let (detail, since) = match kind {
                HoldKind::NotBefore => {
                    let at = self.not_before.unwrap_or(self.created_at);
                    (format!("not before {at}"), self.created_at)
                }
                HoldKind::Batch => {
                    let batch = self.batch.unwrap_or(0);
                    let detail = format!("batch {batch} waits for the batches before it");
                    (detail, self.created_at)
                }
                HoldKind::PausedRun => {
                    let since = self.run_paused_at.unwrap_or(self.created_at);
                    ("the run is paused".to_owned(), since)
                }
                HoldKind::Signature => {
                    let detail = "the node runs only jobs that a person has signed";
                    (detail.to_owned(), self.created_at)
                }
            };
            HoldView {
                kind,
                detail,
                since,
            }
        };
        self.holds.kinds().map(view).collect()
    }
}

impl From<&Job> for HoldFacts {
    fn from(job: &Job) -> Self {
        Self {
            holds: job.holds,
            batch: job.batch,
            not_before: job.not_before,
            run_paused_at: job.run_paused_at,
            created_at: job.created_at,
        }
    }
}
