//! Why an operation on a job fails, and the API's answer to each failure.

use axum::http::StatusCode;

use crate::http::{ApiError, FieldErrors};
use crate::nodes::node_not_found;
use crate::presets::Snapshot;
use crate::signing::CantSign;
use crate::store::StoreError;
use crate::store::job::JobStatus;

/// Why a job can't be read, queued, claimed, written to or ended.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The job does not exist, or belongs to somebody else.
    #[error("Job not found")]
    NotFound,
    #[error("Preset not found")]
    PresetNotFound,
    /// The preset's file is invalid.
    #[error("Preset not found: {0}")]
    PresetBroken(String),
    #[error("Node not found")]
    NodeNotFound,
    #[error("Some fields are invalid")]
    Fields(FieldErrors),
    #[error("This Idempotency-Key was used for another request; use a new key for a new job")]
    KeyReused,
    /// The job's state does not allow the operation.
    #[error("The job is {0}")]
    WrongState(JobStatus),
    /// The job waits for no confirmation, or is being undone.
    #[error("The job does not wait for a confirmation")]
    NotWaiting,
    /// The job was claimed by another agent instance, or without naming one.
    #[error("The job was claimed by another agent instance")]
    NotYourClaim,
    /// The job was claimed by another live process of the agent instance.
    #[error(
        "Another process of this agent instance claimed the job; this one uses a copy of its state folder"
    )]
    NotYourProcess,
    /// It is not known yet whether the process that claimed the job is still alive.
    #[error(
        "Another process of this agent instance claimed the job and may still be alive; try again in a few seconds"
    )]
    ProcessUnproven,
    /// The node's token was revoked while its agent waited for a job.
    #[error("The token is unknown, revoked or has run out")]
    TokenGone,
    #[error("The node has a running job; cancel it, or wait until it ends")]
    NodeBusy,
    #[error("The secrets could not be sealed")]
    CantSeal,
    /// The job was queued before jobs were signed.
    #[error("The job has no envelope: it was queued before jobs were signed")]
    NoEnvelope,
    /// The sign key can't be used until an operator has fixed it.
    #[error("Jobs can't be signed: {0}")]
    CantSign(#[from] CantSign),
    #[error("Secret not found")]
    SecretNotFound,
    #[error("The schedule {0} names this secret; change or delete the schedule first")]
    SecretInUse(String),
    #[error("The stored secret {secret} is not for the preset {preset}: an ADMIN can allow it")]
    SecretForbidden { secret: String, preset: String },
    /// One call has more chunks than the `max` that are accepted.
    #[error("One call takes at most {max} chunks; send the rest in further calls")]
    TooManyChunks { max: usize },
    #[error("The server is comparing other jobs; try again in a few seconds")]
    TooManyComparisons,
    /// The job wrote more output, or was deleted, while its kept output was read.
    #[error("The output was dropped from the head of the kept tail while it was read")]
    OutputDropped,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl JobError {
    /// The error for a name that `presets` does not have.
    pub(crate) fn no_preset(presets: &Snapshot, name: &str) -> Self {
        match presets.broken(name) {
            Some(fault) => Self::PresetBroken(fault),
            None => Self::PresetNotFound,
        }
    }
}

impl From<JobError> for ApiError {
    fn from(error: JobError) -> Self {
        let message = error.to_string();
        match error {
            JobError::NotFound => ApiError::not_found("job_not_found", message),
            // A single transaction reads its output before it can be dropped: the job was deleted.
            JobError::OutputDropped => JobError::NotFound.into(),
            JobError::PresetNotFound | JobError::PresetBroken(_) => {
                ApiError::not_found("preset_not_found", message)
            }
            JobError::NodeNotFound => node_not_found(),
            JobError::Fields(faults) => faults
                .into_result()
                .err()
                .unwrap_or_else(|| ApiError::bad_request("bad_input", message)),
            JobError::KeyReused => ApiError::conflict("idempotency_key_reused", message),
            JobError::WrongState(_) => ApiError::conflict("wrong_state", message),
            JobError::NotWaiting => ApiError::conflict("not_waiting", message),
            JobError::NotYourClaim => ApiError::conflict("not_your_claim", message),
            JobError::NotYourProcess => ApiError::conflict("not_your_process", message),
            JobError::ProcessUnproven => ApiError::unavailable("process_unproven", message),
            JobError::TokenGone => ApiError::unauthorized(message),
            JobError::NodeBusy => ApiError::conflict("node_busy", message),
            JobError::CantSeal => ApiError::internal(message),
            JobError::NoEnvelope => ApiError::not_found("no_envelope", message),
            JobError::CantSign(_) => ApiError::unavailable("cant_sign", message),
            JobError::SecretNotFound => ApiError::not_found("secret_not_found", message),
            JobError::SecretInUse(_) => ApiError::conflict("secret_in_use", message),
            JobError::SecretForbidden { .. } => ApiError::forbidden(message),
            JobError::TooManyChunks { .. } => {
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_chunks", message)
            }
            JobError::TooManyComparisons => {
                let mut error = ApiError::unavailable("too_many_comparisons", message);
                error.retry_after = Some(2);
                error
            }
            JobError::Store(error) => error.into(),
        }
    }
}
