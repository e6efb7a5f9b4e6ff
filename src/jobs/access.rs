//! Which jobs a user may see or change, and the audit entries for reading other people's jobs.

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;

use super::{JobError, Jobs};
use crate::audit;
use crate::auth::{Role, User, Viewer};
use crate::http::{ApiError, Query};
use crate::store::Tx;
use crate::store::job::{self, Job};

/// The set of jobs that a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The caller's own.
    Mine,
    /// Everybody's, with `scope=all`.
    All,
}

impl Scope {
    /// The scope that the query requests for reading, if the user has that right.
    pub fn of(jobs: &Jobs, user: &User, query: &Query) -> Result<Self, ApiError> {
        let scope = Self::requested(query)?;
        if scope == Self::All && !jobs.reads_all(user) {
            return Err(ApiError::forbidden(
                "scope=all needs the role VIEWER or ADMIN on this server (HYPRBOX_OPERATOR_SCOPE=own)",
            ));
        }
        Ok(scope)
    }

    /// The scope that the query requests for changing jobs: only an ADMIN changes other people's.
    pub fn to_change(user: &User, query: &Query) -> Result<Self, ApiError> {
        let scope = Self::requested(query)?;
        if scope == Self::All && user.role != Role::Admin {
            return Err(ApiError::forbidden(
                "Only an ADMIN can change other people's jobs (scope=all)",
            ));
        }
        Ok(scope)
    }

    fn requested(query: &Query) -> Result<Self, ApiError> {
        match query.get("scope") {
            None | Some("mine") => Ok(Self::Mine),
            Some("all") => Ok(Self::All),
            Some(_) => Err(query.wrong("scope", "mine or all")),
        }
    }

    /// Whether `user` sees `job` in this scope.
    pub fn sees(self, user: &User, job: &Job) -> bool {
        self == Self::All || job.created_by == user.id
    }
}

/// A person who may read, and the scope that the request's query asks for. An extractor.
#[derive(Debug, Clone)]
pub struct ScopedViewer {
    pub user: User,
    pub scope: Scope,
}

impl<S> FromRequestParts<S> for ScopedViewer
where
    S: Send + Sync,
    Jobs: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Viewer(user) = Viewer::from_request_parts(parts, state).await?;
        let query = Query::parse_pairs(parts.uri.query().unwrap_or_default().as_bytes());
        let scope = Scope::of(&Jobs::from_ref(state), &user, &query)?;
        Ok(Self { user, scope })
    }
}

/// The job, if the user may see it. Reading it under `scope=all` is recorded in the audit log.
pub async fn find_visible(
    jobs: &Jobs,
    user: &User,
    scope: Scope,
    id: String,
    action: &'static str,
) -> Result<Job, JobError> {
    let (job, ()) = read_visible(jobs, user, scope, id, action, |_, _| Ok(())).await?;
    Ok(job)
}

/// Like [`find_visible`], with the result of `read` from the same transaction.
pub(super) async fn read_visible<T: Send + 'static>(
    jobs: &Jobs,
    user: &User,
    scope: Scope,
    id: String,
    action: &'static str,
    read: impl FnOnce(&mut dyn Tx, &Job) -> Result<T, JobError> + Send + 'static,
) -> Result<(Job, T), JobError> {
    let (job, more) = read_unaudited(jobs, user, scope, id, read).await?;
    if scope == Scope::All {
        audit_view(jobs, user, &job, action).await?;
    }
    Ok((job, more))
}

/// Like [`read_visible`], without an audit entry: the caller records one if it must.
pub(super) async fn read_unaudited<T: Send + 'static>(
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

/// Records in the audit log that the user read somebody's job.
pub(super) async fn audit_view(
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
