//! Work that the server repeats as long as it runs.

use std::time::Duration;

use crate::jobs::{JobError, Jobs};

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

/// Logs the first of several failures: a database that is away for an hour would fill the log.
pub(crate) struct Failures {
    what: &'static str,
    is_failing: bool,
}

impl Failures {
    /// `what` follows "can't".
    pub(crate) fn of(what: &'static str) -> Self {
        Self {
            what,
            is_failing: false,
        }
    }

    /// Logs a first failure, and the success after it.
    pub(crate) fn log<T, E: std::fmt::Display>(&mut self, done: Result<T, E>) -> Option<T> {
        let what = self.what;
        let was_failing = std::mem::replace(&mut self.is_failing, done.is_err());
        match done {
            Ok(value) => {
                if was_failing {
                    tracing::info!("can {what} again");
                }
                Some(value)
            }
            Err(error) => {
                if !was_failing {
                    tracing::warn!(%error, "can't {what}; retrying until the database answers");
                }
                None
            }
        }
    }
}
