//! What can stand in a job's way, and how it is said.

use axum::http::StatusCode;

use crate::http::{ApiError, FieldErrors};
use crate::jobs::life::output::CHUNKS_MAX;
use crate::jobs::log::window::KeptError;
use crate::nodes::no_such_node;
use crate::presets::Snapshot;
use crate::store::StoreError;
use crate::store::job::JobStatus;

/// Why a job can't be queued, claimed, written to or ended.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Not there, or somebody else's.
    #[error("Job not found")]
    NotFound,
    /// No preset of that name.
    #[error("Preset not found")]
    PresetNotFound,
    /// There is no such preset because its file is wrong.
    #[error("Preset not found: {0}")]
    PresetBroken(String),
    /// No node of that id.
    #[error("Node not found")]
    NodeNotFound,
    /// Fields at fault.
    #[error("fields are wrong")]
    Fields(FieldErrors),
    /// The same Idempotency-Key came with another body before.
    #[error("This Idempotency-Key was used for another request; use a new key for a new job")]
    KeyReused,
    /// The job's state forbids it.
    #[error("The job is {0}")]
    WrongState(JobStatus),
    /// Claimed by another agent instance, or by none.
    #[error("The job was claimed by another agent instance")]
    NotYourClaim,
    /// The node's token was revoked while its agent asked for work.
    #[error("The token is unknown, revoked or has run out")]
    TokenGone,
    /// The node has a running job.
    #[error("The node has a running job; cancel it, or wait for its end")]
    NodeBusy,
    /// The job's secrets could not be sealed.
    #[error("The secrets could not be sealed")]
    CantSeal,
    /// More chunks in one call than are taken.
    #[error("more chunks than one call may have")]
    TooManyChunks,
    /// As many comparisons run and wait as may.
    #[error("The server compares other jobs at the moment; try again in a few seconds")]
    TooManyComparisons,
    /// The store's own.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl JobError {
    /// Why `presets` has no preset of that name.
    pub(crate) fn no_preset(presets: &Snapshot, name: &str) -> Self {
        match presets.broken(name) {
            Some(fault) => Self::PresetBroken(fault),
            None => Self::PresetNotFound,
        }
    }
}

impl From<KeptError> for JobError {
    fn from(error: KeptError) -> Self {
        match error {
            // Within one moment nothing falls: the job itself is gone.
            KeptError::Fallen => Self::NotFound,
            KeptError::Store(error) => Self::Store(error),
        }
    }
}

impl From<JobError> for ApiError {
    fn from(error: JobError) -> Self {
        let words = error.to_string();
        match error {
            JobError::NotFound => ApiError::not_found("job_not_found", words),
            JobError::PresetNotFound | JobError::PresetBroken(_) => {
                ApiError::not_found("preset_not_found", words)
            }
            JobError::NodeNotFound => no_such_node(),
            JobError::Fields(faults) => faults
                .into_result()
                .err()
                .unwrap_or_else(|| ApiError::bad_request("bad_input", words)),
            JobError::KeyReused => ApiError::conflict("idempotency_key_reused", words),
            JobError::WrongState(_) => ApiError::conflict("wrong_state", words),
            JobError::NotYourClaim => ApiError::conflict("not_your_claim", words),
            JobError::TokenGone => ApiError::unauthorized(words),
            JobError::NodeBusy => ApiError::conflict("node_busy", words),
            JobError::CantSeal => ApiError::internal(words),
            JobError::TooManyChunks => ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_many_chunks",
                format!(
                    "One call takes {CHUNKS_MAX} chunks at the most; send the rest in further ones"
                ),
            ),
            JobError::TooManyComparisons => {
                let mut error = ApiError::unavailable("too_many_comparisons", words);
                error.retry_after = Some(2);
                error
            }
            JobError::Store(error) => error.into(),
        }
    }
}
