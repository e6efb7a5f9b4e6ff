//! What a connection and the request that is being answered on it know of one another.

use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::Request;
use bytes::Bytes;

use super::head;
use crate::http::{AskedAgain, SetAside, Wait};

/// Shared by both.
pub(super) struct Line {
    state: Mutex<State>,
}

struct State {
    /// For the next request: it was set aside before.
    again: Option<AskedAgain>,
    may_set_aside: bool,
    head: Option<Bytes>,
    wait: Option<Wait>,
}

impl Line {
    /// `again`: the first request was set aside before. Unless it `may_set_aside`, it is not set
    /// aside once more.
    pub(super) fn new(again: Option<AskedAgain>, may_set_aside: bool) -> Self {
        Self {
            state: Mutex::new(State {
                again,
                may_set_aside,
                head: None,
                wait: None,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins; tells whether it was set aside before.
    pub(super) fn next_request(&self) -> Option<AskedAgain> {
        let mut state = self.state();
        state.head = None;
        let again = state.again.take();
        if again.is_none() {
            state.may_set_aside = true;
        }
        again
    }

    /// Keeps the request's head, so that it can be set aside; false where it can't be.
    pub(super) fn keep<B>(&self, request: &Request<B>) -> bool {
        let mut state = self.state();
        if state.may_set_aside {
            state.head = head::of_plain_get(request);
        }
        state.head.is_some()
    }

    /// The head of the request that was set aside, and what it waits for.
    pub(super) fn take_set_aside(&self) -> Option<(Bytes, Wait)> {
        let mut state = self.state();
        let wait = state.wait.take()?;
        Some((state.head.take().unwrap_or_default(), wait))
    }

    pub(super) fn is_set_aside(&self) -> bool {
        self.state().wait.is_some()
    }
}

impl SetAside for Line {
    fn set_aside(&self, wait: Wait) {
        self.state().wait = Some(wait);
    }
}
