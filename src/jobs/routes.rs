//! The endpoints of jobs for people.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{FailRequest, JobError, JobView, Jobs, QueueOutcome, QueueRequest};
use crate::auth::{Admin, Operator, User};
use crate::clock::Timestamp;
use crate::http::{ApiError, JsonBody, JsonWithValue, Path, Query};
use crate::jobs::access::{Scope, ScopedViewer, find_visible};
use crate::jobs::life::queue::Idempotency;
use crate::jobs::log::diff;
use crate::store::job::{self, JobFilter, JobKind, JobStatus};
use crate::store::{StoreError, Tx};

/// A page of jobs.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobPage {
    /// Newest first.
    pub jobs: Vec<JobView>,
    /// Send it as `cursor` to get the next page; `null` on the last page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// Queues a job.
#[utoipa::path(post, path = "/api/jobs", tag = "jobs", request_body = QueueRequest,
    params(("Idempotency-Key" = Option<String>, Header, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
        description = "1 to 255 printable characters; for 24 h, repeating the key with the same body returns the same job")),
    responses((status = 201, body = JobView),
        (status = 200, body = JobView, description = "An earlier request with this Idempotency-Key created the job"),
        (status = 404, description = "The preset or the node does not exist"),
        (status = 409, description = "The Idempotency-Key was used with another body")),
    security(("bearer" = []), ("cookie" = [])))]
async fn queue(
    State(jobs): State<Jobs>,
    Operator(user): Operator,
    headers: HeaderMap,
    JsonWithValue(request, json): JsonWithValue<QueueRequest>,
) -> Result<Response, ApiError> {
    let idempotency = idempotency_key(&headers)?
        .zip(json)
        .map(|(key, body)| Idempotency { key, body });
    let (status, job) = match jobs.queue(&user, request, idempotency).await? {
        QueueOutcome::New(job) => (StatusCode::CREATED, job),
        QueueOutcome::Existing(job) => (StatusCode::OK, job),
    };
    let location = format!("/api/jobs/{}", job.id);
    Ok((
        status,
        [(header::LOCATION, location)],
        axum::Json(JobView::from(job)),
    )
        .into_response())
}

/// The request's Idempotency-Key.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = value
        .to_str()
        .ok()
        .filter(|key| (1..=255).contains(&key.len()));
    key.map(|key| Some(key.to_owned())).ok_or_else(|| {
        let rule = "must be 1 to 255 printable ASCII characters";
        ApiError::bad_request("bad_input", format!("Idempotency-Key: {rule}"))
            .with_field("Idempotency-Key", rule)
    })
}

/// Lists jobs.
#[utoipa::path(get, path = "/api/jobs", tag = "jobs", operation_id = "list_jobs",
    params(("nodeId" = Option<String>, Query), ("status" = Option<Vec<JobStatus>>, Query, description = "Repeat it to allow several states"),
        ("preset" = Option<String>, Query), ("runId" = Option<String>, Query, description = "Only the jobs of this run"),
        ("kind" = Option<JobKind>, Query),
        ("by" = Option<String>, Query, description = "Only jobs that the user with this email queued"),
        ("since" = Option<Timestamp>, Query, description = "Only jobs that were queued at this time or later"),
        ("limit" = Option<u64>, Query, description = "1 to 200; default 50"),
        ("cursor" = Option<String>, Query), ("scope" = Option<String>, Query, description = "mine (default) or all; all needs the role VIEWER, ADMIN, or OPERATOR unless HYPRBOX_OPERATOR_SCOPE=own")),
    responses((status = 200, body = JobPage)),
    security(("bearer" = []), ("cookie" = [])))]
async fn list(
    State(jobs): State<Jobs>,
    ScopedViewer { user, scope }: ScopedViewer,
    query: Query,
) -> Result<axum::Json<JobPage>, ApiError> {
    let limit = query.parse("limit", 1..=200, "1 to 200")?.unwrap_or(50);
    let filter = filter_of(&user, scope, &query)?;
    Ok(axum::Json(jobs.page(filter, limit).await?))
}

fn filter_of(user: &User, scope: Scope, query: &Query) -> Result<JobFilter, ApiError> {
    let status = |name: &str| {
        JobStatus::parse(name)
            .ok_or_else(|| query.wrong("status", "QUEUED, RUNNING, SUCCEEDED, FAILED or CANCELLED"))
    };
    let kind =
        |name: &str| JobKind::parse(name).ok_or_else(|| query.wrong("kind", "apply or check"));
    Ok(JobFilter {
        created_by: (scope == Scope::Mine).then(|| user.id.clone()),
        node_id: query.get("nodeId").map(str::to_owned),
        statuses: query.all("status").map(status).collect::<Result<_, _>>()?,
        preset: query.get("preset").map(str::to_owned),
        run_id: query.get("runId").map(str::to_owned),
        kind: query.get("kind").map(kind).transpose()?,
        by: query.get("by").map(str::to_owned),
        since: since_of(query)?,
        before: cursor_of(query)?,
    })
}

/// The time from which a list begins.
pub fn since_of(query: &Query) -> Result<Option<Timestamp>, ApiError> {
    let since = |text: &str| {
        let rule = "a time with its zone, such as 2026-12-01T08:00:00Z";
        Timestamp::parse_rfc3339(text).ok_or_else(|| query.wrong("since", rule))
    };
    query.get("since").map(since).transpose()
}

/// The id at which the page before ended.
pub fn cursor_of(query: &Query) -> Result<Option<String>, ApiError> {
    let before = query.get("cursor").map(|cursor| {
        uuid::Uuid::parse_str(cursor)
            .map(|id| id.to_string())
            .map_err(|_| query.wrong("cursor", "the nextCursor of an earlier page of this list"))
    });
    before.transpose()
}

