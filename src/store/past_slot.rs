//! Due times of schedules with what became of their runs, for the pages.

use super::run::RunStatus;
use super::schedule::{Slot, SlotOutcome};
use super::{Row, Statement, StoreError, Tx, read_all, values};
use crate::clock::Timestamp;

/// A slot and the run that it queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastSlot {
    pub slot: Slot,
    /// `None` if the slot queued no run, or the run is no longer kept.
    pub run: Option<SlotRun>,
}

/// The run that a slot queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRun {
    pub id: String,
    pub status: RunStatus,
    /// Id of the user with whose rights it ran.
    pub created_by: String,
}

/// Due times of one schedule that went wrong in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotTrouble {
    pub schedule_id: String,
    /// `ran`: the run failed.
    pub outcome: SlotOutcome,
    pub count: u64,
    /// The last of them.
    pub last: PastSlot,
}

macro_rules! select_past {
    ($rest:literal) => {
        Statement::new(concat!(
            "SELECT s.due_at, s.outcome, s.run_id, s.detail, r.id, r.status, r.created_by
             FROM schedule_slots s LEFT JOIN runs r ON r.id = s.run_id WHERE s.schedule_id = $1 ",
            $rest
        ))
    };
}

fn past_of_row(row: &mut Row) -> Result<PastSlot, StoreError> {
    let slot = Slot {
        due_at: row.take()?,
        outcome: row.take()?,
        run_id: row.take()?,
        detail: row.take()?,
    };
    let run: (Option<String>, Option<RunStatus>, Option<String>) =
        (row.take()?, row.take()?, row.take()?);
    let run = match run {
        (Some(id), Some(status), Some(created_by)) => Some(SlotRun {
            id,
            status,
            created_by,
        }),
        _ => None,
    };
    Ok(PastSlot { slot, run })
}

/// Returns up to `limit` slots before `before`, newest first.
pub fn list(
    tx: &mut dyn Tx,
    schedule_id: &str,
    before: Option<Timestamp>,
    limit: u64,
) -> Result<Vec<PastSlot>, StoreError> {
    static LIST: Statement = select_past!("AND s.due_at < $2 ORDER BY s.due_at DESC LIMIT $3");
    let before = before.unwrap_or(Timestamp::from_millis(i64::MAX));
    read_all(
        tx.query(&LIST, values![schedule_id, before, limit])?,
        past_of_row,
    )
}

/// Returns what went wrong since `since`, at most `limit` kinds of it, the latest first: due times
/// that were missed, skipped although the schedule was not paused, or whose run failed.
pub fn troubles(
    tx: &mut dyn Tx,
    since: Timestamp,
    limit: u64,
) -> Result<Vec<SlotTrouble>, StoreError> {
    static TROUBLES: Statement = Statement::new(include_str!("sql/slot_troubles.sql"));
    // Times are read in whole milliseconds, and an operator may have typed finer ones.
    static LAST: Statement =
        select_past!("AND s.due_at >= $2 AND s.due_at < $3 ORDER BY s.due_at LIMIT 1");
    let found = read_all(tx.query(&TROUBLES, values![since, limit])?, |row| {
        let found: (String, SlotOutcome, u64, Timestamp) =
            (row.take()?, row.take()?, row.take()?, row.take()?);
        Ok(found)
    })?;
    let mut troubles = Vec::with_capacity(found.len());
    for (schedule_id, outcome, count, at) in found {
        if let Some(mut row) = tx.query_one(&LAST, values![&schedule_id, at, at.plus_millis(1)])? {
            troubles.push(SlotTrouble {
                last: past_of_row(&mut row)?,
                schedule_id,
                outcome,
                count,
            });
        }
    }
    Ok(troubles)
}
