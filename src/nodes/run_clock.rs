//! The clock that measures signs of life and leases. It runs only while this server does.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::sync::lock;

/// How long the server has run. A long gap between two ticks, in which the process was stopped,
/// counts as at most `TICK_MAX`.
#[derive(Debug)]
pub struct RunClock(Mutex<LastTick>);

#[derive(Debug, Clone, Copy)]
struct LastTick {
    ran: Duration,
    at: Instant,
}

impl LastTick {
    fn ran_until(self, now: Instant) -> Duration {
        self.ran + now.duration_since(self.at).min(RunClock::TICK_MAX)
    }
}

impl Default for RunClock {
    fn default() -> Self {
        Self(Mutex::new(LastTick {
            ran: Duration::ZERO,
            at: Instant::now(),
        }))
    }
}

impl RunClock {
    /// How often [`RunClock::tick`] must be called.
    pub const TICK: Duration = Duration::from_millis(500);
    /// The most time that passes between two ticks.
    const TICK_MAX: Duration = Duration::from_millis(1_000);

    /// Adds the time since the last tick.
    pub fn tick(&self) {
        let mut last = lock(&self.0);
        let at = Instant::now();
        *last = LastTick {
            ran: last.ran_until(at),
            at,
        };
    }

    /// Milliseconds run so far. Exact between ticks: a stale time would end leases early.
    pub fn ran_ms(&self) -> u64 {
        let last = lock(&self.0);
        u64::try_from(last.ran_until(Instant::now()).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_between_ticks_counts_and_a_pause_counts_as_a_second() {
        let at = Instant::now();
        let ran = Duration::from_secs(5);
        let last = LastTick { ran, at };
        for (after, counted) in [(0, 0), (499, 499), (1_000, 1_000), (3_600_000, 1_000)] {
            let now = at + Duration::from_millis(after);
            assert_eq!(last.ran_until(now), ran + Duration::from_millis(counted));
        }
    }
}
