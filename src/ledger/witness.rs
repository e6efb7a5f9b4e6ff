//! Agents as witnesses: each keeps the newest entry that it has seen and reports it with its
//! heartbeats.

use std::time::Duration;

use hyprbox_protocol::LedgerHead;
use tokio::time::Instant;

use super::Ledger;
use crate::store::ledger::{self, LedgerFault, kind};
use crate::store::{StoreError, Tx};
use crate::sync::lock;

/// The same report is compared again after this time: entries may have been removed since.
const COMPARE_EVERY: Duration = Duration::from_secs(60);

impl Ledger {
    /// Compares the entry that a node's agent knows with the ledger. Raises an alarm if the ledger
    /// has another one, or none.
    pub async fn compare(&self, node_id: &str, known: &LedgerHead) -> Result<(), StoreError> {
        if !known.is_well_formed() {
            return Ok(());
        }
        let now = Instant::now();
        let is_new = match lock(&self.0.witnesses).get(node_id) {
            Some((head, at)) if head == known && now - *at < COMPARE_EVERY => return Ok(()),
            Some((head, _)) => head != known,
            None => true,
        };
        let (id, head) = (node_id.to_owned(), known.clone());
        if is_new {
            self.0
                .store
                .write(move |tx| ledger::set_witness(tx, &id, head.seq, &head.hash))
                .await?;
        }
        let seq = known.seq;
        let stored = self
            .0
            .store
            .read(move |tx| ledger::hash_of(tx, seq))
            .await?;
        if stored.as_deref() != Some(known.hash.as_str()) {
            self.record(vec![disagreement(node_id, seq)]).await?;
        }
        lock(&self.0.witnesses).insert(node_id.to_owned(), (known.clone(), now));
        Ok(())
    }
}

/// A fault for each node whose agent knows an entry that the ledger does not have.
pub fn disagreements(tx: &mut dyn Tx) -> Result<Vec<LedgerFault>, StoreError> {
    let nodes = ledger::disagreeing_nodes(tx)?;
    Ok(nodes
        .iter()
        .map(|(id, seq, _)| disagreement(id, *seq))
        .collect())
}

fn disagreement(node_id: &str, seq: u64) -> LedgerFault {
    LedgerFault {
        kind: kind::WITNESS.to_owned(),
        id: node_id.to_owned(),
        seq,
        detail: format!(
            "node {node_id} has seen another entry {seq} than the ledger has: entries were removed or replaced, or a backup was restored"
        ),
    }
}
