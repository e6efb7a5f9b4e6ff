//! The state that a connection shares with the request that is being answered on it.

use std::sync::{Mutex, MutexGuard};

use axum::http::Request;
use bytes::Bytes;

use super::head;
use crate::http::{ResumedCall, Suspend, Wait};

/// Shared by the connection and its current request.
pub(super) struct ConnectionState {
    state: Mutex<State>,
}

struct State {
    /// The next request was suspended before.
    resumed: Option<ResumedCall>,
    may_suspend: bool,
    head: Option<Bytes>,
    wait: Option<Wait>,
}

impl ConnectionState {
    /// `resumed`: the first request was suspended before. It is suspended again only if
    /// `may_suspend`.
    pub(super) fn new(resumed: Option<ResumedCall>, may_suspend: bool) -> Self {
        Self {
            state: Mutex::new(State {
                resumed,
                may_suspend,
                head: None,
                wait: None,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        crate::sync::lock(&self.state)
    }

    /// Begins a request. Returns its earlier suspension, if any.
    pub(super) fn begin_request(&self) -> Option<ResumedCall> {
        let mut state = self.state();
        state.head = None;
        let resumed = state.resumed.take();
        if resumed.is_none() {
            state.may_suspend = true;
        }
        resumed
    }

    /// Keeps the request's head for a suspension. False if the request can't be suspended.
    pub(super) fn keep_head<B>(&self, request: &Request<B>) -> bool {
        let mut state = self.state();
        if state.may_suspend {
            state.head = head::of_plain_get(request);
        }
        state.head.is_some()
    }

    /// The head of the suspended request, and its wait.
    pub(super) fn take_suspended(&self) -> Option<(Bytes, Wait)> {
        let mut state = self.state();
        let wait = state.wait.take()?;
        Some((state.head.take().unwrap_or_default(), wait))
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.state().wait.is_some()
    }
}

impl Suspend for ConnectionState {
    fn suspend(&self, wait: Wait) {
        self.state().wait = Some(wait);
    }
}
