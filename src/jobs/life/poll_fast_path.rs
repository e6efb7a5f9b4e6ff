//! Answers polls from memory, before the router and its layers: ten thousand agents poll all the
//! time, and nearly always there is nothing for them.
//!
//! The fast path makes no decision of its own. It parses a request with the endpoint's functions
//! and leaves to the endpoint every poll that needs the database or is invalid. See decision 0012.

use axum::body::HttpBody;
use axum::http::{Method, Request, header};
use axum::response::{IntoResponse, Response};

use crate::auth::Auth;
use crate::http::{Pairs, RequestId, ResumedCall, Wait, finish};
use crate::jobs::Jobs;
use crate::jobs::life::agent_routes::parse_poll;
use crate::jobs::life::poll::PollDecision;
use crate::nodes::Standing;

/// The path of polls.
const PATH: &str = "/api/jobs/pending";

/// Answers polls before the router. Cheap to clone.
#[derive(Clone)]
pub struct PollFastPath {
    auth: Auth,
    jobs: Jobs,
}

/// How to proceed with a request.
pub enum FastAnswer {
    /// Send this response.
    Respond(Response),
    /// There is nothing yet: check the request again after the wait.
    Wait(Wait),
    /// Route the request; its handler may wait.
    RouteMayWait,
    /// Route the request.
    Route,
}

impl PollFastPath {
    /// A fast path for the endpoints of `jobs`.
    pub fn new(auth: Auth, jobs: Jobs) -> Self {
        Self { auth, jobs }
    }

    /// Decides how to proceed with a request that has no body.
    pub fn check<B>(&self, request: &Request<B>) -> FastAnswer {
        if request.method() != Method::GET || request.uri().path() != PATH {
            return FastAnswer::Route;
        }
        let query = Pairs::of(request.uri().query().unwrap_or_default().as_bytes());
        let Ok(poll) = parse_poll(&query) else {
            return FastAnswer::Route;
        };
        let route = if poll.wait.is_zero() {
            FastAnswer::Route
        } else {
            FastAnswer::RouteMayWait
        };
        match self.auth.is_known_node(request.headers(), poll.node_id) {
            Some(true) => {}
            Some(false) => return FastAnswer::Route,
            None => return route,
        }
        let resumed = request.extensions().get::<ResumedCall>();
        let presence = &self.jobs.nodes.presence;
        if presence.standing(poll.node_id, poll.instance, poll.process) != Standing::Settled {
            return route;
        }
        let decision = self
            .jobs
            .decide_poll(&poll, resumed.map(|resumed| resumed.deadline));
        if matches!(decision, PollDecision::Query(_)) {
            return route;
        }
        // A resumed call does not count as another sign of life.
        let is_recorded =
            resumed.is_some() || presence.record_known(poll.node_id, poll.instance, poll.process);
        match decision {
            PollDecision::AnswerEmpty(answer) if is_recorded => {
                let mut response = axum::Json(answer).into_response();
                finish(response.headers_mut(), &RequestId::new(), true);
                // Set as the router sets it, so that even the order of the headers is the same.
                if let Some(length) = response.body().size_hint().exact() {
                    response
                        .headers_mut()
                        .insert(header::CONTENT_LENGTH, length.into());
                }
                let metrics = &self.jobs.metrics;
                metrics.answered(Some(PATH), &Method::GET, response.status());
                FastAnswer::Respond(response)
            }
            PollDecision::Wait(wait) if is_recorded => FastAnswer::Wait(wait),
            PollDecision::AnswerEmpty(_) | PollDecision::Wait(_) | PollDecision::Query(_) => route,
        }
    }
}
