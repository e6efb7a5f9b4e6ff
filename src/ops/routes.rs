//! The endpoints of operations.

use std::sync::{Arc, OnceLock};

use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use subtle::ConstantTimeEq;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::readiness::Readiness;
use crate::auth::Admin;
use crate::http::ApiError;
use crate::jobs::Jobs;
use crate::store::{StoreError, job};

/// The operations' part of the server; clones share it.
#[derive(Clone)]
pub struct Ops(Arc<Parts>);

struct Parts {
    jobs: Jobs,
    metrics_token: Option<String>,
    readiness: Readiness,
    /// The description of every endpoint, once they are all there.
    description: OnceLock<Bytes>,
}

impl Ops {
    /// `metrics_token`: the bearer that may read `/metrics` without being an ADMIN.
    pub fn new(jobs: Jobs, metrics_token: Option<String>) -> Self {
        Self(Arc::new(Parts {
            jobs,
            metrics_token,
            readiness: Readiness::default(),
            description: OnceLock::new(),
        }))
    }

    /// Sets the OpenAPI document that is served from then on.
    pub fn describe(&self, document: Bytes) {
        self.0.description.get_or_init(|| document);
    }
}

/// A short answer for probes.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Health {
    /// `ok`
    status: &'static str,
}

/// Alive.
#[utoipa::path(get, path = "/healthz", tag = "operations", responses((status = 200, body = Health)), security(()))]
async fn healthz() -> axum::Json<Health> {
    axum::Json(Health { status: "ok" })
}

/// Takes work: the store takes a write.
#[utoipa::path(get, path = "/readyz", tag = "operations",
    responses((status = 200, body = Health),
        (status = 503)), security(()))]
async fn readyz(State(ops): State<Ops>) -> Result<axum::Json<Health>, ApiError> {
    let found = ops.0.readiness.look(&ops.0.jobs.store).await;
    found.map_err(|reason| ApiError::unavailable("not_ready", format!("Not ready: {reason}")))?;
    Ok(axum::Json(Health { status: "ok" }))
}

/// Counts, as Prometheus reads them.
#[utoipa::path(get, path = "/metrics", tag = "operations",
    responses((status = 200, content_type = "text/plain")),
    security(("bearer" = []), ("cookie" = [])))]
async fn metrics(State(ops): State<Ops>, request: Request) -> Result<Response, ApiError> {
    if !has_token(request.headers(), ops.0.metrics_token.as_deref()) {
        let (mut parts, _) = request.into_parts();
        Admin::from_request_parts(&mut parts, &()).await?;
    }
    let counted = ops
        .0
        .jobs
        .store
        .read(|tx| job::count_unfinished(tx))
        .await
        .map_err(|error: StoreError| ApiError::from(error))?;
    let (online, nodes) = ops.0.jobs.nodes.presence.count_online();
    let page = ops.0.jobs.metrics.page(&counted, online, nodes);
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], page).into_response())
}

fn has_token(headers: &HeaderMap, token: Option<&str>) -> bool {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    match (given.and_then(|given| given.strip_prefix("Bearer ")), token) {
        (Some(given), Some(token)) => given.as_bytes().ct_eq(token.as_bytes()).into(),
        _ => false,
    }
}

/// Every endpoint of the API.
#[utoipa::path(get, path = "/api/openapi.json", tag = "operations",
    responses((status = 200, body = Object, description = "An OpenAPI document")), security(()))]
async fn openapi(State(ops): State<Ops>) -> impl IntoResponse {
    let kind = HeaderValue::from_static("application/json");
    let description = ops.0.description.get().cloned().unwrap_or_default();
    ([(header::CONTENT_TYPE, kind)], description)
}

/// The endpoints of operations.
pub fn routes(ops: Ops) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .routes(routes!(openapi))
        .with_state(ops)
}
