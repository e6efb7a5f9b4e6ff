//! How long to wait before a failed call is tried again.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait.
pub(crate) const LONGEST: Duration = Duration::from_secs(30);

/// Waits that double from 0.5 s to 30 s, with jitter, so that a thousand agents don't return at the
/// same moment.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after another failure, at most `cap`.
    pub(crate) fn next(&mut self, cap: Duration) -> Duration {
        let wait = wait_after(self.failures, random_unit());
        self.failures = self.failures.saturating_add(1);
        wait.min(cap)
    }

    /// Starts over after a successful call.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// The wait after a failure that `failures` others preceded. The jitter `unit`, 0 to 1, shortens
/// the wait by up to a half.
fn wait_after(failures: u32, unit: f64) -> Duration {
    let full = FIRST.saturating_mul(1 << failures.min(16)).min(LONGEST);
    full.mul_f64(1.0 - unit / 2.0).max(FIRST)
}

/// A random number from 0 to 1.
fn random_unit() -> f64 {
    // Half of a v4 UUID has 62 random bits; 32 are enough.
    let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
    f64::from(low as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_from_half_a_second_to_thirty() {
        assert_eq!(wait_after(0, 0.0), FIRST);
        assert_eq!(wait_after(3, 0.0), Duration::from_secs(4));
        assert_eq!(wait_after(3, 1.0), Duration::from_secs(2));
        for failures in [6, 7, 40, u32::MAX] {
            assert_eq!(wait_after(failures, 0.0), LONGEST);
            assert_eq!(wait_after(failures, 1.0), LONGEST / 2);
        }
    }

    #[test]
    fn a_cap_holds_and_a_success_starts_over() {
        const CAP: Duration = Duration::from_secs(1);
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            assert!(backoff.next(CAP) <= CAP);
        }
        backoff.reset();
        assert_eq!(backoff.next(LONGEST), FIRST);
    }
}
