//! A schedule's standing envelope, as the API returns it.

use hyprbox_signing::StandingEnvelope;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::jobs::SignedBy;
use crate::store::standing_envelope::{self, StandingRecord};
use crate::store::{StoreError, Tx};

/// What a person has signed in advance for a schedule's jobs.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StandingView {
    /// The key that signed.
    pub signed_by: SignedBy,
    /// When it was signed.
    pub signed_at: Timestamp,
    /// The preset's name.
    pub preset: String,
    /// SHA-256 of the script, hex. If the preset renders to another script, jobs wait for a
    /// signature.
    pub script_sha256: String,
    /// The nodes that may run it.
    pub nodes: Vec<String>,
    /// From when it counts.
    pub from: String,
    /// Until when it counts.
    pub until: String,
    /// How many jobs each node may start on one day, in UTC.
    pub max_per_day: u64,
}

impl StandingView {
    /// The schedule's newest standing envelope.
    pub(super) fn read(tx: &mut dyn Tx, schedule_id: &str) -> Result<Option<Self>, StoreError> {
        Ok(standing_envelope::newest(tx, schedule_id)?.and_then(Self::of))
    }

    /// `None` if somebody has made the row unreadable.
    fn of(record: StandingRecord) -> Option<Self> {
        let standing = StandingEnvelope::parse(&record.envelope).ok()?;
        Some(Self {
            signed_by: serde_json::from_str(&record.signed_by).ok()?,
            signed_at: record.created_at,
            preset: standing.preset,
            script_sha256: standing.script_sha256,
            nodes: standing.nodes,
            from: standing.from,
            until: standing.until,
            max_per_day: standing.max_per_day,
        })
    }
}
