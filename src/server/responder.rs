//! Answers one request: by the fast path for polls if possible, otherwise through the router.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use hyper::body::{Body as _, Incoming};
use tower::ServiceExt;

use super::connection_state::ConnectionState;
use crate::http::{DrainableBody, Suspend, Suspender};
use crate::jobs::{FastAnswer, PollFastPath};

/// Answers requests. Cheap to clone.
#[derive(Clone)]
pub(super) struct Responder {
    pub(super) fast_path: PollFastPath,
    pub(super) router: Router,
}

impl Responder {
    /// Answers the request. If the call is suspended, this future never completes and must be
    /// dropped.
    pub(super) async fn respond(
        self,
        connection: Arc<ConnectionState>,
        request: Request<Incoming>,
    ) -> Response {
        // Most requests have no body.
        if request.body().is_end_stream() {
            return self
                .respond_without_body(connection, request.map(Body::new))
                .await;
        }
        // Reading the rest of the body would send the client the "100 Continue" that it waits for.
        if request.headers().contains_key(header::EXPECT) {
            return self.route(request.map(Body::new)).await;
        }
        let (parts, body) = request.into_parts();
        let body = DrainableBody::new(body);
        let response = self
            .route(Request::from_parts(parts, Body::new(body.clone())))
            .await;
        // Meanwhile, because the client may send its body only after the answer, or never.
        if !body.is_end_stream() {
            tokio::spawn(body.drain());
        }
        response
    }

    async fn respond_without_body(
        self,
        connection: Arc<ConnectionState>,
        mut request: Request,
    ) -> Response {
        if let Some(resumed) = connection.begin_request() {
            request.extensions_mut().insert(resumed);
        }
        match self.fast_path.check(&request) {
            FastAnswer::Respond(response) => return response,
            FastAnswer::Wait(wait) if connection.keep_head(&request) => {
                connection.suspend(wait);
                return std::future::pending().await;
            }
            FastAnswer::RouteMayWait if connection.keep_head(&request) => {
                request.extensions_mut().insert(Suspender(connection));
            }
            // If the call waits, it waits in its handler.
            FastAnswer::Wait(_) | FastAnswer::RouteMayWait | FastAnswer::Route => {}
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
