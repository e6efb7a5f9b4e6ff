//! Waiting: always for a condition, always with an end.

use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long anything may take before a test gives up on it: far more than it takes, so that a busy
/// machine fails nothing.
pub const PATIENCE: Duration = Duration::from_secs(30);

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Calls `look` until it returns something. Fails with `what` when the patience ends.
#[track_caller]
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, look)
}

/// Like [`eventually`], for what may take longer than [`PATIENCE`], or must take less.
#[track_caller]
pub fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited {patience:?} in vain for {what}"
        );
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A deadline of a loop that does more than wait. A loop that renews it with each progress gives a
/// slow machine as long as it needs.
#[derive(Debug)]
pub struct Patience(Instant);

impl Patience {
    /// Lasts for `time` from now.
    pub fn of(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// Fails with `what` after the deadline.
    #[track_caller]
    pub fn must_last(&self, what: impl FnOnce() -> String) {
        assert!(Instant::now() < self.0, "{}", what());
    }
}

/// Repeats `attempt` until one takes less than `limit`, because a busy machine delays some. Without
/// the behaviour under test, every attempt takes longer.
#[track_caller]
pub fn once_within(limit: Duration, what: &str, mut attempt: impl FnMut()) {
    eventually_within(10 * limit + PATIENCE, what, || {
        let began = Instant::now();
        attempt();
        (began.elapsed() < limit).then_some(())
    });
}

/// Waits until `count` returns at least `target`. Fails if the count stays the same for
/// [`PATIENCE`], so that a slow machine may take as long as it needs.
#[track_caller]
pub fn reaches(what: &str, target: usize, mut count: impl FnMut() -> usize) {
    let mut reached = count();
    while reached < target {
        let what = format!("{what}: {reached} of {target}");
        reached = eventually(&what, || Some(count()).filter(|now| *now != reached));
    }
}

/// Waits for the result of a thread, such as the answer to a poll that would wait longer than
/// [`PATIENCE`] by itself.
#[track_caller]
pub fn joined<T>(what: &str, thread: JoinHandle<T>) -> T {
    eventually(what, || thread.is_finished().then_some(()));
    thread.join().expect("no panic")
}

/// Waits until the clock has reached `moment`, because the test is about real time, as `_why` says.
/// All other waits are for an event.
pub fn until(moment: Instant, _why: &str) {
    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
}

/// Lets `time` pass: see [`until`].
pub fn pass(time: Duration, why: &str) {
    until(Instant::now() + time, why);
}

/// The time since 1970 by the machine's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
pub fn unix_time() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
}
