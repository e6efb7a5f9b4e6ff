//! A job between server and agent: its claim, then its completion.

use serde::{Deserialize, Serialize};

use crate::Secrets;

/// The answer to `GET /api/jobs/pending`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PendingAnswer {
    /// The job that this call claimed, or one that this agent instance claimed before and that is
    /// sent again.
    #[serde(deserialize_with = "Option::deserialize")]
    pub job: Option<ClaimedJob>,
    /// Ids of this agent's running jobs whose cancel was requested.
    #[serde(default)]
    pub cancel: Vec<String>,
    /// Ids of this agent's waiting jobs that somebody has confirmed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confirm: Vec<String>,
    /// How long a running job lives without a sign of life from its agent, in seconds.
    #[serde(default = "default_lease_seconds")]
    pub lease_seconds: u64,
    /// Another process uses the same agent instance, because its state folder was copied. This one
    /// must create a new instance id, and gets no job until then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub new_instance: bool,
    /// Another process of this agent instance may still be alive. Until that is known, this one
    /// gets no job and must not report on the jobs that it found in its state folder.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unproven: bool,
}

fn default_lease_seconds() -> u64 {
    90
}

/// A job that this agent has claimed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ClaimedJob {
    /// UUIDv7.
    pub id: String,
    /// The preset's name.
    pub preset: String,
    /// The frozen script, passed to `/bin/bash -s` byte for byte.
    pub script: String,
    /// SHA-256 of `script`, 64 lower-case hex digits.
    #[serde(default)]
    pub script_sha256: String,
    /// How long the script may run, in seconds.
    pub timeout_seconds: u64,
    /// RFC 3339, UTC, milliseconds.
    #[serde(default)]
    pub created_at: String,
    /// Whether the agent must keep all of the job's output until the server has acknowledged it,
    /// up to the agent's own limit. Without it the agent keeps the newest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_output: bool,
    /// Values of the preset's secret params by name. Never written to the node's disk.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = std::collections::BTreeMap<String, String>))]
    pub secrets: Secrets,
    /// The nonce of the envelope's `secretsDigest`: 64 hex digits; null without secrets.
    #[serde(default)]
    pub secrets_nonce: Option<String>,
    /// What was signed about this job: JSON on one line. An agent that checks signatures verifies
    /// exactly these bytes.
    #[serde(default)]
    pub envelope: Option<String>,
    /// The server's signature over `envelope`: OpenSSH's SSHSIG, armored, with the namespace
    /// `hyprbox-job-v1`.
    #[serde(default)]
    pub signature: Option<String>,
    /// A person's signature over `envelope`, in the same format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person_signature: Option<String>,
    /// What a person has signed in advance for the jobs of the schedule: JSON on one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing_envelope: Option<String>,
    /// The person's signature over `standingEnvelope`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing_signature: Option<String>,
    /// Statements by which earlier keys of the server named their successors, oldest first. Absent
    /// if the server still signs with its first key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sign_key_changes: Vec<SignKeyChange>,
}

/// A statement by which a server's sign key names its successor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SignKeyChange {
    /// JSON on one line: `{v, server, from, to, at}`.
    pub statement: String,
    /// The signature of the key `from` over it, with the namespace `hyprbox-sign-key-v1`.
    pub signature: String,
}

impl std::fmt::Debug for ClaimedJob {
    // Written by hand, so that a log line can't show a secret's value or a whole script.
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
    /// Bash's exit code; null if a signal ended it or it never started.
    #[cfg_attr(feature = "schema", schema(minimum = -2_147_483_648, maximum = 2_147_483_647))]
    pub exit_code: Option<i64>,
    /// Why the job failed, if the exit code does not say. Always makes the job FAILED.
    pub error_msg: Option<String>,
    /// The signal that ended bash: `SIGKILL`.
    #[cfg_attr(
        feature = "schema",
        schema(min_length = 1, max_length = 32, pattern = "^[!-~]*$")
    )]
    pub signal: Option<String>,
    /// True if the agent ended the script because of a cancel.
    pub cancelled: Option<bool>,
    /// True if the agent ended the script because it ran past its timeout.
    pub timed_out: Option<bool>,
    /// How many bytes the script wrote to stdout. Those that did not arrive count as dropped.
    #[cfg_attr(feature = "schema", schema(maximum = 9_007_199_254_740_992_i64))]
    pub stdout_bytes: Option<u64>,
    /// How many bytes the script wrote to stderr.
    #[cfg_attr(feature = "schema", schema(maximum = 9_007_199_254_740_992_i64))]
    pub stderr_bytes: Option<u64>,
    /// SHA-256 of all that the script wrote to stdout, as sent: secrets are masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(pattern = "^[0-9a-f]{64}$"))]
    pub stdout_sha256: Option<String>,
    /// SHA-256 of all that the script wrote to stderr.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(pattern = "^[0-9a-f]{64}$"))]
    pub stderr_sha256: Option<String>,
    /// How long bash ran, in milliseconds by the node's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(maximum = 9_007_199_254_740_992_i64))]
    pub ran_ms: Option<u64>,
    /// Why the agent refused to run the job: unsigned, malformed, signature, signer, node, job,
    /// script, secrets, expired, replayed, limit or version. `errorMsg` has the reason in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(max_length = 32))]
    pub refused: Option<String>,
}
