//! The agents' polls, at the door: what can be said of one at once, before the router and all its
//! layers. Ten thousand agents ask again and again, and nearly always nothing is there.
//!
//! The door decides nothing by itself. It reads a request as the endpoint does, by the same
//! functions, and leaves to the endpoint whatever takes more than memory, or is not in order.

use axum::body::HttpBody;
use axum::http::{Method, Request, header};
use axum::response::{IntoResponse, Response};

use crate::auth::Auth;
use crate::http::{AskedAgain, Pairs, RequestId, Wait, finish};
use crate::jobs::Jobs;
use crate::jobs::life::agent_routes::asked_of;
use crate::jobs::life::claim::AtOnce;
use crate::nodes::Standing;

/// Where polls come.
const PATH: &str = "/api/jobs/pending";

/// The door; clones share it.
#[derive(Clone)]
pub struct Door {
    auth: Auth,
    jobs: Jobs,
}

/// What the door says.
pub enum Said {
    /// The answer.
    Answer(Response),
    /// Nothing yet: the request is to be asked again after that.
    Wait(Wait),
    /// Ask inside; the call may wait there.
    MayWait,
    /// Ask inside.
    Nothing,
}

impl Door {
    /// In front of the endpoints of `jobs`.
    pub fn new(auth: Auth, jobs: Jobs) -> Self {
        Self { auth, jobs }
    }

    /// What can be said at once of a request that has no body.
    pub fn ask<B>(&self, request: &Request<B>) -> Said {
        if request.method() != Method::GET || request.uri().path() != PATH {
            return Said::Nothing;
        }
        let query = Pairs::of(request.uri().query().unwrap_or_default().as_bytes());
        let Ok(asked) = asked_of(&query) else {
            return Said::Nothing;
        };
        let inside = if asked.wait.is_zero() {
            Said::Nothing
        } else {
            Said::MayWait
        };
        match self.auth.is_known_node(request.headers(), asked.node_id) {
            Some(true) => {}
            Some(false) => return Said::Nothing,
            None => return inside,
        }
        let again = request.extensions().get::<AskedAgain>();
        let presence = &self.jobs.nodes.presence;
        if presence.standing(asked.node_id, asked.instance, asked.process) != Standing::Settled {
            return inside;
        }
        let said = self.jobs.poll_at_once(&asked, again.map(|again| again.0));
        let is_heard = again.is_some()
            || matches!(said, AtOnce::Look(_))
            || (self.jobs.nodes.presence).sign_of_known(
                asked.node_id,
                asked.instance,
                asked.process,
            );
        match said {
            AtOnce::Nothing(nothing) if is_heard => {
                let mut answer = axum::Json(nothing).into_response();
                finish(answer.headers_mut(), &RequestId::new(), true);
                // As the router does, so that even the order is the same.
                if let Some(length) = answer.body().size_hint().exact() {
                    answer
                        .headers_mut()
                        .insert(header::CONTENT_LENGTH, length.into());
                }
                Said::Answer(answer)
            }
            AtOnce::Wait(wait) if is_heard => Said::Wait(wait),
            AtOnce::Nothing(_) | AtOnce::Wait(_) | AtOnce::Look(_) => inside,
        }
    }
}
