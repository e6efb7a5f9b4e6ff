//! The endpoints of operations.

use std::sync::{Arc, OnceLock};

use axum::Extension;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use subtle::ConstantTimeEq;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::readiness::Readiness;
use crate::auth::{Admin, Auth, ClientAddress};
use crate::http::ApiError;
use crate::jobs::Jobs;
use crate::store::{StoreError, job, node};

/// What wrong metrics tokens from an address are counted under. No account's email is like it.
const COUNTED_AS: &str = "metrics";

/// The operations' part of the server; clones share it.
#[derive(Clone)]
pub struct Ops(Arc<Shared>);

struct Shared {
    jobs: Jobs,
    metrics_token: Option<String>,
    readiness: Readiness,
    /// The description of every endpoint, once they are all there.
    description: OnceLock<Bytes>,
}

impl Ops {
    /// `metrics_token`: the bearer that may read `/metrics` without being an ADMIN.
    pub fn new(jobs: Jobs, metrics_token: Option<String>) -> Self {
        Self(Arc::new(Shared {
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
    responses((status = 200, content_type = "text/plain"), (status = 429, description = "Ten wrong tokens within a minute")),
    security(("bearer" = []), ("cookie" = [])))]
async fn metrics(
    State(ops): State<Ops>,
    Extension(auth): Extension<Auth>,
    from: ClientAddress,
    request: Request,
) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    ops.let_in(&auth, &mut parts, from).await?;
    let (counted, problems) = ops
        .0
        .jobs
        .store
        .read(|tx| Ok((job::count_unfinished(tx)?, node::count_problems(tx)?)))
        .await
        .map_err(|error: StoreError| ApiError::from(error))?;
    let (online, nodes) = ops.0.jobs.nodes.presence.count_online();
    let page = ops.0.jobs.metrics.page(&counted, (online, nodes), problems);
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], page).into_response())
}

impl Ops {
    /// Lets in who shows the metrics token or is an ADMIN. Wrong tokens are counted as wrong
    /// passwords are.
    async fn let_in(
        &self,
        auth: &Auth,
        parts: &mut Parts,
        from: ClientAddress,
    ) -> Result<(), ApiError> {
        let (Some(given), Some(token)) = (bearer(&parts.headers), &self.0.metrics_token) else {
            return Admin::from_request_parts(parts, &()).await.map(|_| ());
        };
        if given.as_bytes().ct_eq(token.as_bytes()).into() {
            if auth.has_guessed(COUNTED_AS, from).await? {
                let guess = auth.guess(COUNTED_AS, from).await?;
                auth.was_right(guess).await?;
            }
            return Ok(());
        }
        match Admin::from_request_parts(parts, &()).await {
            Err(error) if error.status == StatusCode::UNAUTHORIZED => {
                auth.guess(COUNTED_AS, from).await?;
                Err(error)
            }
            other => other.map(|_| ()),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    given.strip_prefix("Bearer ")
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
