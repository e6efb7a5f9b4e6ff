//! The endpoints of drift.

use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::list::RowPlace;
use super::{DriftCheckRequest, DriftChecks, DriftPage};
use crate::auth::{Operator, Viewer};
use crate::http::{ApiError, JsonBody, Query};
use crate::nodes::Selector;
use crate::runs::Runs;

/// Lists what was applied to the nodes, and whether they are still like that.
///
/// A row for each node and preset that was ever applied with success.
#[utoipa::path(get, path = "/api/drift", tag = "drift", operation_id = "list_drift",
    params(("preset" = Option<String>, Query),
        ("selector" = Option<String>, Query, description = "Only nodes that match, such as `role=web,zone in (a,b),!gpu`"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 200, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "nextCursor of the page before")),
    responses((status = 200, body = DriftPage)),
    security(("bearer" = []), ("cookie" = [])))]
async fn list(
    State(runs): State<Runs>,
    Viewer(_): Viewer,
    query: Query,
) -> Result<axum::Json<DriftPage>, ApiError> {
    let limit = query.parse("limit", 1..=200, "1 to 200")?.unwrap_or(50);
    let selector = query.get("selector").map(Selector::parse).transpose()?;
    let preset = query.get("preset").map(str::to_owned);
    let after = place_of(&query)?;
    Ok(axum::Json(
        runs.drift(selector, preset, after, limit).await?,
    ))
}

fn place_of(query: &Query) -> Result<Option<RowPlace>, ApiError> {
    let Some(cursor) = query.get("cursor") else {
        return Ok(None);
    };
    let place = cursor.split_once('/');
    let place = place.ok_or_else(|| query.wrong("cursor", "nextCursor of the page before"))?;
    Ok(Some((place.0.to_owned(), place.1.to_owned())))
}

/// Checks what was applied: queues a run of checks for each preset and set of params.
///
/// A check asks for no secrets, and changes nothing. A check that no agent has come for within a
/// day is cancelled.
#[utoipa::path(post, path = "/api/drift/check", tag = "drift", operation_id = "check_drift", request_body = DriftCheckRequest,
    responses((status = 201, body = DriftChecks, description = "The runs. Their jobs are queued")),
    security(("bearer" = []), ("cookie" = [])))]
async fn check(
    State(runs): State<Runs>,
    Operator(user): Operator,
    JsonBody(request): JsonBody<DriftCheckRequest>,
) -> Result<(StatusCode, axum::Json<DriftChecks>), ApiError> {
    let checks = runs.check_drift(&user, request).await?;
    Ok((StatusCode::CREATED, axum::Json(checks)))
}

pub(in crate::runs) fn routes() -> OpenApiRouter<Runs> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(check))
}
