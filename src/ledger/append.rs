//! Appends entries to the chain.

use super::canonical::{digest_of_row, hash_of_entry};
use crate::clock;
use crate::store::ledger::{self, LedgerEntry, LedgerRow, LedgerState};
use crate::store::{StoreError, Tx};

/// Entries per transaction, so that other writes get through in between.
const BATCH: u64 = 200;
/// Stands for the row of a deletion.
const NO_ROW: LedgerRow = LedgerRow {
    job: None,
    audit: None,
};

/// Appends the oldest entries that are due.
pub(super) fn append_some(tx: &mut dyn Tx) -> Result<(), StoreError> {
    let state = ledger::lock(tx)?;
    let due = ledger::due(tx, BATCH)?;
    let rows = due
        .iter()
        .map(|due| (due.kind.as_str(), due.id.as_str(), &due.row));
    ledger::append(tx, &chain(state, rows))?;
    ledger::delete_due(tx, &due)
}

/// Appends an entry for each row that retention deletes in this transaction.
pub fn append_deletions(tx: &mut dyn Tx, kind: &str, ids: &[String]) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    let state = ledger::lock(tx)?;
    let rows = ids.iter().map(|id| (kind, id.as_str(), &NO_ROW));
    ledger::append(tx, &chain(state, rows))
}

fn chain<'r>(
    state: LedgerState,
    rows: impl Iterator<Item = (&'r str, &'r str, &'r LedgerRow)>,
) -> Vec<LedgerEntry> {
    let now = clock::now();
    // An entry after the last one was inserted by hand, and must not stop the chain.
    let mut seq = state.seq.max(state.last_entry.unwrap_or(0));
    let mut previous = state.hash;
    rows.map(|(kind, id, row)| {
        seq += 1;
        let mut entry = LedgerEntry {
            seq,
            kind: kind.to_owned(),
            id: id.to_owned(),
            at: now,
            row_sha256: digest_of_row(kind, row),
            hash: String::new(),
        };
        entry.hash = hash_of_entry(&previous, &entry);
        previous.clone_from(&entry.hash);
        entry
    })
    .collect()
}
