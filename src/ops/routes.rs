//! The endpoints of operations.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Extension;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyprbox_protocol::is_older;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::readiness::Readiness;
use crate::auth::{Admin, Auth, ClientAddress};
use crate::clock;
use crate::crypto::is_same_secret;
use crate::http::ApiError;
use crate::jobs::Jobs;
use crate::metrics::Snapshot;
use crate::store::{StoreError, job, node_counts, space};

/// Name that wrong metrics tokens are counted under. It is not an email.
const GUESS_NAME: &str = "metrics";

/// State of the operations endpoints. Cheap to clone.
#[derive(Clone)]
pub struct Ops(Arc<Shared>);

struct Shared {
    jobs: Jobs,
    metrics_token: Option<String>,
    readiness: Readiness,
    /// The OpenAPI document, once all endpoints are registered.
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

    /// `Err` with the reason if the server is not ready, as `/readyz` reports it.
    pub async fn check_ready(&self) -> Result<(), String> {
        self.0.readiness.check(&self.0.jobs.store).await
    }

    /// Sets the OpenAPI document.
    pub fn describe(&self, document: Bytes) {
        self.0.description.get_or_init(|| document);
    }
}

/// Response to a probe.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Health {
    /// `ok`
    status: &'static str,
}

/// Liveness: the process answers.
#[utoipa::path(get, path = "/healthz", tag = "operations", responses((status = 200, body = Health)), security(()))]
async fn healthz() -> axum::Json<Health> {
    axum::Json(Health { status: "ok" })
}

/// Readiness: the store accepts a write.
#[utoipa::path(get, path = "/readyz", tag = "operations",
    responses((status = 200, body = Health),
        (status = 503)), security(()))]
async fn readyz(State(ops): State<Ops>) -> Result<axum::Json<Health>, ApiError> {
    let found = ops.check_ready().await;
    found.map_err(|reason| ApiError::unavailable("not_ready", format!("Not ready: {reason}")))?;
    Ok(axum::Json(Health { status: "ok" }))
}

/// Metrics in Prometheus' text format.
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
    ops.authorize(&auth, &mut parts, from).await?;
    let snapshot = read_snapshot(&ops.0.jobs).await?;
    let page = ops.0.jobs.metrics.page(&snapshot);
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], page).into_response())
}

async fn read_snapshot(jobs: &Jobs) -> Result<Snapshot, StoreError> {
    let (unfinished, oldest, agents, database_bytes) = jobs
        .store
        .read(|tx| {
            Ok::<_, StoreError>((
                job::count_unfinished(tx)?,
                job::oldest_claimable(tx)?,
                node_counts::count_by_agent(tx)?,
                space::database_bytes(tx)?,
            ))
        })
        .await?;
    let waited_ms = oldest.map_or(0, |at| clock::now().millis_since(at));
    let is_behind = |version: &Option<String>| {
        let version = version.as_deref();
        version.is_some_and(|version| is_older(version, env!("CARGO_PKG_VERSION")))
    };
    let behind = agents.iter().filter(|agents| is_behind(&agents.version));
    Ok(Snapshot {
        jobs: unfinished,
        oldest_claimable: Duration::from_millis(u64::try_from(waited_ms).unwrap_or(0)),
        nodes: jobs.nodes.presence.count_online(),
        nodes_paused: agents.iter().map(|agents| agents.paused).sum(),
        nodes_with_problem: agents.iter().map(|agents| agents.with_problem).sum(),
        agents_behind: behind.map(|agents| agents.nodes).sum(),
        database_bytes,
    })
}

impl Ops {
    /// Accepts the metrics token or an ADMIN. Wrong tokens are limited like wrong passwords.
    async fn authorize(
        &self,
        auth: &Auth,
        parts: &mut Parts,
        from: ClientAddress,
    ) -> Result<(), ApiError> {
        let (Some(given), Some(token)) = (bearer_token(&parts.headers), &self.0.metrics_token)
        else {
            return Admin::from_request_parts(parts, &()).await.map(|_| ());
        };
        if is_same_secret(given.as_bytes(), token.as_bytes()) {
            if auth.has_guesses(GUESS_NAME, from).await? {
                let guess = auth.record_guess(GUESS_NAME, from).await?;
                auth.accept_guess(guess).await?;
            }
            return Ok(());
        }
        match Admin::from_request_parts(parts, &()).await {
            Err(error) if error.status == StatusCode::UNAUTHORIZED => {
                auth.record_guess(GUESS_NAME, from).await?;
                Err(error)
            }
            other => other.map(|_| ()),
        }
    }
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    given.strip_prefix("Bearer ")
}

/// The OpenAPI document of every endpoint.
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
