//! The endpoints of jobs for people.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{JobError, JobView, Jobs, QueueRequest, Queued};
use crate::audit;
use crate::auth::{Operator, Role, User, Viewer};
use crate::http::{ApiError, JsonWithValue, Path, Query};
use crate::jobs::life::queue::Idempotency;
use crate::jobs::log::diff;
use crate::store::job::{self, Job, JobFilter, JobStatus};
use crate::store::{StoreError, Tx};

/// Whose jobs are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The caller's own.
    Mine,
    /// Everybody's: for those who may and ask for `scope=all`.
    All,
}

impl Scope {
    /// What the query asks to read, if the user may.
    pub fn of(jobs: &Jobs, user: &User, query: &Query) -> Result<Self, ApiError> {
        let scope = Self::asked(query)?;
        if scope == Self::All && !jobs.reads_all(user) {
            return Err(ApiError::forbidden(
                "scope=all is for the roles VIEWER and ADMIN on this server (HYPRBOX_OPERATOR_SCOPE=own)",
            ));
        }
        Ok(scope)
    }

    /// Whose jobs the query asks to change: other people's are for an ADMIN.
    pub fn to_change(user: &User, query: &Query) -> Result<Self, ApiError> {
        let scope = Self::asked(query)?;
        if scope == Self::All && user.role != Role::Admin {
            return Err(ApiError::forbidden(
                "Only an ADMIN may change other people's jobs (scope=all)",
            ));
        }
        Ok(scope)
    }

    fn asked(query: &Query) -> Result<Self, ApiError> {
        match query.get("scope") {
            None | Some("mine") => Ok(Self::Mine),
            Some("all") => Ok(Self::All),
            Some(_) => Err(query.wrong("scope", "mine or all")),
        }
    }

    /// Whether `user` sees `job` under it.
    pub fn sees(self, user: &User, job: &Job) -> bool {
        self == Self::All || job.created_by == user.id
    }
}

/// The job, if the user may see it; a look at it under `scope=all` is written to the audit log.
pub async fn find_for(
    jobs: &Jobs,
    user: &User,
    scope: Scope,
    id: String,
    action: &'static str,
) -> Result<Job, JobError> {
    let found = find_with(jobs, user, scope, id, action, |_, _| Ok(())).await?;
    Ok(found.0)
}

/// The same, and what `read` makes of it in the same moment.
pub(super) async fn find_with<T: Send + 'static>(
    jobs: &Jobs,
    user: &User,
    scope: Scope,
    id: String,
    action: &'static str,
    read: impl FnOnce(&mut dyn Tx, &Job) -> Result<T, JobError> + Send + 'static,
) -> Result<(Job, T), JobError> {
    let (job, more) = find(jobs, user, scope, id, read).await?;
    if scope == Scope::All {
        note_look(jobs, user, &job, action).await?;
    }
    Ok((job, more))
}

/// The job, if the user may see it, and what `read` makes of it; nobody writes down that they
/// looked.
pub(super) async fn find<T: Send + 'static>(
    jobs: &Jobs,
    user: &User,
    scope: Scope,
    id: String,
    read: impl FnOnce(&mut dyn Tx, &Job) -> Result<T, JobError> + Send + 'static,
) -> Result<(Job, T), JobError> {
    let viewer = user.clone();
    jobs.store
        .read(move |tx| {
            let job = job::find(tx, &id)?
                .filter(|job| scope.sees(&viewer, job))
                .ok_or(JobError::NotFound)?;
            let more = read(tx, &job)?;
            Ok::<_, JobError>((job, more))
        })
        .await
}

/// Writes to the audit log that the user looked at somebody's job.
pub(super) async fn note_look(
    jobs: &Jobs,
    user: &User,
    job: &Job,
    action: &'static str,
) -> Result<(), JobError> {
    let (actor, job_id, node_id) = (user.email.clone(), job.id.clone(), job.node_id.clone());
    jobs.store
        .write(move |tx| {
            let entry = audit::Entry {
                actor: &actor,
                action,
                job_id: Some(&job_id),
                node_id: Some(&node_id),
                detail: Some("scope=all"),
            };
            audit::record(tx, entry)
        })
        .await
        .map_err(JobError::Store)
}

/// A page of jobs.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobPage {
    /// Newest first.
    pub jobs: Vec<JobView>,
    /// Send it back as `cursor` for the next page; `null` on the last one.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// Queues a job.