impl Jobs {
    /// Whether the user may read other people's jobs.
    pub fn reads_all(&self, user: &User) -> bool {
        self.limits.operator_scope.lets_read_all(user.role)
    }

    /// A page of jobs, newest first.
    pub async fn page(&self, filter: JobFilter, limit: u64) -> Result<JobPage, JobError> {
        // One more than requested shows whether there is a next page.
        let mut found = self
            .store
            .read(move |tx| Ok::<_, JobError>(job::list(tx, &filter, limit + 1)?))
            .await?;
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = found.len() > wanted;
        found.truncate(wanted);
        let next_cursor = found.last().filter(|_| has_more).map(|job| job.id.clone());
        Ok(JobPage {
            jobs: found.into_iter().map(JobView::from).collect(),
            next_cursor,
        })
    }

    /// The frozen script of a job that the caller may see.
    pub async fn script(&self, id: String) -> Result<String, JobError> {
        self.store
            .read(move |tx| Ok::<_, JobError>(job::script(tx, &id)?))
            .await
    }
}

/// Cancels a job.
#[utoipa::path(post, path = "/api/jobs/{id}/cancel", tag = "jobs",
    params(("id" = String, Path), ("scope" = Option<String>, Query, description = "all: also other people's jobs; needs the role ADMIN")),
    responses((status = 200, body = JobView, description = "The job was QUEUED and is now CANCELLED"),
        (status = 202, body = JobView, description = "The script is running; the agent will stop it"),
        (status = 409)),
    security(("bearer" = []), ("cookie" = [])))]
async fn cancel(
    State(jobs): State<Jobs>,
    Operator(user): Operator,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, ApiError> {
    let scope = Scope::to_change(&user, &query)?;
    let job = jobs.cancel(&user, id, scope == Scope::All).await?;
    let status = if job.status == JobStatus::Running || job.still_running {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    Ok((status, axum::Json(JobView::from(job))).into_response())
}

/// Confirms a waiting job, so that what it has changed stays.
#[utoipa::path(post, path = "/api/jobs/{id}/confirm", tag = "jobs",
    params(("id" = String, Path), ("scope" = Option<String>, Query, description = "all: also other people's jobs; needs the role ADMIN")),
    responses((status = 202, body = JobView, description = "The agent will keep the changes; the job is SUCCEEDED once its supervisor has received this"),
        (status = 409, description = "The job does not wait for a confirmation")),
    security(("bearer" = []), ("cookie" = [])))]
async fn confirm(
    State(jobs): State<Jobs>,
    Operator(user): Operator,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, ApiError> {
    let scope = Scope::to_change(&user, &query)?;
    let job = jobs.confirm(&user, id, scope == Scope::All).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(JobView::from(job))).into_response())
}

/// Fails a running job permanently, without waiting for its agent.
#[utoipa::path(post, path = "/api/jobs/{id}/fail", tag = "jobs", request_body = FailRequest,
    params(("id" = String, Path), ("scope" = Option<String>, Query, description = "all: also other people's jobs")),
    responses((status = 200, body = JobView, description = "The job was RUNNING and is now FAILED with this message; a later report of its agent is refused"),
        (status = 409)),
    security(("bearer" = []), ("cookie" = [])))]
async fn fail(
    State(jobs): State<Jobs>,
    Admin(user): Admin,
    Path(id): Path<String>,
    query: Query,
    JsonBody(request): JsonBody<FailRequest>,
) -> Result<axum::Json<JobView>, ApiError> {
    let scope = Scope::to_change(&user, &query)?;
    let job = jobs.fail(&user, id, request, scope == Scope::All).await?;
    Ok(axum::Json(JobView::from(job)))
}

/// Compares two jobs' scripts, as a unified diff.
#[utoipa::path(get, path = "/api/jobs/{a}/diff/{b}", tag = "jobs",
    params(("a" = String, Path), ("b" = String, Path), ("scope" = Option<String>, Query)),
    responses((status = 200, content_type = "text/x-diff")),
    security(("bearer" = []), ("cookie" = [])))]
async fn diff_scripts(
    State(jobs): State<Jobs>,
    ScopedViewer { user, scope }: ScopedViewer,
    Path((a, b)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let a = find_visible(&jobs, &user, scope, a, "job.look").await?;
    let b = find_visible(&jobs, &user, scope, b, "job.look").await?;
    let diff = jobs.diff(a.id, b.id).await?;
    let mut response = Bytes::from(diff).into_response();
    let kind = HeaderValue::from_static("text/x-diff; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

impl Jobs {
    /// Unified diff of the scripts of two jobs that the caller may see.
    pub async fn diff(&self, a: String, b: String) -> Result<String, JobError> {
        // Waits for the turn before reading, so that waiting requests hold no scripts.
        let turn = self.turn_to_compare().await?;
        let (one, other) = (a.clone(), b.clone());
        let read = move |tx: &mut dyn Tx| {
            Ok::<_, JobError>((job::script(tx, &one)?, job::script(tx, &other)?))
        };
        let (old, new) = self.store.read(read).await?;
        let work = move || {
            let _turn = turn;
            let (a, b) = (format!("job/{a}"), format!("job/{b}"));
            diff::unified((&a, &old), (&b, &new))
        };
        Ok(tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| StoreError::Stopping)?)
    }
}

pub(super) fn routes() -> OpenApiRouter<Jobs> {
    OpenApiRouter::new()
        .routes(routes!(queue, list))
        .routes(routes!(cancel))
        .routes(routes!(confirm))
        .routes(routes!(fail))
        .routes(routes!(diff_scripts))
}
