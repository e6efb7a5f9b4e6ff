//! Supervises background tasks. A task that dies is restarted, and `/readyz` reports its death for
//! a while. The death of a task that can't be restarted ends the server.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{Notify, watch};

/// The tasks of this process's server.
pub static TASKS: Tasks = Tasks::new(Duration::from_secs(1), Duration::from_secs(10));

/// Restarts tasks and records their deaths.
pub struct Tasks {
    state: Mutex<State>,
    gave_up: Notify,
    /// The pause before a restart.
    pause: Duration,
    /// How long a death is reported.
    probation: Duration,
}

struct State {
    /// The last death of each task that has died.
    deaths: BTreeMap<&'static str, Instant>,
    /// A dead task that can't be restarted.
    lost: Option<&'static str>,
}

impl Tasks {
    const fn new(pause: Duration, probation: Duration) -> Self {
        Self {
            state: Mutex::new(State {
                deaths: BTreeMap::new(),
                lost: None,
            }),
            gave_up: Notify::const_new(),
            pause,
            probation,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        crate::sync::lock(&self.state)
    }

    /// Why the server is not ready, if a task has died recently.
    pub fn fault(&self) -> Option<String> {
        let state = self.state();
        if let Some(name) = state.lost {
            return Some(format!(
                "the task {name} has failed; the server is shutting down"
            ));
        }
        let recent = |at: &Instant| at.elapsed() < self.probation;
        let (name, _) = state.deaths.iter().find(|(_, at)| recent(at))?;
        Some(format!(
            "the task {name} has failed and is being restarted; see the server's log for the reason"
        ))
    }

    /// Runs a task until the server stops. A task that panics or returns earlier is restarted.
    pub async fn keep<W: Future<Output = ()>>(
        &self,
        name: &'static str,
        stopping: watch::Receiver<bool>,
        mut start: impl FnMut() -> W,
    ) {
        loop {
            let work = async { start().await };
            let why = match AssertUnwindSafe(work).catch_unwind().await {
                Ok(()) if *stopping.borrow() => return,
                Ok(()) => "it returned".to_owned(),
                Err(panic) => panic_message(&*panic),
            };
            self.died(name, &why);
            tokio::time::sleep(self.pause).await;
        }
    }

    /// Runs the work of a dedicated thread until it returns, and restarts it if it panics.
    pub fn keep_thread(&self, name: &'static str, work: impl Fn()) {
        while let Err(panic) = catch_unwind(AssertUnwindSafe(&work)) {
            self.died(name, &panic_message(&*panic));
            std::thread::sleep(self.pause);
        }
    }

    /// Runs the work of a dedicated thread that can't be restarted. If it panics, the server ends.
    pub fn run_thread(&self, name: &'static str, work: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            self.died(name, &panic_message(&*panic));
            self.state().lost = Some(name);
            self.gave_up.notify_one();
        }
    }

    /// Records the death of a task.
    pub fn died(&self, name: &'static str, why: &str) {
        tracing::error!(task = name, "a background task has failed: {why}");
        self.state().deaths.insert(name, Instant::now());
    }

    /// Waits until a task has died that can't be restarted.
    pub async fn gave_up(&self) {
        self.gave_up.notified().await;
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let message = panic
        .downcast_ref::<&str>()
        .map(|message| (*message).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    format!("it panicked: {}", message.as_deref().unwrap_or("no reason"))
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn tasks(probation: Duration) -> Tasks {
        Tasks::new(Duration::from_millis(1), probation)
    }

    #[tokio::test]
    async fn a_dead_task_is_reported_and_restarted() {
        let tasks = tasks(Duration::from_secs(3_600));
        let (stop, stopping) = watch::channel(false);
        let starts = AtomicU32::new(0);
        assert_eq!(tasks.fault(), None);
        let stop = &stop;
        let starts = &starts;
        let work = || async move {
            match starts.fetch_add(1, Ordering::Relaxed) {
                0 => panic!("a bad day"),
                1 => {}
                _ => stop.send(true).expect("the task listens"),
            }
        };
        tasks.keep("sweeper", stopping, work).await;
        assert_eq!(starts.load(Ordering::Relaxed), 3);
        let fault = tasks.fault().expect("it has died");
        assert!(fault.contains("sweeper"), "{fault}");
        assert!(
            !fault.contains("a bad day"),
            "the reason belongs in the log"
        );
    }

    #[tokio::test]
    async fn a_death_is_reported_only_for_a_while() {
        let tasks = tasks(Duration::ZERO);
        tasks.died("sweeper", "a bad day");
        assert_eq!(tasks.fault(), None);
    }

    #[tokio::test]
    async fn a_dead_thread_is_restarted_or_ends_the_server() {
        let tasks = tasks(Duration::ZERO);
        let starts = AtomicU32::new(0);
        tasks.keep_thread("checkpoint", || {
            let count = starts.fetch_add(1, Ordering::Relaxed);
            assert!(count > 1, "a bad day");
        });
        assert_eq!(starts.load(Ordering::Relaxed), 3);
        assert_eq!(tasks.fault(), None);
        tasks.run_thread("writer", || panic!("a bad day"));
        let fault = tasks.fault().expect("it is lost");
        assert!(fault.contains("writer"), "{fault}");
        tasks.gave_up().await;
    }
}
