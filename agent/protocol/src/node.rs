//! A node's sign of life.

use serde::{Deserialize, Serialize};

/// What `/etc/os-release` says of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct OsInfo {
    /// `ID`: `debian`, `ubuntu`, `arch`.
    pub id: Option<String>,
    /// `ID_LIKE`: `ubuntu debian`, most like it first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_like: Option<String>,
    /// `VERSION_ID`: `12`.
    pub version_id: Option<String>,
    /// `PRETTY_NAME`: `Debian GNU/Linux 12 (bookworm)`.
    pub pretty_name: Option<String>,
}

/// The body of `POST /api/nodes/:id/heartbeat`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatRequest {
    /// The agent instance: a random id that the agent keeps in its state folder.
    #[serde(default)]
    pub instance: Option<String>,
    /// At most 253 characters.
    #[serde(default)]
    pub hostname: Option<String>,
    /// The node's distribution.
    #[serde(default)]
    pub os: Option<OsInfo>,
    /// The agent's own version.
    #[serde(default)]
    pub agent_version: Option<String>,
    /// Seconds until the next heartbeat; after three without a sign of life (90 s at the least) the node is OFFLINE.
    /// Fractions are allowed, as an agent may beat every 1500 ms.
    #[serde(default)]
    pub interval_seconds: Option<f64>,
    /// True on the agent's last heartbeat: the node is OFFLINE at once.
    #[serde(default)]
    pub stopping: Option<bool>,
}

/// The answer to a heartbeat: an empty object, kept open for what later servers may add.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HeartbeatAnswer {}
