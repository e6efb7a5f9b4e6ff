//! What a run came from, and whether its schedule's standing envelope covers its jobs, so that they
//! wait for no signature.

use std::collections::{HashMap, HashSet};

use hyprbox_signing::{StandingEnvelope, millis_of_rfc3339};

use super::{RunError, Runs};
use crate::clock::Timestamp;
use crate::store::id::JobId;
use crate::store::standing_envelope::{StandingRecord, newest};
use crate::store::{Change, StoreError, Tx, job, run};

/// What a run came from, unless a person asked for it.
#[derive(Debug, Clone, Default)]
pub struct RunOrigin {
    /// The run that it repeats.
    pub retry_of: Option<String>,
    /// The schedule that made it.
    pub schedule_id: Option<String>,
}

/// A standing envelope that counts now.
pub(super) struct Covering {
    id: String,
    preset: String,
    script_sha256: String,
    nodes: HashSet<String>,
    max_per_day: u64,
}

impl Covering {
    /// The envelope, if it counts now for this server.
    fn of(record: &StandingRecord, server_id: &str, now: Timestamp) -> Option<Self> {
        let standing = StandingEnvelope::parse(&record.envelope).ok()?;
        let from = millis_of_rfc3339(&standing.from)?;
        let until = millis_of_rfc3339(&standing.until)?;
        let counts = standing.server == server_id && (from..until).contains(&now.as_millis());
        counts.then(|| Self {
            id: record.id.clone(),
            preset: standing.preset,
            script_sha256: standing.script_sha256,
            nodes: standing.nodes.into_iter().collect(),
            max_per_day: standing.max_per_day,
        })
    }

    /// Whether the envelope is for this preset and script.
    fn allows(&self, preset: &str, script_sha256: &str) -> bool {
        self.preset == preset && self.script_sha256 == script_sha256
    }

    /// The envelope's id, if it covers the job of this node.
    pub(super) fn id_for(&self, node_id: &str) -> Option<String> {
        self.nodes.contains(node_id).then(|| self.id.clone())
    }
}

/// Gives a new standing envelope to those jobs of its schedule that wait for a signature and that
/// it covers, the oldest first. No node gets more jobs than the envelope allows it on one day,
/// because its agent would refuse them. Returns how many there were.
pub fn cover_waiting_jobs(
    tx: &mut dyn Tx,
    record: &StandingRecord,
    server_id: &str,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let Some(covering) = Covering::of(record, server_id, now) else {
        return Ok(0);
    };
    let mut of_node: HashMap<String, u64> = HashMap::new();
    let mut covered = 0;
    for waiting in job::waiting_for_signature(tx, &record.schedule_id)? {
        if !covering.allows(&waiting.preset, &waiting.script_sha256)
            || covering.id_for(&waiting.node_id).is_none()
        {
            continue;
        }
        let count = of_node.entry(waiting.node_id.clone()).or_default();
        if *count == covering.max_per_day {
            continue;
        }
        run::lock_of_job(tx, &waiting.id)?;
        if job::cover(tx, JobId(&waiting.id), &record.id, &record.signed_by)? {
            *count += 1;
            covered += 1;
            tx.publish(Change::Job {
                id: waiting.id,
                node_id: waiting.node_id,
            });
        }
    }
    Ok(covered)
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
        let covering = Covering::of(&record, signer.server_id(), now);
        Ok(covering.filter(|covering| covering.allows(preset, script_sha256)))
    }
}
