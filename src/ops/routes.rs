//! The endpoints of operations.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyprbox_protocol::ErrorBody;
use serde::Serialize;
use subtle::ConstantTimeEq;
use utoipa::openapi::path::PathItem;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};
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
}

impl Ops {
    /// `metrics_token`: the bearer that may read `/metrics` without being an ADMIN.
    pub fn new(jobs: Jobs, metrics_token: Option<String>) -> Self {
        Self(Arc::new(Parts {
            jobs,
            metrics_token,
            readiness: Readiness::default(),
        }))
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
    responses((status = 200, body = Health), (status = 503, body = ErrorBody)), security(()))]
async fn readyz(State(ops): State<Ops>) -> Result<axum::Json<Health>, ApiError> {
    let found = ops.0.readiness.look(&ops.0.jobs.store).await;
    found.map_err(|reason| ApiError::unavailable("not_ready", format!("Not ready: {reason}")))?;
    Ok(axum::Json(Health { status: "ok" }))
}

/// Counts, as Prometheus reads them.
#[utoipa::path(get, path = "/metrics", tag = "operations",
    responses((status = 200, content_type = "text/plain"), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)),
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

/// The endpoints of operations, but for the document of all endpoints, which [`document`] serves.
pub fn routes(ops: Ops) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .with_state(ops)
}

/// A route that serves the description of every endpoint, made from the handlers themselves.
pub fn document(mut api: utoipa::openapi::OpenApi) -> axum::Router {
    let components = api.components.get_or_insert_default();
    let bearer = |text: &str| {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(text))
            .build();
        SecurityScheme::Http(scheme)
    };
    components.add_security_scheme(
        "bearer",
        bearer("A session (hbs_…) or personal token (hbu_…)"),
    );
    components.add_security_scheme("node", bearer("A node's token (hbn_…)"));
    let cookie = SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new("hb_token")));
    components.add_security_scheme("cookie", cookie);
    for (path, item) in &mut api.paths.paths {
        if path.starts_with("/api/") {
            add_common_faults(item);
        }
    }
    let json = Bytes::from(api.to_json().unwrap_or_else(|error| {
        tracing::error!(%error, "the description of the API could not be written");
        "{}".to_owned()
    }));
    let serve = move || async move {
        let kind = HeaderValue::from_static("application/json");
        (StatusCode::OK, [(header::CONTENT_TYPE, kind)], json)
    };
    axum::Router::new().route("/api/openapi.json", axum::routing::get(serve))
}

/// What may go wrong with any call of the API: its body, where it has one, and the store.
fn add_common_faults(item: &mut PathItem) {
    let operations = [
        &mut item.get,
        &mut item.post,
        &mut item.patch,
        &mut item.delete,
    ];
    for operation in operations.into_iter().flatten() {
        let mut faults = vec![(
            "503",
            "The store is busy, or its disk is full; try again after Retry-After",
        )];
        if operation.request_body.is_some() {
            faults.push(("413", "The body is larger than 8 MiB"));
            faults.push((
                "415",
                "The body is not JSON, or packed otherwise than by gzip",
            ));
        }
        for (status, words) in faults {
            let body = ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("ErrorBody")))
                .build();
            let fault = ResponseBuilder::new()
                .description(words)
                .content("application/json", body)
                .build();
            operation
                .responses
                .responses
                .entry(status.to_owned())
                .or_insert(fault.into());
        }
    }
}
