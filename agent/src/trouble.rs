//! What is wrong with the calls to the server now, so that one outage is logged once, whichever
//! calls it hits.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::client::CallError;

/// Who makes calls.
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
    /// How its lines begin: the founding document's words, which operators search for.
    fn words(self) -> &'static str {
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

    /// Whether its first failure is logged. The others leave the first word to the poll, which an
    /// outage hits at once.
    fn is_first_to_report(self) -> bool {
        #[cfg(target_os = "linux")]
        return self == Caller::Poll;
        #[cfg(not(target_os = "linux"))]
        true
    }
}

/// What went wrong, without what differs from one attempt to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The server can't be reached, or can't work.
    Away,
    /// The server's certificate is not trusted. Each reason has a fix of its own, so the hash of
    /// the message tells them apart.
    Certificate(u64),
    /// The server refuses with that status.
    Refused(u16),
    /// Something on the path answers with that status.
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

/// The calls that fail now.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failing: BTreeMap<Caller, Failing>,
    since: Option<Instant>,
    /// Whether anything was logged since then.
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

    /// A call has failed: logs a warning, unless this outage has one already.
    pub(crate) fn failed(&self, caller: Caller, error: &CallError) {
        if self.state().is_news(caller, Kind::of(error)) {
            tracing::warn!("{} {error}", caller.words());
        } else {
            tracing::debug!("{} {error}", caller.words());
        }
    }

    /// A call has come through. The last caller to recover logs the end of the outage.
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
                // The contract has the poll log each refusal by itself.
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
    fn an_outage_is_news_once_and_the_poll_speaks_first() {
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
    fn what_only_one_caller_meets_is_news_at_its_second_failure() {
        let mut state = State::default();
        assert!(!state.is_news(Caller::Output, Kind::Foreign(403)));
        assert!(state.is_news(Caller::Output, Kind::Foreign(403)));
        assert!(!state.is_news(Caller::Output, Kind::Foreign(403)));
        // The poll reports a refusal even if others have reported it.
        assert!(state.is_news(Caller::Poll, Kind::Foreign(403)));
    }
}
