//! The clock by which signs of life and leases are counted: it runs while this server does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Milliseconds that the server has run. A gap between two ticks counts as one tick: the process
/// was stopped then.
#[derive(Debug)]
pub struct RunClock {
    ran_ms: AtomicU64,
    last_tick: Mutex<Instant>,
}

impl Default for RunClock {
    fn default() -> Self {
        Self {
            ran_ms: AtomicU64::new(0),
            last_tick: Mutex::new(Instant::now()),
        }
    }
}

impl RunClock {
    /// How often [`RunClock::tick`] is to be called.
    pub const TICK: Duration = Duration::from_millis(500);
    /// The most that one tick may count.
    const TICK_MAX: Duration = Duration::from_millis(1_000);

    /// Counts the time since the last tick.
    pub fn tick(&self) {
        let mut last = self
            .last_tick
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let passed = last.elapsed().min(Self::TICK_MAX);
        *last = Instant::now();
        self.ran_ms.fetch_add(
            u64::try_from(passed.as_millis()).unwrap_or(0),
            Ordering::Relaxed,
        );
    }

    /// Milliseconds run so far.
    pub fn ran_ms(&self) -> u64 {
        self.ran_ms.load(Ordering::Relaxed)
    }
}
