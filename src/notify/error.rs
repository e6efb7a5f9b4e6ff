//! Why an operation on a channel, rule or delivery fails, and the API's answer to each failure.

use crate::http::{ApiError, FieldErrors};
use crate::jobs::JobError;
use crate::store::StoreError;

/// Why a channel, rule or delivery can't be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    #[error("Channel not found")]
    ChannelNotFound,
    #[error("Rule not found")]
    RuleNotFound,
    #[error("Delivery not found")]
    DeliveryNotFound,
    #[error("Some fields are invalid")]
    Fields(FieldErrors),
    #[error("There are {0} {1} already: remove one first")]
    TooMany(u64, &'static str),
    #[error(transparent)]
    Job(#[from] JobError),
}

impl From<StoreError> for NotifyError {
    fn from(error: StoreError) -> Self {
        Self::Job(error.into())
    }
}

impl From<NotifyError> for ApiError {
    fn from(error: NotifyError) -> Self {
        let message = error.to_string();
        match error {
            NotifyError::ChannelNotFound => ApiError::not_found("channel_not_found", message),
            NotifyError::RuleNotFound => ApiError::not_found("rule_not_found", message),
            NotifyError::DeliveryNotFound => ApiError::not_found("delivery_not_found", message),
            NotifyError::Fields(faults) => match faults.into_result() {
                Err(error) => error,
                Ok(()) => ApiError::bad_request("bad_input", message),
            },
            NotifyError::TooMany(..) => ApiError::conflict("too_many", message),
            NotifyError::Job(error) => error.into(),
        }
    }
}
