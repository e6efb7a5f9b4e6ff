//! Tracks which calls to the server fail, so that an outage is logged once, whichever calls it
//! affects.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::client::CallError;

/// A part of the agent that calls the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Caller {
    Heartbeat,
    #[cfg(target_os = "linux")]
    Poll,
    #[cfg(target_os = "linux")]
    Output,
    #[cfg(target_os = "linux")]
    Complete,
}

impl Caller {
    /// The beginning of its log lines, as in the founding document; operators search for it.
    fn prefix(self) -> &'static str {
        match self {
            Caller::Heartbeat => "[heartbeat]",
            #[cfg(target_os = "linux")]
            Caller::Poll => "[jobrunner] poll error:",
            #[cfg(target_os = "linux")]
            Caller::Output => "[jobrunner] output error:",
            #[cfg(target_os = "linux")]
            Caller::Complete => "[jobrunner] complete error:",
        }
    }

    /// Whether its first failure is logged. Other callers leave that to the poll, which an outage
    /// affects at once.
    fn is_first_to_report(self) -> bool {
        #[cfg(target_os = "linux")]
        return self == Caller::Poll;
        #[cfg(not(target_os = "linux"))]
        true
    }
}

/// The kind of a failure: equal for attempts that fail for the same reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The server can't be reached, or is not able to work.
    Away,
    /// The server's certificate is not trusted. Each reason has a fix of its own, so the hash of
    /// the message tells them apart.
    Certificate(u64),
    /// The server refuses the call with this status.
    Refused(u16),
    /// Something between agent and server answers with this status.
    Foreign(u16),
}

impl Kind {
    fn of(error: &CallError) -> Self {
        match error {
            CallError::Network(message) if message.contains("certificate") => {
                let mut hasher = DefaultHasher::new();
                message.hash(&mut hasher);
                Kind::Certificate(hasher.finish())
            }
            CallError::Network(_)
            | CallError::Status { status: 503, .. }
            | CallError::Foreign {
                status: 502..=504, ..
            } => Kind::Away,
            CallError::Foreign { status, .. } => Kind::Foreign(*status),
            CallError::Status { status, .. } | CallError::Unauthorized { status } => {
                Kind::Refused(*status)
            }
        }
    }
}

/// The callers whose calls currently fail.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failing: BTreeMap<Caller, Failing>,
    since: Option<Instant>,
    /// Whether a failure was logged since then.
    is_logged: bool,
}

#[derive(Debug)]
struct Failing {
    failures: u32,
    logged: Option<Kind>,
}

impl Trouble {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a failed call. Logs a warning, unless this outage has one already.
    pub(crate) fn failed(&self, caller: Caller, error: &CallError) {
        if self.state().is_news(caller, Kind::of(error)) {
            tracing::warn!("{} {error}", caller.prefix());
        } else {
            tracing::debug!("{} {error}", caller.prefix());
        }
    }

    /// Records a successful call. Logs the end of the outage if no other caller fails.
    pub(crate) fn ended(&self, caller: Caller) {
        let mut state = self.state();
        if state.failing.remove(&caller).is_none() || !state.failing.is_empty() {
            return;
        }
        let State {
            since, is_logged, ..
        } = std::mem::take(&mut *state);
        if let (Some(since), true) = (since, is_logged) {
            let seconds = since.elapsed().as_secs();
            tracing::info!("the server answers again, after {seconds} s");
        }
    }
}

impl State {
    fn is_news(&mut self, caller: Caller, kind: Kind) -> bool {
        let is_known = self.failing.iter().any(|(other, failing)| {
            failing.logged == Some(kind)
                // Polls log each refusal themselves, as operators expect.
                && (*other == caller || kind == Kind::Away || !caller.is_first_to_report())
        });
        let failing = self.failing.entry(caller).or_insert(Failing {
            failures: 0,
            logged: None,
        });
        failing.failures += 1;
        let is_news = !is_known && (failing.failures > 1 || caller.is_first_to_report());
        if is_news {
            failing.logged = Some(kind);
            self.is_logged = true;
        }
        self.since.get_or_insert_with(Instant::now);
        is_news
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_logged_once_and_by_the_poll() {
        let mut state = State::default();
        assert!(!state.is_news(Caller::Heartbeat, Kind::Away));
        assert!(state.is_news(Caller::Poll, Kind::Away));
        for caller in [
            Caller::Heartbeat,
            Caller::Poll,
            Caller::Output,
            Caller::Output,
        ] {
            assert!(!state.is_news(caller, Kind::Away), "{caller:?}");
        }
        assert!(state.is_news(Caller::Poll, Kind::Refused(401)));
        assert!(state.is_news(Caller::Poll, Kind::Refused(403)));
        assert!(!state.is_news(Caller::Heartbeat, Kind::Refused(403)));
    }

    #[test]
    fn a_failure_of_one_caller_is_logged_the_second_time() {
        let mut state = State::default();
        assert!(!state.is_news(Caller::Output, Kind::Foreign(403)));
        assert!(state.is_news(Caller::Output, Kind::Foreign(403)));
        assert!(!state.is_news(Caller::Output, Kind::Foreign(403)));
        // The poll reports a refusal even if others have reported it.
        assert!(state.is_news(Caller::Poll, Kind::Foreign(403)));
    }
}
