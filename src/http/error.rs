//! The error type of all HTTP answers.

use std::collections::BTreeMap;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyprbox_protocol::ErrorBody;

use crate::store::StoreError;

/// The most fields that an error names; further fields are only counted.
pub(super) const FIELDS_MAX: usize = 20;
/// The most characters of a field's name and of its message, which may repeat the client's input.
const FIELD_CHARS: usize = 200;
const MESSAGE_CHARS: usize = 2_000;

/// An answer with a status of 400 or more.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// A stable code for programs.
    pub code: &'static str,
    /// Message for the user, including how to fix the problem.
    pub message: String,
    /// The first 20 invalid fields, by path.
    pub fields: BTreeMap<String, String>,
    /// The number of further invalid fields.
    pub more: u64,
    /// Seconds to wait before a retry, for 429 and 503.
    pub retry_after: Option<u64>,
}

impl ApiError {
    /// Each fault: its field and what is wrong with it.
    pub fn faults(&self) -> Vec<String> {
        let fields = self.fields.iter();
        fields
            .map(|(field, fault)| format!("{field} {fault}"))
            .collect()
    }

    /// Its faults in one line, or the message if it names no field.
    pub fn in_words(self) -> String {
        match self.faults().as_slice() {
            [] => self.message,
            faults => faults.join(", "),
        }
    }

    /// Any error. The usual ones have constructors of their own.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            fields: BTreeMap::new(),
            more: 0,
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

    /// 429, with a retry after `seconds`.
    pub fn too_many(message: impl Into<String>, seconds: u64) -> Self {
        let mut error = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message);
        error.retry_after = Some(seconds);
        error
    }

    /// 503, with a retry after a second.
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
        error.retry_after = Some(1);
        error
    }

    /// 500, for a fault of this program. The cause goes to the log, not to the client.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The server failed to answer; find the cause in its log by this answer's X-Request-Id",
        )
    }

    /// Adds an invalid field.
    pub fn with_field(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        let field = cut(field.into(), FIELD_CHARS);
        if self.fields.len() < FIELDS_MAX || self.fields.contains_key(&field) {
            self.fields
                .insert(field, cut(message.into(), MESSAGE_CHARS));
        } else {
            self.more += 1;
        }
        self
    }

    /// `and 7 more`, for invalid fields that are not named.
    pub fn and_more(&self) -> Option<String> {
        (self.more > 0).then(|| format!("and {} more", grouped(self.more)))
    }
}

/// The number with commas between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Shortens a text that may repeat the client's input.
fn cut(text: String, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => {
                Self::unavailable("busy", "The database is busy; try again in a moment")
            }
            StoreError::Full => {
                tracing::error!("the database's disk is full");
                Self::unavailable(
                    "disk_full",
                    "The server's disk is full, so nothing was changed; free space on it and try again",
                )
            }
            StoreError::Unusable(cause) => {
                tracing::error!(%cause, "the database can't be used");
                Self::unavailable(
                    "store_unusable",
                    "The server can't use its database; see the server's log for the reason",
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
    fn into_response(mut self) -> Response {
        self.message = cut(self.message, MESSAGE_CHARS);
        if let Some(more) = self.and_more() {
            self.message = format!("{}, {more}", self.message);
        }
        // The dashboard renders this extension as a page.
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

/// Collects invalid fields, so that all are reported at once: 20 by name, the rest as a number.
#[derive(Debug, Default)]
pub struct FieldErrors {
    named: BTreeMap<String, String>,
    more: u64,
}

impl FieldErrors {
    /// Adds a fault. The first fault of a field stays.
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.add_with(|| (field.into(), message.into()));
    }

    /// Adds a fault whose message is only built if it is named.
    pub fn add_with(&mut self, fault: impl FnOnce() -> (String, String)) {
        if self.named.len() >= FIELDS_MAX {
            self.more += 1;
            return;
        }
        let (field, message) = fault();
        self.named
            .entry(cut(field, FIELD_CHARS))
            .or_insert_with(|| cut(message, MESSAGE_CHARS));
    }

    /// Adds `count` faults without names.
    pub fn add_unnamed(&mut self, count: u64) {
        self.more += count;
    }

    /// Adds a fault unless `holds`.
    pub fn check(&mut self, holds: bool, field: &str, message: &str) {
        if !holds {
            self.add(field, message);
        }
    }

    /// Adds faults found elsewhere.
    pub fn extend(&mut self, faults: impl IntoIterator<Item = (String, String)>) {
        for (field, message) in faults {
            self.add(field, message);
        }
    }

    /// The same faults for fields within `parent`.
    pub fn within(self, parent: &str) -> Self {
        let named = self.named.into_iter();
        Self {
            named: named
                .map(|(field, message)| (format!("{parent}.{field}"), message))
                .collect(),
            more: self.more,
        }
    }

    /// Whether there are no faults.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.more == 0
    }

    /// The faults, if there are any.
    pub fn into_faults(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }

    /// A 400 that names the invalid fields, if there are any.
    pub fn into_result(self) -> Result<(), ApiError> {
        let Some((field, message)) = self.named.first_key_value() else {
            return Ok(());
        };
        let all = self.named.len() as u64 + self.more;
        let message = if all == 1 {
            format!("{field}: {message}")
        } else {
            format!(
                "{} fields are invalid; first {field}: {message}",
                grouped(all)
            )
        };
        let mut error = ApiError::bad_request("bad_input", message);
        error.fields = self.named;
        error.more = self.more;
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_faults_are_named_and_the_rest_counted() {
        let mut faults = FieldErrors::default();
        for number in 0..600_000 {
            faults.add(format!("f{number:06}"), "is wrong");
        }
        let error = faults.into_result().expect_err("faults");
        assert_eq!(error.fields.len(), FIELDS_MAX);
        assert_eq!(
            error.message,
            "600,000 fields are invalid; first f000000: is wrong"
        );
        assert_eq!(error.and_more().as_deref(), Some("and 599,980 more"));
        let mut faults = FieldErrors::default();
        for number in 0..20 {
            faults.add(format!("f{number}"), "is wrong");
        }
        let error = faults.into_result().expect_err("faults");
        assert_eq!((error.fields.len(), error.and_more()), (20, None));
    }

    #[test]
    fn the_clients_input_is_repeated_only_in_part() {
        let mut faults = FieldErrors::default();
        faults.add("\u{e9}".repeat(100_000), "x".repeat(100_000));
        let error = faults.into_result().expect_err("a fault");
        let (name, message) = error.fields.first_key_value().expect("one");
        assert_eq!(
            (name.chars().count(), message.chars().count()),
            (201, 2_001)
        );
    }

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (599_980, "599,980"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
