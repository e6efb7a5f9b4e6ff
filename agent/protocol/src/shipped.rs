//! An agent that the server ships, as `GET /agent/hyprbox-agent-<machine>.json` describes it.

use serde::{Deserialize, Serialize};

/// A file that nodes may fetch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShippedFile {
    /// SHA-256 in hex.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
}

/// The agent for one kind of machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShippedAgent {
    /// What `uname -m` says there.
    pub machine: String,
    /// The agent's version; `null` where the file doesn't tell it.
    pub version: Option<String>,
    /// The program, at `/agent/hyprbox-agent-<machine>`.
    pub program: ShippedFile,
    /// The Debian package of the same version, at `/agent/hyprbox-agent-<machine>.deb`; `null`
    /// where there is none.
    pub package: Option<ShippedFile>,
}
