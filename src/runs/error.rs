//! Why an operation on a run fails, and the API's answer to each failure.

use axum::http::StatusCode;

use crate::http::ApiError;
use crate::jobs::JobError;
use crate::store::StoreError;
use crate::store::run::RunStatus;

/// Why a run can't be queued, read or changed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The run does not exist, or belongs to somebody else.
    #[error("Run not found")]
    NotFound,
    /// Every named node that does not exist.
    #[error("Nodes not found: {}", .0.join(", "))]
    NodesNotFound(Vec<String>),
    /// The run's state does not allow the operation.
    #[error("The run is {0}")]
    WrongState(RunStatus),
    #[error("The run is stopping")]
    Stopping,
    #[error("Every job of the run that has a node has succeeded, so there is nothing to retry")]
    NothingToRetry,
    /// A script without a preset may be anything.
    #[error("Only an ADMIN can run a script without a preset again")]
    NeedsAdmin,
    /// What fails for a single job as well.
    #[error(transparent)]
    Job(#[from] JobError),
}

impl From<StoreError> for RunError {
    fn from(error: StoreError) -> Self {
        Self::Job(JobError::Store(error))
    }
}

impl From<RunError> for ApiError {
    fn from(error: RunError) -> Self {
        let message = error.to_string();
        match error {
            RunError::NotFound => ApiError::not_found("run_not_found", message),
            RunError::NodesNotFound(ids) => {
                let mut error = ApiError::new(StatusCode::NOT_FOUND, "node_not_found", message);
                // Named in full, unlike other faults: a caller must know which nodes to leave out.
                let missing = format!("not found: {}", ids.join(", "));
                error.fields.insert("nodes".to_owned(), missing);
                error
            }
            RunError::WrongState(_) | RunError::Stopping => {
                ApiError::conflict("wrong_state", message)
            }
            RunError::NothingToRetry => ApiError::conflict("nothing_to_retry", message),
            RunError::NeedsAdmin => ApiError::forbidden(message),
            RunError::Job(error) => error.into(),
        }
    }
}
