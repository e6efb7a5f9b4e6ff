//! The endpoints of runs.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::control::RunAction;
use super::dry_run::DryRun;
use super::retry::{RetriedRun, RetryRequest};
use super::{CreateOutcome, ExecRequest, RunDetail, RunPage, RunRequest, Runs};
use crate::auth::{Admin, Operator, User};
use crate::clock::Timestamp;
use crate::http::{ApiError, JsonWithValue, OptionalJson, Pairs, Path, Query};
use crate::jobs::{
    Idempotency, RunView, Scope, ScopedViewer, cursor_of, idempotency_key, since_of,
};
use crate::store::run::{RunFilter, RunStatus};

/// Queues a preset on several nodes.
#[utoipa::path(post, path = "/api/runs", tag = "runs", operation_id = "queue_run", request_body = RunRequest,
    params(("dryRun" = Option<bool>, Query, description = "true: answers with the nodes and their batches, and queues nothing"),
        ("Idempotency-Key" = Option<String>, Header, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
        description = "1 to 255 printable characters; for 24 h, repeating the key with the same body returns the same run")),
    responses((status = 201, body = RunView, description = "The run. Its jobs are queued"),
        (status = 200, body = DryRun, description = "With dryRun=true: what the run would do. Otherwise the run, which an earlier request with this Idempotency-Key created"),
        (status = 404, description = "The preset does not exist, or fields.nodes names every node that does not"),
        (status = 409, description = "The Idempotency-Key was used with another body")),
    security(("bearer" = []), ("cookie" = [])))]
async fn queue(
    State(runs): State<Runs>,
    Operator(user): Operator,
    headers: HeaderMap,
    query: Query,
    JsonWithValue(request, json): JsonWithValue<RunRequest>,
) -> Result<Response, ApiError> {
    if flag(&query, "dryRun")?.unwrap_or(false) {
        return Ok(axum::Json(runs.dry_run(request).await?).into_response());
    }
    let idempotency = idempotency(&headers, json)?;
    let (status, run) = match runs.create(&user, request, idempotency, None).await? {
        CreateOutcome::New(run) => (StatusCode::CREATED, run),
        CreateOutcome::Existing(run) => (StatusCode::OK, run),
    };
    Ok((status, location(&run), axum::Json(run)).into_response())
}

/// Runs a script without a preset, once.
///
/// The script runs as it is: without distro guard, params, `set -e` and steps. Its run has the
/// preset `-`.
#[utoipa::path(post, path = "/api/exec", tag = "runs", operation_id = "exec_script", request_body = ExecRequest,
    params(("Idempotency-Key" = Option<String>, Header, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
        description = "1 to 255 printable characters; for 24 h, repeating the key with the same body returns the same run")),
    responses((status = 201, body = RunView, description = "The run. Its jobs are queued"),
        (status = 200, body = RunView, description = "The run, which an earlier request with this Idempotency-Key created"),
        (status = 404, description = "fields.nodes names every node that does not exist"),
        (status = 409, description = "The Idempotency-Key was used with another body")),
    security(("bearer" = []), ("cookie" = [])))]
async fn exec(
    State(runs): State<Runs>,
    Admin(user): Admin,
    headers: HeaderMap,
    JsonWithValue(request, json): JsonWithValue<ExecRequest>,
) -> Result<Response, ApiError> {
    let idempotency = idempotency(&headers, json)?;
    let (status, run) = match runs.exec(&user, request, idempotency).await? {
        CreateOutcome::New(run) => (StatusCode::CREATED, run),
        CreateOutcome::Existing(run) => (StatusCode::OK, run),
    };
    Ok((status, location(&run), axum::Json(run)).into_response())
}

fn idempotency(
    headers: &HeaderMap,
    json: Option<serde_json::Value>,
) -> Result<Option<Idempotency>, ApiError> {
    match (idempotency_key(headers)?, json) {
        (Some(key), Some(body)) => Ok(Some(Idempotency { key, body })),
        (Some(_), None) => Err(too_long_to_compare()),
        (None, _) => Ok(None),
    }
}

/// A list of nodes with many repetitions is valid, but its value was not kept.
fn too_long_to_compare() -> ApiError {
    let rule = "can't be used with a body of so many values: name each node once";
    ApiError::bad_request("bad_input", format!("Idempotency-Key: {rule}"))
        .with_field("Idempotency-Key", rule)
}

fn location(run: &RunView) -> [(header::HeaderName, String); 1] {
    [(header::LOCATION, format!("/api/runs/{}", run.id))]
}

fn flag(query: &Pairs<'_>, name: &str) -> Result<Option<bool>, ApiError> {
    query.parse(name, false..=true, "true or false")
}

/// Lists runs.
#[utoipa::path(get, path = "/api/runs", tag = "runs", operation_id = "list_runs",
    params(("status" = Option<Vec<RunStatus>>, Query, description = "Repeat it to allow several states"),
        ("preset" = Option<String>, Query),
        ("by" = Option<String>, Query, description = "Only runs that the user with this email queued"),
        ("since" = Option<Timestamp>, Query, description = "Only runs that were queued at this time or later"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 200, description = "1 to 200, default 50"),
        ("cursor" = Option<String>, Query, description = "nextCursor of the page before"),
        ("scope" = Option<String>, Query, description = "all: everybody's runs")),
    responses((status = 200, body = RunPage)),
    security(("bearer" = []), ("cookie" = [])))]
