//! Checks the chain: each entry against the one before it and against its row, and each row for its
//! entry. Reads page by page, so that no read is long. Each page is one statement, which reads a
//! row, its entries and what is due about it at the same moment.

use hyprbox_protocol::to_hex;

use super::canonical::{digest_of_row, hash_of_entry};
use crate::crypto::sha256;
use crate::store::ledger::{
    self, EntryWithRow, LedgerEntry, LedgerFault, LedgerState, NO_HASH, kind,
};
use crate::store::{Store, StoreError, Tx};

/// Entries that the check of the newest reads.
const NEWEST: u64 = 10_000;
/// Entries or rows of a page.
const PAGE: u64 = 500;
/// Scripts of a page.
const SCRIPTS: u64 = 50;
/// Faults after which a check ends: more say no more.
const FAULTS_MAX: usize = 100;
/// Sorts after every id.
const AFTER_ALL: &str = "~";

/// How much a check reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    All,
    /// The newest 10,000 entries and as many rows of each kind.
    Newest,
}

/// Checks the chain and its rows. Returns what does not fit, the earliest entry first, then rows
/// without an entry.
pub async fn check(store: &Store, extent: Extent) -> Result<Vec<LedgerFault>, StoreError> {
    let mut check = Check::of(extent);
    while !check.is_over() {
        let step = move |tx: &mut dyn Tx| check.step(tx).map(|()| check);
        check = store.read(step).await?;
    }
    Ok(check.faults)
}

/// The same in one transaction.
pub fn check_at_once(tx: &mut dyn Tx) -> Result<Vec<LedgerFault>, StoreError> {
    let mut check = Check::of(Extent::All);
    while !check.is_over() {
        check.step(tx)?;
    }
    Ok(check.faults)
}

/// Checks each job's script against the SHA-256 that its entry covers. Reads every script.
pub async fn check_scripts(store: &Store) -> Result<Vec<LedgerFault>, StoreError> {
    let (mut faults, mut before) = (Vec::new(), AFTER_ALL.to_owned());
    loop {
        let from = before.clone();
        let read = move |tx: &mut dyn Tx| ledger::scripts(tx, &from, SCRIPTS);
        let page = store.read(read).await?;
        let Some((last, ..)) = page.last() else {
            return Ok(faults);
        };
        before.clone_from(last);
        for (id, sha256_hex, script) in page {
            if to_hex(sha256(script)) != sha256_hex {
                let detail = format!("the script of job {id} was changed");
                faults.push(fault(kind::JOB_QUEUED, &id, 0, detail));
            }
        }
    }
}

fn fault(kind: &str, id: &str, seq: u64, detail: String) -> LedgerFault {
    LedgerFault {
        kind: kind.to_owned(),
        id: id.to_owned(),
        seq,
        detail,
    }
}

/// A check and its progress.
struct Check {
    extent: Extent,
    phase: Phase,
    faults: Vec<LedgerFault>,
}

enum Phase {
    Begin,
    Chain(Walk),
    /// The rows of a kind of entry: those with lesser ids are left, and how many were read.
    Rows(&'static str, String, u64),
    Over,
}

impl Check {
    fn of(extent: Extent) -> Self {
        Self {
            extent,
            phase: Phase::Begin,
            faults: Vec::new(),
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over) || self.faults.len() >= FAULTS_MAX
    }

    /// Reads and checks one page.
    fn step(&mut self, tx: &mut dyn Tx) -> Result<(), StoreError> {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Begin => Phase::Chain(Walk::begin(tx, self.extent)?),
            Phase::Chain(mut walk) => {
                let is_over = walk.visit_page(tx, &mut self.faults)?;
                if is_over {
                    Phase::Rows(kind::JOB_QUEUED, AFTER_ALL.to_owned(), 0)
                } else {
                    Phase::Chain(walk)
                }
            }
            Phase::Rows(row_kind, before, count) => {
                self.visit_rows(tx, row_kind, &before, count)?
            }
            Phase::Over => Phase::Over,
        };
        Ok(())
    }

