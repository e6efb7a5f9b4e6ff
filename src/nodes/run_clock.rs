//! The clock that measures signs of life and leases. It runs only while this server does.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::sync::lock;

/// Milliseconds that the server has run. A long gap between two ticks, in which the process was
/// stopped, counts as one tick.
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
    /// How often [`RunClock::tick`] must be called.
    pub const TICK: Duration = Duration::from_millis(500);
    /// The most time that one tick adds.
    const TICK_MAX: Duration = Duration::from_millis(1_000);

    /// Adds the time since the last tick.
    pub fn tick(&self) {
        let mut last = lock(&self.last_tick);
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
