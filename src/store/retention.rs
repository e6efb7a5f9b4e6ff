//! The clock that `HYPRBOX_KEEP_DAYS` counts by. A clock that leaps months ahead must not delete
//! the whole history, so nothing is deleted until the clock has run steadily for a day after a
//! leap.

use super::tx::{Statement, Tx};
use super::{StoreError, values};
use crate::clock::{self, Timestamp};

static READ: Statement = Statement::new(include_str!("sql/retention_read.sql"));
static WRITE: Statement = Statement::new(include_str!("sql/retention_write.sql"));
static DATABASE_NOW: Statement = Statement::new("SELECT now()");

const HOUR_MS: i64 = 3_600_000;
/// A longer time between two readings is a leap: the clock was changed, or the server was off.
const LEAP_MS: i64 = 24 * HOUR_MS;
/// How long the clock must run steadily after a leap.
const STEADY_MS: i64 = 24 * HOUR_MS;

/// The stored state of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ClockState {
    seen_at: Timestamp,
    /// The time of the last leap; `None` if the clock is trusted.
    steady_since: Option<Timestamp>,
}

/// A reading of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The current time; `None` while the clock must not be trusted.
    pub trusted: Option<Timestamp>,
    /// How many milliseconds the clock has leapt ahead since the last reading.
    pub leap_ms: Option<i64>,
}

/// Reads the clock (the database's own if the database is shared) and stores its state.
pub fn read_clock(tx: &mut dyn Tx) -> Result<Reading, StoreError> {
    let now = if tx.is_shared() {
        match tx.query_one(&DATABASE_NOW, values![])? {
            Some(mut row) => row.take()?,
            None => clock::now(),
        }
    } else {
        clock::now()
    };
    let known = match tx.query_one(&READ, values![])? {
        Some(mut row) => Some(ClockState {
            seen_at: row.take()?,
            steady_since: row.take()?,
        }),
        None => None,
    };
    let (next, reading) = judge(known, now);
    let is_due = known.is_none_or(|known| {
        known.steady_since != next.steady_since
            || next.seen_at.millis_since(known.seen_at).abs() >= HOUR_MS
    });
    if is_due {
        tx.execute(&WRITE, values![next.seen_at, next.steady_since])?;
    }
    Ok(reading)
}

fn judge(known: Option<ClockState>, now: Timestamp) -> (ClockState, Reading) {
    let passed = known.map_or(0, |known| now.millis_since(known.seen_at));
    let leap_ms = (passed > LEAP_MS).then_some(passed);
    let steady_since = match (leap_ms, known.and_then(|known| known.steady_since)) {
        (Some(_), _) => Some(now),
        // The clock was set back to before the leap.
        (None, Some(leapt_at)) if now < leapt_at => None,
        (None, Some(leapt_at)) if now.millis_since(leapt_at) >= STEADY_MS => None,
        (None, since) => since,
    };
    let next = ClockState {
        seen_at: now,
        steady_since,
    };
    let reading = Reading {
        trusted: steady_since.is_none().then_some(now),
        leap_ms,
    };
    (next, reading)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 24 * HOUR_MS;

    /// Takes readings at these milliseconds after day 1,000; whether each one is trusted.
    fn trusted(readings: &[i64]) -> Vec<bool> {
        let start = Timestamp::from_millis(1_000 * DAY_MS);
        let mut known = None;
        let read = |at: &i64| {
            let (next, reading) = judge(known, start.plus_millis(*at));
            known = Some(next);
            reading.trusted.is_some()
        };
        readings.iter().map(read).collect()
    }

    #[test]
    fn a_steady_clock_is_trusted_and_so_is_one_set_back_by_an_hour() {
        assert_eq!(trusted(&[0, HOUR_MS, DAY_MS, 0, HOUR_MS]), [true; 5]);
    }

    #[test]
    fn after_a_leap_of_months_nothing_is_deleted_for_a_day() {
        let leap = 90 * DAY_MS;
        let readings = [0, leap, leap + HOUR_MS, leap + DAY_MS - 1, leap + DAY_MS];
        assert_eq!(trusted(&readings), [true, false, false, false, true]);
        // The clock is corrected within that day.
        assert_eq!(trusted(&[0, leap, HOUR_MS]), [true, false, true]);
        // A second leap starts the day again.
        let twice = [0, leap, 2 * leap, 2 * leap + DAY_MS - 1];
        assert_eq!(trusted(&twice), [true, false, false, false]);
    }
}
