//! Facts about a node's machine.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// The most bytes of facts that the server keeps.
pub const MAX_FACTS_BYTES: usize = 8 * 1024;

/// Facts about a machine. A fact that the machine can't tell cheaply is `null`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MachineFacts {
    /// `x86_64`, `aarch64`.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub arch: Option<String>,
    /// The running kernel's release: `6.12.48+deb13-amd64`.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub kernel: Option<String>,
    /// Processors that are online.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub cpus: Option<u64>,
    /// Memory that the kernel manages.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub memory_bytes: Option<u64>,
    /// Mounted file systems on the machine's own disks.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub disks: Option<Vec<DiskFacts>>,
    /// Addresses that other machines can reach it by, if the network lets them.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub addresses: Option<Vec<String>>,
    /// `none`, or what the machine runs in, named as by systemd: `kvm`, `lxc`, `docker`.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub virtualization: Option<String>,
    /// When the kernel was started.
    #[cfg_attr(feature = "schema", schema(required = true, format = DateTime))]
    pub booted_at: Option<String>,
    /// Whether an update needs a restart of the machine.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub reboot_required: Option<bool>,
    /// Updates that could be installed.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub pending_updates: Option<u64>,
}

/// A mounted file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct DiskFacts {
    /// Where it is mounted.
    pub mount: String,
    /// Its size.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub size_bytes: Option<u64>,
    /// What unprivileged programs may still use.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub free_bytes: Option<u64>,
}

/// The facts as they were sent: any JSON value, so that a heartbeat with wrong facts is still a
/// heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactsJson(pub String);

impl Serialize for FactsJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = RawValue::from_string(self.0.clone()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FactsJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(String::from(Box::<str>::from(raw))))
    }
}
