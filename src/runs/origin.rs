//! What a run came from, and whether its schedule's standing envelope covers its jobs, so that they
//! wait for no signature.

use std::collections::HashSet;

use hyprbox_signing::{StandingEnvelope, millis_of_rfc3339};

use super::{RunError, Runs};
use crate::clock::Timestamp;
use crate::store::Tx;
use crate::store::standing_envelope::{StandingRecord, newest};

/// What a run came from, unless a person asked for it.
#[derive(Debug, Clone, Default)]
pub struct RunOrigin {
    /// The run that it repeats.
    pub retry_of: Option<String>,
    /// The schedule that made it.
    pub schedule_id: Option<String>,
}

/// The standing envelope that covers jobs of a run.
pub(super) struct Covering {
    id: String,
    nodes: HashSet<String>,
}

impl Covering {
    /// The envelope, if it counts now for this server, preset and script.
    fn of(
        record: StandingRecord,
        preset: &str,
        script_sha256: &str,
        server_id: &str,
        now: Timestamp,
    ) -> Option<Self> {
        let standing = StandingEnvelope::parse(&record.envelope).ok()?;
        let from = millis_of_rfc3339(&standing.from)?;
        let until = millis_of_rfc3339(&standing.until)?;
        let covers = standing.server == server_id
            && standing.preset == preset
            && standing.script_sha256 == script_sha256
            && (from..until).contains(&now.as_millis());
        covers.then(|| Self {
            id: record.id,
            nodes: standing.nodes.into_iter().collect(),
        })
    }

    /// The envelope's id, if it covers the job of this node.
    pub(super) fn id_for(&self, node_id: &str) -> Option<String> {
        self.nodes.contains(node_id).then(|| self.id.clone())
    }
}

impl Runs {
    /// The schedule's standing envelope, if it covers what the run is about to queue.
    pub(super) async fn covering(
        &self,
        origin: &RunOrigin,
        preset: &str,
        script_sha256: &str,
        now: Timestamp,
    ) -> Result<Option<Covering>, RunError> {
        let Some(id) = origin.schedule_id.clone() else {
            return Ok(None);
        };
        let read = move |tx: &mut dyn Tx| Ok::<_, RunError>(newest(tx, &id)?);
        let Some(record) = self.store.read(read).await? else {
            return Ok(None);
        };
        let signer = self.nodes.signer.known();
        let server_id = signer.server_id();
        Ok(Covering::of(record, preset, script_sha256, server_id, now))
    }
}
