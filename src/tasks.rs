//! The work that goes on for as long as the server does, besides its requests. A task that dies is
//! started again, and `/readyz` reports it for a while; one that can't be started again ends the
//! server.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{Notify, watch};

/// The tasks of this process's server.
pub static TASKS: Tasks = Tasks::new(Duration::from_secs(1), Duration::from_secs(10));

/// What became of a server's tasks.
pub struct Tasks {
    state: Mutex<State>,
    gave_up: Notify,
    /// Between a task's death and its next start.
    pause: Duration,
    /// How long a death counts.
    probation: Duration,
}

struct State {
    /// When each task that has died did so last.
    deaths: BTreeMap<&'static str, Instant>,
    /// A task that can't be started again.
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
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the server can't be relied on, if a task has died lately.
    pub fn fault(&self) -> Option<String> {
        let state = self.state();
        if let Some(name) = state.lost {
            return Some(format!("the task {name} has died; the server ends"));
        }
        let recent = |at: &Instant| at.elapsed() < self.probation;
        let (name, _) = state.deaths.iter().find(|(_, at)| recent(at))?;
        Some(format!(
            "the task {name} has died and is started again; the server's log has the reason"
        ))
    }

    /// Runs a task until the server stops: whenever it panics or returns before that, it is started
    /// again.
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
                Err(panic) => words_of(&*panic),
            };
            self.died(name, &why);
            tokio::time::sleep(self.pause).await;
        }
    }

    /// Runs the work of a thread of its own until it returns: whenever it panics, it is started
    /// again.
    pub fn keep_thread(&self, name: &'static str, work: impl Fn()) {
        while let Err(panic) = catch_unwind(AssertUnwindSafe(&work)) {
            self.died(name, &words_of(&*panic));
            std::thread::sleep(self.pause);
        }
    }

    /// Runs the work of a thread of its own that can't be started again. If it panics, the server
    /// ends.
    pub fn run_thread(&self, name: &'static str, work: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            self.died(name, &words_of(&*panic));
            self.state().lost = Some(name);
            self.gave_up.notify_one();
        }
    }

    /// Records a death.
    pub fn died(&self, name: &'static str, why: &str) {
        tracing::error!(task = name, "a task of the server has died: {why}");
        self.state().deaths.insert(name, Instant::now());
    }

    /// Waits until a task is lost that can't be started again.
    pub async fn gave_up(&self) {
        self.gave_up.notified().await;
    }
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic
        .downcast_ref::<&str>()
        .map(|words| (*words).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    format!("it panicked: {}", words.as_deref().unwrap_or("no reason"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn tasks(probation: Duration) -> Tasks {
        Tasks::new(Duration::from_millis(1), probation)
    }

    #[tokio::test]
    async fn a_task_that_dies_is_reported_and_started_again() {
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
        assert!(!fault.contains("a bad day"), "that is for the log");
    }

    #[tokio::test]
    async fn a_death_counts_for_a_while_only() {
        let tasks = tasks(Duration::ZERO);
        tasks.died("sweeper", "a bad day");
        assert_eq!(tasks.fault(), None);
    }

    #[tokio::test]
    async fn a_thread_is_started_again_or_ends_the_server() {
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