#[utoipa::path(post, path = "/api/jobs", tag = "jobs", request_body = QueueRequest,
    params(("Idempotency-Key" = Option<String>, Header, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$",
        description = "1 to 255 printable characters; for 24 h the same key with the same body gives the same job")),
    responses((status = 201, body = JobView),
        (status = 200, body = JobView, description = "The same request made it before"),
        (status = 404, description = "No such preset or node"),
        (status = 409, description = "The Idempotency-Key came with another body before")),
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
        Queued::New(job) => (StatusCode::CREATED, job),
        Queued::Before(job) => (StatusCode::OK, job),
    };
    let location = format!("/api/jobs/{}", job.id);
    Ok((
        status,
        [(header::LOCATION, location)],
        axum::Json(JobView::from(job)),
    )
        .into_response())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = value
        .to_str()
        .ok()
        .filter(|key| (1..=255).contains(&key.len()));
    key.map(|key| Some(key.to_owned())).ok_or_else(|| {
        let words = "must be 1 to 255 printable ASCII characters";
        ApiError::bad_request("bad_input", format!("Idempotency-Key: {words}"))
            .with_field("Idempotency-Key", words)
    })
}

/// Lists jobs.
#[utoipa::path(get, path = "/api/jobs", tag = "jobs", operation_id = "list_jobs",
    params(("nodeId" = Option<String>, Query), ("status" = Option<Vec<JobStatus>>, Query, description = "May repeat"),
        ("preset" = Option<String>, Query), ("limit" = Option<u64>, Query, description = "1 to 200; 50 if absent"),
        ("cursor" = Option<String>, Query), ("scope" = Option<String>, Query, description = "all: everybody's; for VIEWER, OPERATOR (unless HYPRBOX_OPERATOR_SCOPE=own) and ADMIN")),
    responses((status = 200, body = JobPage)),
    security(("bearer" = []), ("cookie" = [])))]
async fn list(
    State(jobs): State<Jobs>,
    Viewer(user): Viewer,
    query: Query,
) -> Result<axum::Json<JobPage>, ApiError> {
    let scope = Scope::of(&jobs, &user, &query)?;
    let limit = query.parse("limit", 1..=200, "1 to 200")?.unwrap_or(50);
    let filter = filter_of(&user, scope, &query)?;
    Ok(axum::Json(jobs.page(filter, limit).await?))
}

fn filter_of(user: &User, scope: Scope, query: &Query) -> Result<JobFilter, ApiError> {
    let status = |name: &str| {
        JobStatus::parse(name)
            .ok_or_else(|| query.wrong("status", "QUEUED, RUNNING, SUCCEEDED, FAILED or CANCELLED"))
    };
    let before = query.get("cursor").map(|cursor| {
        uuid::Uuid::parse_str(cursor)
            .map(|id| id.to_string())
            .map_err(|_| query.wrong("cursor", "a nextCursor of this list"))
    });
    Ok(JobFilter {
        created_by: (scope == Scope::Mine).then(|| user.id.clone()),
        node_id: query.get("nodeId").map(str::to_owned),
        statuses: query.all("status").map(status).collect::<Result<_, _>>()?,
        preset: query.get("preset").map(str::to_owned),
        before: before.transpose()?,
    })
}

impl Jobs {
    /// Whether the user may read everybody's jobs.
    pub fn reads_all(&self, user: &User) -> bool {
        self.limits.operator_scope.lets_read_all(user.role)
    }

    /// A page of jobs, newest first.
    pub async fn page(&self, filter: JobFilter, limit: u64) -> Result<JobPage, JobError> {
        // One more than asked for tells whether there is a next page.
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

    /// The frozen script of a job that was found.
    pub async fn script(&self, id: String) -> Result<String, JobError> {
        self.store
            .read(move |tx| Ok::<_, JobError>(job::script(tx, &id)?))
            .await
    }
}

/// Cancels a job.
#[utoipa::path(post, path = "/api/jobs/{id}/cancel", tag = "jobs",
    params(("id" = String, Path), ("scope" = Option<String>, Query, description = "all: somebody else's, for ADMIN")),
    responses((status = 200, body = JobView, description = "It was QUEUED and is CANCELLED"),
        (status = 202, body = JobView, description = "Its script runs; its agent will stop it"),
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

/// Unified diff of two jobs' scripts.
#[utoipa::path(get, path = "/api/jobs/{a}/diff/{b}", tag = "jobs",
    params(("a" = String, Path), ("b" = String, Path), ("scope" = Option<String>, Query)),
    responses((status = 200, content_type = "text/x-diff")),
    security(("bearer" = []), ("cookie" = [])))]
async fn diff_scripts(
    State(jobs): State<Jobs>,
    Viewer(user): Viewer,
    Path((a, b)): Path<(String, String)>,
    query: Query,
) -> Result<Response, ApiError> {
    let scope = Scope::of(&jobs, &user, &query)?;
    let a = find_for(&jobs, &user, scope, a, "job.look").await?;
    let b = find_for(&jobs, &user, scope, b, "job.look").await?;
    let diff = jobs.diff(a.id, b.id).await?;
    let mut response = Bytes::from(diff).into_response();
    let kind = HeaderValue::from_static("text/x-diff; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

impl Jobs {
    /// Unified diff of the scripts of two jobs that were found.
    pub async fn diff(&self, a: String, b: String) -> Result<String, JobError> {
        // Before the scripts are read: those who wait hold none.
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
        .routes(routes!(diff_scripts))
}
