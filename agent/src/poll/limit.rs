//! How long something between agent and server lets a poll stay open: some proxies close a request
//! that has no answer after 10 s or so.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::CallError;

/// A poll that fails sooner was not cut off: the server or the connection is down.
const SHORTEST_CUT: Duration = Duration::from_secs(2);
/// Two polls that were cut off within this time of each other show the same limit.
const TOLERANCE: Duration = Duration::from_secs(1);
/// Polls end this long before they would be cut off.
const MARGIN: Duration = Duration::from_secs(2);
/// How often a longer poll is tried.
const PROBE_EVERY: Duration = Duration::from_secs(600);

/// The limit, once it is known.
#[derive(Debug, Default)]
pub(crate) struct PollLimit {
    /// How long the last poll that was cut off had been open.
    last_cut: Option<Duration>,
    /// How many seconds polls may wait.
    wait_seconds: Option<u64>,
    /// When a longer poll is tried next.
    probe_at: Option<Instant>,
}

impl PollLimit {
    /// Shortens the next poll's wait to the limit.
    pub(crate) fn apply(&self, wait_seconds: u64, now: Instant) -> u64 {
        match (self.wait_seconds, self.probe_at) {
            (Some(limit), Some(probe_at)) if now < probe_at => wait_seconds.min(limit),
            _ => wait_seconds,
        }
    }

    /// Records a poll that failed after it had been open for `open`. Returns true if it was cut
    /// off, so that the next one may begin at once.
    pub(crate) fn failed(
        &mut self,
        error: &CallError,
        wait_seconds: u64,
        open: Duration,
        now: Instant,
    ) -> bool {
        let is_cut = match error {
            CallError::Network(_) | CallError::Foreign { .. } => {
                open >= SHORTEST_CUT && open < Duration::from_secs(wait_seconds)
            }
            CallError::Unauthorized { .. } | CallError::Status { .. } => false,
        };
        if !is_cut {
            return false;
        }
        let last = self.last_cut.replace(open);
        if last.is_some_and(|last| last.abs_diff(open) <= TOLERANCE) {
            let limit = open.saturating_sub(MARGIN).as_secs().max(1);
            if self.wait_seconds != Some(limit) {
                tracing::info!(
                    "[jobrunner] something between agent and server ends polls after {} s; they now wait {limit} s",
                    open.as_secs()
                );
            }
            self.wait_seconds = Some(limit);
            self.probe_at = Some(now + PROBE_EVERY);
        }
        true
    }

    /// A poll was answered after it had been `open`.
    pub(crate) fn answered(&mut self, open: Duration) {
        // A poll stayed open for longer, so the limit has changed or is gone.
        if self.last_cut.is_some_and(|cut| open > cut + TOLERANCE) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: u64 = 30;

    fn cut(limit: &mut PollLimit, wait: u64, seconds: f64, now: Instant) -> bool {
        let error = CallError::Network("closed".to_owned());
        limit.failed(&error, wait, Duration::from_secs_f64(seconds), now)
    }

    #[test]
    fn two_cuts_set_a_limit_that_is_probed_later() {
        let mut limit = PollLimit::default();
        let now = Instant::now();
        assert_eq!(limit.apply(IDLE, now), IDLE);
        assert!(cut(&mut limit, IDLE, 10.0, now));
        assert_eq!(limit.apply(IDLE, now), IDLE, "it may have been a restart");
        assert!(cut(&mut limit, IDLE, 10.3, now));
        assert_eq!(limit.apply(IDLE, now), 8);
        assert_eq!(limit.apply(5, now), 5);
        limit.answered(Duration::from_secs(8));
        assert_eq!(limit.apply(IDLE, now), 8);
        let later = now + PROBE_EVERY;
        assert_eq!(limit.apply(IDLE, later), IDLE);
        assert!(cut(&mut limit, IDLE, 10.0, later));
        assert_eq!(limit.apply(IDLE, later), 8, "one cut is enough now");
        limit.answered(Duration::from_secs(30));
        assert_eq!(limit.apply(IDLE, later), IDLE);
    }

    #[test]
    fn other_failures_set_no_limit() {
        let mut limit = PollLimit::default();
        let now = Instant::now();
        for _ in 0..3 {
            assert!(!cut(&mut limit, IDLE, 0.1, now), "refused at once");
            assert!(!cut(&mut limit, IDLE, 50.0, now), "no answer at all");
            let error = CallError::Unauthorized { status: 401 };
            assert!(!limit.failed(&error, IDLE, Duration::from_secs(10), now));
        }
        assert!(cut(&mut limit, IDLE, 4.0, now));
        assert!(cut(&mut limit, IDLE, 21.0, now));
        assert_eq!(limit.apply(IDLE, now), IDLE, "each after another time");
    }
}
