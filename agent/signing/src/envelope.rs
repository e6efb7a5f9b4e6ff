//! The envelope: what is signed about a job.

use ring::digest::{Context, SHA256};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use zeroize::Zeroizing;

/// The version of envelopes that this program writes and reads.
const VERSION: u64 = 1;
/// More than any envelope has.
const ENVELOPE_MAX: usize = 16 * 1_024;

/// Statement about one job, in the order in which it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Envelope {
    /// The version, 1.
    pub v: u64,
    /// The server's id.
    pub server: String,
    /// The job's id.
    pub job: String,
    /// The node that may run the job.
    pub node: String,
    /// The preset's name.
    pub preset: String,
    /// `apply` or `check`.
    pub kind: String,
    /// SHA-256 of the script, 64 lower-case hex digits.
    pub script_sha256: String,
    /// How long the script may run, in seconds.
    pub timeout_seconds: u64,
    /// [`secrets_digest`] of the job's secrets; `None` without secrets.
    pub secrets_digest: Option<String>,
    /// When the job was queued: RFC 3339, UTC, milliseconds.
    pub created_at: String,
    /// The job must not start at or after this time.
    pub expires_at: Option<String>,
    /// The email of the user who queued the job.
    pub by: String,
}

/// Why an envelope can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// A version that this program does not know.
    #[error("the envelope has version {0}, and this program knows only version 1")]
    Version(u64),
    /// It is not an envelope.
    #[error("the envelope can't be read")]
    Malformed,
}

#[derive(Deserialize)]
struct VersionOnly {
    v: u64,
}

impl Envelope {
    /// The version of new envelopes.
    pub const VERSION: u64 = VERSION;

    /// The envelope as JSON on one line: the bytes to sign.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are JSON")
    }

    /// Parses the bytes that were signed.
    pub fn parse(json: &str) -> Result<Self, EnvelopeError> {
        parse_version_1(json, ENVELOPE_MAX)
    }
}

/// Parses an envelope of at most `bytes_max` bytes.
pub(crate) fn parse_version_1<T: DeserializeOwned>(
    json: &str,
    bytes_max: usize,
) -> Result<T, EnvelopeError> {
    if json.len() > bytes_max {
        return Err(EnvelopeError::Malformed);
    }
    let VersionOnly { v } = serde_json::from_str(json).map_err(|_| EnvelopeError::Malformed)?;
    if v != VERSION {
        return Err(EnvelopeError::Version(v));
    }
    serde_json::from_str(json).map_err(|_| EnvelopeError::Malformed)
}

/// SHA-256, in hex, over the nonce and the canonical JSON of the secrets: an object with sorted
/// names and without spaces.
pub fn secrets_digest(nonce: &[u8; 32], secrets: &BTreeMap<String, String>) -> String {
    let json = Zeroizing::new(serde_json::to_vec(secrets).expect("texts are JSON"));
    let mut hasher = Context::new(&SHA256);
    hasher.update(nonce);
    hasher.update(&json);
    let mut hex = String::with_capacity(64);
    for byte in hasher.finish().as_ref() {
        let _written = write!(hex, "{byte:02x}");
    }
    hex
}
