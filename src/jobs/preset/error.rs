//! Why a preset can't be saved, checked or deleted, and the API's answer to each failure.

use axum::http::StatusCode;

use crate::http::ApiError;
use crate::jobs::JobError;
use crate::presets::check::Finding;
use crate::store::StoreError;

/// Why a preset can't be saved, checked or deleted.
#[derive(Debug, thiserror::Error)]
pub enum PresetError {
    #[error(
        "This server takes presets only from its presets folder (HYPRBOX_PRESETS=files): change the file there, or set HYPRBOX_PRESETS=app and restart the server"
    )]
    FilesOnly,
    #[error("No preset of this name is saved in the app")]
    NotSaved,
    #[error(
        "Send If-None-Match: * to create the preset, or If-Match with the ETag of GET /api/presets/{0} to change it"
    )]
    NoCondition(String),
    #[error("{0}")]
    BadCondition(&'static str),
    /// The preset is not, or no longer, as the request expects.
    #[error("{0}")]
    Changed(String),
    /// The name or the text can't be saved.
    #[error("{field} {rule}")]
    Unusable { field: &'static str, rule: String },
    /// The linter has found errors.
    #[error("The preset has errors")]
    Faulty(Vec<Finding>),
    #[error("{0} presets are saved in the app, the most that it keeps; delete one first")]
    TooMany(u64),
    #[error("The server is checking other presets; try again in a few seconds")]
    Busy,
    #[error(transparent)]
    Job(#[from] JobError),
}

impl From<StoreError> for PresetError {
    fn from(error: StoreError) -> Self {
        Self::Job(error.into())
    }
}

/// `line 3, column 5: unknown field …; line 7, …`
fn list(errors: &[Finding]) -> String {
    let one = |error: &Finding| {
        let Finding {
            line,
            column,
            rule,
            message,
            ..
        } = error;
        format!("line {line}, column {column}: {message} [{rule}]")
    };
    errors.iter().map(one).collect::<Vec<_>>().join("; ")
}

impl From<PresetError> for ApiError {
    fn from(error: PresetError) -> Self {
        let message = error.to_string();
        match error {
            PresetError::FilesOnly => {
                Self::new(StatusCode::FORBIDDEN, "presets_are_files", message)
            }
            PresetError::NotSaved => Self::not_found("preset_not_found", message),
            PresetError::NoCondition(_) => Self::new(
                StatusCode::PRECONDITION_REQUIRED,
                "condition_required",
                message,
            ),
            PresetError::BadCondition(_) => Self::bad_request("bad_input", message),
            PresetError::Changed(_) => {
                Self::new(StatusCode::PRECONDITION_FAILED, "preset_changed", message)
            }
            PresetError::Unusable { field, rule } => {
                Self::bad_request("bad_input", message).with_field(field, rule)
            }
            PresetError::Faulty(errors) => {
                let message = match errors.len() {
                    1 => {
                        "The preset has an error: fix the line that fields.source names".to_owned()
                    }
                    count => format!(
                        "The preset has {count} errors: fix the lines that fields.source names"
                    ),
                };
                Self::bad_request("preset_invalid", message).with_field("source", list(&errors))
            }
            PresetError::TooMany(_) => Self::bad_request("too_many_presets", message),
            PresetError::Busy => {
                let mut error = Self::unavailable("too_many_checks", message);
                error.retry_after = Some(2);
                error
            }
            PresetError::Job(error) => error.into(),
        }
    }
}
