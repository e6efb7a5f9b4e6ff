//! The one error that leaves the server.

use std::collections::BTreeMap;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyprbox_protocol::ErrorBody;

use crate::store::StoreError;

/// An answer of 400 or more: what the client did wrong, or that the server can't at the moment.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// A stable name for programs.
    pub code: &'static str,
    /// Words for the person, with the mend.
    pub message: String,
    /// The fields at fault, by path.
    pub fields: BTreeMap<String, String>,
    /// Seconds to wait before the next try, for 429 and 503.
    pub retry_after: Option<u64>,
}

impl ApiError {
    /// Any error; the constructors below name the usual ones.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            fields: BTreeMap::new(),
            retry_after: None,
        }
    }

    /// 400.
    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 401.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// 403.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// 404.
    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 409.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 413.
    pub fn too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "The body is larger than 8 MiB",
        )
    }

    /// 429, to be tried again after `seconds`.
    pub fn too_many(message: impl Into<String>, seconds: u64) -> Self {
        let mut error = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message);
        error.retry_after = Some(seconds);
        error
    }

    /// 503, to be tried again in a second.
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
        error.retry_after = Some(1);
        error
    }

    /// 500: a fault of this program. The cause goes to the log, not to the client.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "an answer failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong in the server; its log says what, under this answer's X-Request-Id",
        )
    }

    /// The same error with one field at fault.
    pub fn with_field(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        self.fields.insert(field.into(), message.into());
        self
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => {
                Self::unavailable("busy", "The database is busy; try again in a moment")
            }
            StoreError::Full => {
                tracing::error!("the disk of the database is full");
                Self::unavailable(
                    "disk_full",
                    "The server's disk is full; nothing was changed",
                )
            }
            StoreError::Unusable(cause) => {
                tracing::error!(%cause, "the database can't be used");
                Self::unavailable(
                    "store_unusable",
                    "The server can't use its database; its log says why",
                )
            }
            StoreError::Stopping => {
                Self::unavailable("stopping", "The server is stopping; try again in a moment")
            }
            StoreError::Statement(_) | StoreError::Decode { .. } => Self::internal(error),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        // For the dashboard, which shows the same error as a page.
        let shown = self.clone();
        let body = ErrorBody {
            error: self.message,
            code: self.code.to_owned(),
            fields: self.fields,
        };
        let mut response = (self.status, axum::Json(body)).into_response();
        response.extensions_mut().insert(shown);
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Faults of a body's fields, gathered so that all of them are told at once.
#[derive(Debug, Default)]
pub struct FieldErrors(BTreeMap<String, String>);

impl FieldErrors {
    /// Notes a fault; the first one of a field stays.
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.entry(field.into()).or_insert_with(|| message.into());
    }

    /// Notes a fault unless `holds`.
    pub fn check(&mut self, holds: bool, field: &str, message: &str) {
        if !holds {
            self.add(field, message);
        }
    }

    /// Takes over faults found elsewhere.
    pub fn extend(&mut self, faults: impl IntoIterator<Item = (String, String)>) {
        for (field, message) in faults {
            self.add(field, message);
        }
    }

    /// The faults by field, where there are any.
    pub fn into_map(self) -> Result<(), BTreeMap<String, String>> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(self.0)
        }
    }

    /// A 400 that names every field at fault, or nothing.
    pub fn into_result(self) -> Result<(), ApiError> {
        let Some((field, message)) = self.0.first_key_value() else {
            return Ok(());
        };
        let words = if self.0.len() == 1 {
            format!("{field}: {message}")
        } else {
            format!(
                "{} fields are wrong; first {field}: {message}",
                self.0.len()
            )
        };
        let mut error = ApiError::bad_request("bad_input", words);
        error.fields = self.0;
        Err(error)
    }
}