async fn list(
    State(runs): State<Runs>,
    ScopedViewer { user, scope }: ScopedViewer,
    query: Query,
) -> Result<axum::Json<RunPage>, ApiError> {
    let limit = query.parse("limit", 1..=200, "1 to 200")?.unwrap_or(50);
    let filter = filter_of(&user, scope, &query)?;
    Ok(axum::Json(runs.page(filter, limit).await?))
}

fn filter_of(user: &User, scope: Scope, query: &Query) -> Result<RunFilter, ApiError> {
    let status = |name: &str| {
        RunStatus::parse(name)
            .ok_or_else(|| query.wrong("status", "RUNNING, PAUSED, SUCCEEDED, FAILED or CANCELLED"))
    };
    Ok(RunFilter {
        created_by: (scope == Scope::Mine).then(|| user.id.clone()),
        statuses: query.all("status").map(status).collect::<Result<_, _>>()?,
        preset: query.get("preset").map(str::to_owned),
        schedule_id: None,
        by: query.get("by").map(str::to_lowercase),
        since: since_of(query)?,
        before: cursor_of(query)?,
    })
}

/// Shows a run and its jobs.
#[utoipa::path(get, path = "/api/runs/{id}", tag = "runs", operation_id = "show_run",
    params(("id" = String, Path), ("jobs" = Option<bool>, Query, description = "false: leaves out the jobs"),
        ("scope" = Option<String>, Query, description = "all: also other people's runs")),
    responses((status = 200, body = RunDetail)),
    security(("bearer" = []), ("cookie" = [])))]
async fn show(
    State(runs): State<Runs>,
    ScopedViewer { user, scope }: ScopedViewer,
    Path(id): Path<String>,
    query: Query,
) -> Result<axum::Json<RunDetail>, ApiError> {
    let with_jobs = flag(&query, "jobs")?.unwrap_or(true);
    Ok(axum::Json(runs.detail(&user, scope, id, with_jobs).await?))
}

/// Pauses a run: no further batch is released. Jobs of released batches can still be claimed.
#[utoipa::path(post, path = "/api/runs/{id}/pause", tag = "runs", operation_id = "pause_run",
    params(("id" = String, Path), ("scope" = Option<String>, Query, description = "all: also other people's runs; needs the role ADMIN")),
    responses((status = 200, body = RunView), (status = 409, description = "The run is not RUNNING, or it is stopping")),
    security(("bearer" = []), ("cookie" = [])))]
async fn pause(
    State(runs): State<Runs>,
    Operator(user): Operator,
    Path(id): Path<String>,
    query: Query,
) -> Result<axum::Json<RunView>, ApiError> {
    act(&runs, &user, id, &query, RunAction::Pause).await
}

/// Resumes a paused run.
#[utoipa::path(post, path = "/api/runs/{id}/resume", tag = "runs", operation_id = "resume_run",
    params(("id" = String, Path), ("scope" = Option<String>, Query, description = "all: also other people's runs; needs the role ADMIN")),
    responses((status = 200, body = RunView), (status = 409, description = "The run is not PAUSED")),
    security(("bearer" = []), ("cookie" = [])))]
async fn resume(
    State(runs): State<Runs>,
    Operator(user): Operator,
    Path(id): Path<String>,
    query: Query,
) -> Result<axum::Json<RunView>, ApiError> {
    act(&runs, &user, id, &query, RunAction::Resume).await
}

/// Cancels a run: QUEUED jobs become CANCELLED, and running ones are stopped.
#[utoipa::path(post, path = "/api/runs/{id}/cancel", tag = "runs", operation_id = "cancel_run",
    params(("id" = String, Path), ("scope" = Option<String>, Query, description = "all: also other people's runs; needs the role ADMIN")),
    responses((status = 200, body = RunView, description = "The run is CANCELLED once its running jobs have ended"),
        (status = 409, description = "The run has ended")),
    security(("bearer" = []), ("cookie" = [])))]
async fn cancel(
    State(runs): State<Runs>,
    Operator(user): Operator,
    Path(id): Path<String>,
    query: Query,
) -> Result<axum::Json<RunView>, ApiError> {
    act(&runs, &user, id, &query, RunAction::Cancel).await
}

async fn act(
    runs: &Runs,
    user: &User,
    id: String,
    query: &Query,
    action: RunAction,
) -> Result<axum::Json<RunView>, ApiError> {
    let scope = Scope::to_change(user, query)?;
    Ok(axum::Json(runs.act(user, scope, id, action).await?))
}

/// Queues a run again, for the nodes whose job did not succeed.
#[utoipa::path(post, path = "/api/runs/{id}/retry", tag = "runs", operation_id = "retry_run", request_body = Option<RetryRequest>,
    params(("id" = String, Path), ("scope" = Option<String>, Query, description = "all: also other people's runs; needs the role ADMIN")),
    responses((status = 201, body = RetriedRun, description = "The new run, rendered from today's preset"),
        (status = 409, description = "The run has not ended, or there is nothing to retry")),
    security(("bearer" = []), ("cookie" = [])))]
async fn retry(
    State(runs): State<Runs>,
    Operator(user): Operator,
    Path(id): Path<String>,
    query: Query,
    OptionalJson(request): OptionalJson<RetryRequest>,
) -> Result<Response, ApiError> {
    let scope = Scope::to_change(&user, &query)?;
    let made = runs
        .retry(&user, scope, id, request.unwrap_or_default())
        .await?;
    Ok((StatusCode::CREATED, location(&made.run), axum::Json(made)).into_response())
}

pub(super) fn routes() -> OpenApiRouter<Runs> {
    OpenApiRouter::new()
        .routes(routes!(queue, list))
        .routes(routes!(exec))
        .routes(routes!(show))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(cancel))
        .routes(routes!(retry))
}
