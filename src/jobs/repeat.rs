//! Work that the server repeats as long as it runs.

use std::time::Duration;

use crate::jobs::{JobError, Jobs};
pub(crate) use crate::tasks::Failures;

/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(1);

impl Jobs {
    /// Repeats `work` until the server shuts down: after the pause that it returned, if any, and
    /// when `changed` reports a change. `what` is what a failure prevents, for the log.
    pub(in crate::jobs) async fn repeat<W, C>(
        &self,
        what: &'static str,
        work: impl Fn() -> W,
        changed: impl Fn() -> C,
    ) where
        W: Future<Output = Result<Option<Duration>, JobError>>,
        C: Future<Output = ()>,
    {
        let mut failures = Failures::of(what);
        loop {
            // Before the work, so that a change during the work is not missed.
            let changed = changed();
            let done = tokio::select! {
                done = work() => done,
                () = self.stopped() => return,
            };
            let pause = failures.log(done).unwrap_or(Some(RETRY));
            let slept = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = slept => {}
                () = changed => {}
                () = self.stopped() => return,
            }
        }
    }
}
