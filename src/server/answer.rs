//! One request's way to its answer: at the door where that can be, else through the router.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use hyper::body::{Body as _, Incoming};
use tower::ServiceExt;

use super::line::Line;
use crate::http::{CanSetAside, Drainable, SetAside};
use crate::jobs::{Door, Said};

/// What answers requests; clones share it.
#[derive(Clone)]
pub(super) struct Inside {
    pub(super) door: Door,
    pub(super) router: Router,
}

impl Inside {
    /// Answers. Where the call is set aside on its line instead, this never ends, and is to be
    /// dropped.
    pub(super) async fn answer(self, line: Arc<Line>, request: Request<Incoming>) -> Response {
        // Most requests have no body.
        if request.body().is_end_stream() {
            return self.answer_plain(line, request.map(Body::new)).await;
        }
        // One that waits for our word before it sends its body is not to be told to send it.
        if request.headers().contains_key(header::EXPECT) {
            return self.route(request.map(Body::new)).await;
        }
        let (parts, body) = request.into_parts();
        let body = Drainable::new(body);
        let response = self
            .route(Request::from_parts(parts, Body::new(body.clone())))
            .await;
        body.drain().await;
        response
    }

    async fn answer_plain(self, line: Arc<Line>, mut request: Request) -> Response {
        if let Some(again) = line.next_request() {
            request.extensions_mut().insert(again);
        }
        match self.door.ask(&request) {
            Said::Answer(answer) => return answer,
            Said::Wait(wait) if line.keep(&request) => {
                line.set_aside(wait);
                return std::future::pending().await;
            }
            Said::MayWait if line.keep(&request) => {
                request.extensions_mut().insert(CanSetAside(line));
            }
            // It waits inside.
            Said::Wait(_) | Said::MayWait | Said::Nothing => {}
        }
        self.route(request).await
    }

    async fn route(self, request: Request) -> Response {
        self.router
            .oneshot(request)
            .await
            .unwrap_or_else(|never| match never {})
    }
}
