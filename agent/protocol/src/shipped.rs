//! The agents that a server ships, described by `GET /agent/hyprbox-agent-<machine>.json`.

use serde::{Deserialize, Serialize};

/// A file that nodes can download.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShippedFile {
    /// SHA-256 in hex.
    pub sha256: String,
    /// The file's length.
    pub bytes: u64,
}

/// The agent for one kind of machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShippedAgent {
    /// The output of `uname -m` on such a machine.
    pub machine: String,
    /// The agent's version; `null` if it can't be read from the file.
    pub version: Option<String>,
    /// The program, at `/agent/hyprbox-agent-<machine>`.
    pub program: ShippedFile,
    /// The Debian package of the same version, at `/agent/hyprbox-agent-<machine>.deb`; `null` if
    /// the server has none.
    pub package: Option<ShippedFile>,
}
