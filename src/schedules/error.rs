//! Why an operation on a schedule fails, and the API's answer to each failure.

use crate::http::ApiError;
use crate::jobs::JobError;
use crate::runs::RunError;
use crate::store::StoreError;

/// Why a schedule can't be read, changed or run.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    #[error("Schedule not found")]
    NotFound,
    /// Only its maker or an ADMIN may change it.
    #[error("The schedule belongs to {0}; only they or an ADMIN may change or run it")]
    NotYours(String),
    /// The body of a change is not a schedule any more.
    #[error("{0}")]
    Malformed(String),
    /// What fails for a run as well.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl From<StoreError> for ScheduleError {
    fn from(error: StoreError) -> Self {
        Self::Run(error.into())
    }
}

impl From<JobError> for ScheduleError {
    fn from(error: JobError) -> Self {
        Self::Run(error.into())
    }
}

impl From<ScheduleError> for ApiError {
    fn from(error: ScheduleError) -> Self {
        let message = error.to_string();
        match error {
            ScheduleError::NotFound => ApiError::not_found("schedule_not_found", message),
            ScheduleError::NotYours(_) => ApiError::forbidden(message),
            ScheduleError::Malformed(_) => ApiError::bad_request("bad_input", message),
            ScheduleError::Run(error) => error.into(),
        }
    }
}
