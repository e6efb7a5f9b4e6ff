//! Calls that wait: long-polls, of which a server has ten thousand open and nearly nothing to say
//! to any.
//!
//! Such a call can be *set aside*: whoever serves the connection then keeps its few bytes and the
//! [`Wait`] alone, drops all that was built to answer it, and asks again, as if the request had
//! just come, when the wait is over. A handler that is about to wait does so through
//! [`Waiting::over`], which works where nobody can set it aside, too.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio::time::Instant;

/// What a call waits for.
pub struct Wait {
    /// Until when; a call that is asked again is told, as its own words count from when it came.
    pub deadline: Instant,
    /// Ends when it is worth asking again, at the deadline at the latest.
    pub wake: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Whoever can set calls aside.
pub trait SetAside: Send + Sync {
    /// Sets aside the call that was last made; what answers it is dropped as soon as it waits.
    fn set_aside(&self, wait: Wait);
}

/// Among a request's extensions: who can set it aside.
#[derive(Clone)]
pub struct CanSetAside(pub Arc<dyn SetAside>);

/// Among a request's extensions: it was set aside before, and may wait until then.
#[derive(Debug, Clone, Copy)]
pub struct AskedAgain(pub Instant);

/// How a call may wait.
pub struct Waiting {
    by: Option<CanSetAside>,
    again: Option<AskedAgain>,
}

impl Waiting {
    /// Until when the call may wait, where it has waited before: it is the same call, and no new
    /// sign of anything.
    pub fn deadline_from_before(&self) -> Option<Instant> {
        self.again.map(|again| again.0)
    }

    /// Waits; comes back only where nobody sets the call aside.
    pub async fn over(&self, wait: Wait) {
        match &self.by {
            Some(CanSetAside(by)) => {
                by.set_aside(wait);
                std::future::pending().await
            }
            None => wait.wake.await,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Waiting {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self {
            by: parts.extensions.remove(),
            again: parts.extensions.remove(),
        })
    }
}