    fn visit_rows(
        &mut self,
        tx: &mut dyn Tx,
        row_kind: &'static str,
        before: &str,
        count: u64,
    ) -> Result<Phase, StoreError> {
        let (what, page) = match row_kind {
            kind::AUDIT => ("audit entry", ledger::audit_with_entries(tx, before, PAGE)?),
            _ => ("job", ledger::jobs_with_entries(tx, before, PAGE)?),
        };
        for (id, _) in page.iter().filter(|(_, has_entry)| !has_entry) {
            let detail = format!("{what} {id} has no entry: it was inserted or changed by hand");
            self.faults.push(fault(row_kind, id, 0, detail));
        }
        let count = count + PAGE;
        let is_enough = self.extent == Extent::Newest && count >= NEWEST;
        Ok(match page.last() {
            Some((last, _)) if !is_enough => Phase::Rows(row_kind, last.clone(), count),
            _ if row_kind == kind::JOB_QUEUED => Phase::Rows(kind::AUDIT, AFTER_ALL.to_owned(), 0),
            _ => Phase::Over,
        })
    }
}

/// The state of a check of the chain.
struct Walk {
    /// The end of the chain when the check began.
    end: LedgerState,
    /// The last entry that was read.
    seq: u64,
    /// The hash of the entry before; `None` if that entry is missing.
    previous: Option<String>,
}

impl Walk {
    fn begin(tx: &mut dyn Tx, extent: Extent) -> Result<Self, StoreError> {
        let end = ledger::state(tx)?;
        let seq = match extent {
            Extent::All => 0,
            Extent::Newest => end.seq.saturating_sub(NEWEST),
        };
        let previous = match seq {
            0 => Some(NO_HASH.to_owned()),
            seq => ledger::hash_of(tx, seq)?,
        };
        Ok(Self { end, seq, previous })
    }

    /// Returns whether this was the last page.
    fn visit_page(
        &mut self,
        tx: &mut dyn Tx,
        faults: &mut Vec<LedgerFault>,
    ) -> Result<bool, StoreError> {
        let page = ledger::page(tx, self.seq, PAGE)?;
        for found in &page {
            self.visit(found, faults);
        }
        let is_last = page.is_empty();
        if is_last && self.seq < self.end.seq {
            faults.push(missing(self.seq + 1, self.end.seq));
        }
        Ok(is_last)
    }

    fn visit(&mut self, found: &EntryWithRow, faults: &mut Vec<LedgerFault>) {
        let entry = &found.entry;
        let follows = entry.seq == self.seq + 1;
        if !follows {
            let last = (entry.seq - 1).min(self.end.seq);
            if last > self.seq {
                faults.push(missing(self.seq + 1, last));
            }
            self.previous = None;
        }
        let fits = match &self.previous {
            Some(previous) => hash_of_entry(previous, entry) == entry.hash,
            // The server appends without gaps.
            None => follows || entry.seq <= self.end.seq,
        };
        let is_end = entry.seq == self.end.seq;
        let problem = if !fits {
            Some("was changed, inserted or moved".to_owned())
        } else if is_end && entry.hash != self.end.hash {
            Some("is not the one that the server appended".to_owned())
        } else {
            problem_of_row(found)
        };
        if let Some(problem) = problem {
            let LedgerEntry { seq, kind, id, .. } = entry;
            let detail = format!("entry {seq} ({kind} {id}) {problem}");
            faults.push(fault(kind, id, *seq, detail));
        }
        self.seq = entry.seq;
        self.previous = Some(entry.hash.clone());
    }
}

/// The fault of entries that do not exist.
fn missing(first: u64, last: u64) -> LedgerFault {
    let detail = if first == last {
        format!("entry {first} is missing")
    } else {
        format!("entries {first} to {last} are missing")
    };
    fault(kind::MISSING, "", first, detail)
}

/// Whether the entry does not fit its row, in words.
fn problem_of_row(found: &EntryWithRow) -> Option<String> {
    let EntryWithRow { entry, row, .. } = found;
    let (what, exists) = match entry.kind.as_str() {
        kind::AUDIT => ("the audit entry", row.audit.is_some()),
        kind::JOB_QUEUED => ("the job", row.job.is_some()),
        kind::JOB_ENDED | kind::JOB_ENDED_BY_HAND => {
            if found.is_due || found.last_end != Some(entry.seq) {
                return None;
            }
            ("the job", row.job.is_some())
        }
        kind::JOB_DELETED => {
            let words = "does not fit: the job was deleted, but its row exists";
            return row.job.is_some().then(|| words.to_owned());
        }
        _ => return None,
    };
    match exists {
        false if found.is_deleted => None,
        false => Some(format!("has no row: {what} was deleted")),
        true if digest_of_row(&entry.kind, row) == entry.row_sha256 => None,
        true => Some(format!("does not fit its row: {what} was changed")),
    }
}
