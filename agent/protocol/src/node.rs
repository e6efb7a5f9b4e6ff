//! A node's heartbeat.

use serde::{Deserialize, Serialize};

/// A node's distribution, from `/etc/os-release`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct OsInfo {
    /// `ID`: `debian`, `ubuntu`, `arch`.
    #[cfg_attr(
        feature = "schema",
        schema(max_length = 255, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")
    )]
    pub id: Option<String>,
    /// `ID_LIKE`: `ubuntu debian`, the most similar first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schema(max_length = 255, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")
    )]
    pub id_like: Option<String>,
    /// `VERSION_ID`: `12`.
    #[cfg_attr(
        feature = "schema",
        schema(max_length = 255, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")
    )]
    pub version_id: Option<String>,
    /// `PRETTY_NAME`: `Debian GNU/Linux 12 (bookworm)`.
    #[cfg_attr(
        feature = "schema",
        schema(max_length = 255, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")
    )]
    pub pretty_name: Option<String>,
}

/// The body of `POST /api/nodes/:id/heartbeat`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatRequest {
    /// The agent instance: a random id that the agent keeps in its state folder.
    #[serde(default)]
    #[cfg_attr(
        feature = "schema",
        schema(max_length = 128, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")
    )]
    pub instance: Option<String>,
    /// The node's host name, at most 253 characters.
    #[serde(default)]
    #[cfg_attr(
        feature = "schema",
        schema(max_length = 253, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")
    )]
    pub hostname: Option<String>,
    /// The node's distribution.
    #[serde(default, deserialize_with = "crate::object::optional")]
    pub os: Option<OsInfo>,
    /// The agent's own version.
    #[serde(default)]
    #[cfg_attr(
        feature = "schema",
        schema(max_length = 255, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")
    )]
    pub agent_version: Option<String>,
    /// Seconds until the next heartbeat. After three such intervals (at least 90 s) without a sign
    /// of life the node is OFFLINE. May be a fraction: an interval may be 1500 ms.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 3600))]
    pub interval_seconds: Option<f64>,
    /// True on the agent's last heartbeat: the node is OFFLINE at once.
    #[serde(default)]
    pub stopping: Option<bool>,
    /// The process of that instance, as in its polls.
    #[serde(default)]
    pub process: Option<String>,
    /// Why the agent can't run jobs now, in one line; absent or null if it can.
    #[serde(default)]
    pub problem: Option<String>,
    /// Whether the agent runs only jobs that a person has signed.
    #[serde(default)]
    pub requires_signatures: Option<bool>,
    /// The fingerprints of the server keys whose jobs the agent runs; an empty list if it knows
    /// none yet. Null: an agent that does not check signatures.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_items = 64))]
    pub trusted_keys: Option<Vec<String>>,
    /// The agent's clock, in milliseconds since 1970. The server warns if it is far off.
    #[serde(default)]
    pub sent_at_ms: Option<i64>,
    /// Facts about the machine: with the first heartbeat, once a day, and when anything but a free
    /// size has changed. More than 8 KiB, and what is not as described, is ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<crate::MachineFacts>))]
    pub facts: Option<crate::FactsJson>,
    /// The newest entry of the ledger that an answer to the end of a job has named. The server
    /// compares it, so that the fleet notices a history that was cut or replaced.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::object::optional"
    )]
    pub ledger_head: Option<crate::LedgerHead>,
}

/// The answer to a heartbeat: an empty object, to which later servers may add fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HeartbeatAnswer {}
