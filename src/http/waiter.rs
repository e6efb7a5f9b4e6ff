//! Calls that wait: long polls, of which a server has ten thousand open and rarely anything to
//! answer.
//!
//! A waiting call can be *suspended*: the connection keeps only its few bytes and the [`Wait`],
//! drops everything that was built to answer the call, and handles the request again when the wait
//! is over. A handler waits through [`Waiter::wait`], which also works on connections that can't
//! suspend.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio::time::Instant;

/// What a call waits for.
pub struct Wait {
    /// When the call's time is over, counted from its first arrival.
    pub deadline: Instant,
    /// Completes when the call is worth another try, at the deadline at the latest.
    pub wake: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// A connection that can suspend its call.
pub trait Suspend: Send + Sync {
    /// Suspends the call. Its response future is dropped as soon as it waits.
    fn suspend(&self, wait: Wait);
}

/// Request extension: the connection can suspend the call.
#[derive(Clone)]
pub struct Suspender(pub Arc<dyn Suspend>);

/// Request extension: the call was suspended before.
#[derive(Debug, Clone, Copy)]
pub struct ResumedCall {
    /// When the call's time is over.
    pub deadline: Instant,
}

/// Extractor for handlers that wait.
pub struct Waiter {
    suspender: Option<Suspender>,
    resumed: Option<ResumedCall>,
}

impl Waiter {
    /// The deadline of a call that was suspended before. Such a call does not count as another sign
    /// of life.
    pub fn resumed_deadline(&self) -> Option<Instant> {
        self.resumed.map(|resumed| resumed.deadline)
    }

    /// Waits. Never returns if the connection suspends the call.
    pub async fn wait(&self, wait: Wait) {
        match &self.suspender {
            Some(Suspender(connection)) => {
                connection.suspend(wait);
                std::future::pending().await
            }
            None => wait.wake.await,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Waiter {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self {
            suspender: parts.extensions.remove(),
            resumed: parts.extensions.remove(),
        })
    }
}
