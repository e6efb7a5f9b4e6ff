//! What people do to a job that has not ended. Cancel: at once while QUEUED, through the agent
//! while RUNNING. Confirm: keep what a waiting job has changed. Fail: the server no longer waits
//! for the job's end.

use hyprbox_protocol::MAX_ERROR_MSG_CHARS;
use serde::Deserialize;

use crate::audit;
use crate::auth::User;
use crate::clock;
use crate::http::FieldErrors;
use crate::jobs::life::end::{EndEntry, record_end};
use crate::jobs::life::finish::storable;
use crate::jobs::run::advance::RunAdvance;
use crate::jobs::{JobError, Jobs};
use crate::store::job::{self, Job, JobStatus};
use crate::store::{Change, Tx, run};

/// The body of `POST /api/jobs/{id}/fail`.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailRequest {
    /// Why the job is failed, 1 to 4,096 characters.
    #[schema(min_length = 1, max_length = 4096)]
    pub error_msg: String,
}

impl Jobs {
    /// Cancels a QUEUED job at once; requests that the agent stop a RUNNING one. `any_owner` allows
    /// other people's jobs, for an ADMIN with `scope=all`.
    pub async fn cancel(&self, user: &User, id: String, any_owner: bool) -> Result<Job, JobError> {
        let (user, runs) = (user.clone(), self.run_advance());
        self.store
            .write(move |tx| cancel(tx, &runs, &user, &id, any_owner))
            .await
    }

    /// Requests that the agent keep what a waiting job has changed. `any_owner` allows other
    /// people's jobs.
    pub async fn confirm(&self, user: &User, id: String, any_owner: bool) -> Result<Job, JobError> {
        let user = user.clone();
        self.store
            .write(move |tx| confirm(tx, &user, &id, any_owner))
            .await
    }

    /// Fails a RUNNING job permanently: a later report of its agent changes nothing. `any_owner`
    /// allows other people's jobs.
    pub async fn fail(
        &self,
        user: &User,
        id: String,
        request: FailRequest,
        any_owner: bool,
    ) -> Result<Job, JobError> {
        let mut faults = FieldErrors::default();
        let length = request.error_msg.chars().count();
        faults.check(
            (1..=MAX_ERROR_MSG_CHARS).contains(&length),
            "errorMsg",
            "must have 1 to 4096 characters",
        );
        faults.into_faults().map_err(JobError::Fields)?;
        let (user, runs) = (user.clone(), self.run_advance());
        let message = storable(&request.error_msg);
        self.store
            .write(move |tx| fail(tx, &runs, &user, &id, &message, any_owner))
            .await
    }
}

/// The job with its row locked, after the row of its run.
fn find_for(user: &User, any_owner: bool, tx: &mut dyn Tx, id: &str) -> Result<Job, JobError> {
    run::lock_of_job(tx, id)?;
    job::find_locked(tx, id)?
        .filter(|job| any_owner || job.created_by == user.id)
        .ok_or(JobError::NotFound)
}

fn fail(
    tx: &mut dyn Tx,
    runs: &RunAdvance,
    user: &User,
    id: &str,
    message: &str,
    any_owner: bool,
) -> Result<Job, JobError> {
    let job = find_for(user, any_owner, tx, id)?;
    let failed =
        job::fail(tx, id, message, clock::now())?.ok_or(JobError::WrongState(job.status))?;
    let entry = EndEntry {
        actor: &user.email,
        action: "job.fail",
        detail: message,
    };
    record_end(tx, runs, &failed, Some(entry))?;
    Ok(failed)
}

fn confirm(tx: &mut dyn Tx, user: &User, id: &str, any_owner: bool) -> Result<Job, JobError> {
    let job = find_for(user, any_owner, tx, id)?;
    let confirmed = job::request_confirm(tx, id, clock::now())?.ok_or(JobError::NotWaiting)?;
    let entry = audit::Entry {
        actor: &user.email,
        action: "job.confirm",
        job_id: Some(id),
        node_id: Some(&job.node_id),
        detail: None,
    };
    audit::record(tx, entry)?;
    tx.publish(Change::Job {
        id: job.id,
        node_id: job.node_id,
    });
    Ok(confirmed)
}

fn cancel(
    tx: &mut dyn Tx,
    runs: &RunAdvance,
    user: &User,
    id: &str,
    any_owner: bool,
) -> Result<Job, JobError> {
    let job = find_for(user, any_owner, tx, id)?;
    let now = clock::now();
    let changed = match job.status {
        JobStatus::Queued => job::cancel_queued(tx, id, now)?,
        JobStatus::Running => job::request_cancel(tx, id, now)?,
        // The lease expired, or somebody changed the row, and the script still runs.
        JobStatus::Succeeded | JobStatus::Failed | JobStatus::Cancelled if job.still_running => {
            job::request_cancel(tx, id, now)?
        }
        JobStatus::Succeeded | JobStatus::Failed | JobStatus::Cancelled => None,
    };
    let changed = changed.ok_or(JobError::WrongState(job.status))?;
    let (actor, action) = (user.email.as_str(), "job.cancel");
    let detail = match job.status {
        JobStatus::Queued => {
            let entry = EndEntry {
                actor,
                action,
                detail: "while queued",
            };
            record_end(tx, runs, &changed, Some(entry))?;
            return Ok(changed);
        }
        JobStatus::Running => "while running",
        JobStatus::Succeeded | JobStatus::Failed | JobStatus::Cancelled => {
            "while the script still ran after the job's end"
        }
    };
    let entry = audit::Entry {
        actor,
        action,
        job_id: Some(id),
        node_id: Some(&job.node_id),
        detail: Some(detail),
    };
    audit::record(tx, entry)?;
    tx.publish(Change::Job {
        id: job.id,
        node_id: job.node_id,
    });
    Ok(changed)
}
