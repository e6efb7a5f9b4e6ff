//! The standing envelope: what a person signs in advance for the jobs of a schedule.

use serde::{Deserialize, Serialize};

use crate::envelope::{EnvelopeError, parse_version_1};

/// The most bytes of a standing envelope, which names each node.
const STANDING_MAX: usize = 32 * 1_024;

/// Statement about all jobs of a schedule that run one script, in the order in which it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StandingEnvelope {
    /// The version, 1.
    pub v: u64,
    /// The server's id.
    pub server: String,
    /// The schedule's id.
    pub schedule: String,
    /// The preset's name.
    pub preset: String,
    /// SHA-256 of the script, 64 lower-case hex digits.
    pub script_sha256: String,
    /// The nodes that may run it.
    pub nodes: Vec<String>,
    /// From when it counts: RFC 3339, UTC, milliseconds.
    pub from: String,
    /// Until when it counts.
    pub until: String,
    /// How many jobs a node may start on one day, in UTC.
    pub max_per_day: u64,
}

impl StandingEnvelope {
    /// The version of new envelopes.
    pub const VERSION: u64 = 1;
    /// The most bytes that [`StandingEnvelope::parse`] accepts.
    pub const BYTES_MAX: usize = STANDING_MAX;

    /// The envelope as JSON on one line: the bytes to sign.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are JSON")
    }

    /// Parses the bytes that were signed.
    pub fn parse(json: &str) -> Result<Self, EnvelopeError> {
        parse_version_1(json, STANDING_MAX)
    }
}
