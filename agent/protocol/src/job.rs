//! A job as the agent sees it: claimed, then completed.

use serde::{Deserialize, Serialize};

use crate::Secrets;

/// The answer to `GET /api/jobs/pending`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PendingAnswer {
    /// The job that this call claimed (or that was claimed before by this agent instance and comes
    /// again), if any.
    #[serde(deserialize_with = "Option::deserialize")]
    pub job: Option<ClaimedJob>,
    /// Ids of this agent's running jobs whose cancel was asked for.
    #[serde(default)]
    pub cancel: Vec<String>,
    /// How long a running job lives without a sign of life, in seconds.
    #[serde(default = "default_lease_seconds")]
    pub lease_seconds: u64,
    /// Another process uses the same agent instance (its state folder was copied): this one must
    /// make an instance of its own, and gets no job before that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub new_instance: bool,
}

fn default_lease_seconds() -> u64 {
    90
}

/// A job that the server has given to this agent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ClaimedJob {
    /// UUIDv7.
    pub id: String,
    /// The preset's name.
    pub preset: String,
    /// The frozen bash, fed to `/bin/bash -s` byte for byte.
    pub script: String,
    /// SHA-256 of `script`, 64 lower-case hex digits.
    #[serde(default)]
    pub script_sha256: String,
    /// How long the script may run, in seconds.
    pub timeout_seconds: u64,
    /// RFC 3339, UTC, milliseconds.
    #[serde(default)]
    pub created_at: String,
    /// Values of the preset's secret params by name; empty without any. Never written to the node's
    /// disk.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = std::collections::BTreeMap<String, String>))]
    pub secrets: Secrets,
}

impl std::fmt::Debug for ClaimedJob {
    // By hand, so that no log line can ever carry a secret's value or a whole script.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClaimedJob")
            .field("id", &self.id)
            .field("preset", &self.preset)
            .field("timeout_seconds", &self.timeout_seconds)
            .field("secrets", &self.secrets)
            .finish_non_exhaustive()
    }
}

/// The body of `POST /api/jobs/:id/complete`: how the script ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct CompleteRequest {
    /// Bash's exit code; null when a signal ended it or it never started.
    #[cfg_attr(feature = "schema", schema(minimum = -2_147_483_648, maximum = 2_147_483_647))]
    pub exit_code: Option<i64>,
    /// Why the job failed, where the exit code doesn't say. Always makes the job FAILED.
    pub error_msg: Option<String>,
    /// The signal that ended bash: `SIGKILL`.
    #[cfg_attr(
        feature = "schema",
        schema(min_length = 1, max_length = 32, pattern = "^[!-~]*$")
    )]
    pub signal: Option<String>,
    /// True when the agent ended the script because a cancel was asked for.
    pub cancelled: Option<bool>,
    /// True when the agent ended the script because it ran past its timeout.
    pub timed_out: Option<bool>,
    /// Bytes that the script wrote to stdout in all; what didn't arrive counts as dropped.
    #[cfg_attr(feature = "schema", schema(maximum = 9_007_199_254_740_992_i64))]
    pub stdout_bytes: Option<u64>,
    /// Bytes that the script wrote to stderr in all.
    #[cfg_attr(feature = "schema", schema(maximum = 9_007_199_254_740_992_i64))]
    pub stderr_bytes: Option<u64>,
}
