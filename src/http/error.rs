//! The one error that leaves the server.

use std::collections::BTreeMap;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyprbox_protocol::ErrorBody;

use crate::store::StoreError;

/// Fields that one error names; of further ones it has the number.
pub(super) const FIELDS_MAX: usize = 20;
/// Characters of a field's name, and of the message about it: both may repeat what the client sent.
const FIELD_CHARS: usize = 200;
const MESSAGE_CHARS: usize = 2_000;

/// An answer of 400 or more: what the client did wrong, or that the server can't at the moment.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// A stable name for programs.
    pub code: &'static str,
    /// Words for the person, with the mend.
    pub message: String,
    /// The fields at fault, by path: the first 20 of them.
    pub fields: BTreeMap<String, String>,
    /// How many more fields are at fault.
    pub more: u64,
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
        let field = cut(field.into(), FIELD_CHARS);
        if self.fields.len() < FIELDS_MAX || self.fields.contains_key(&field) {
            self.fields
                .insert(field, cut(message.into(), MESSAGE_CHARS));
        } else {
            self.more += 1;
        }
        self
    }

    /// Says how many fields are at fault that are not named; nothing if all are.
    pub fn and_more(&self) -> Option<String> {
        (self.more > 0).then(|| format!("and {} more", grouped(self.more)))
    }
}

/// The number with a comma between its thousands.
fn grouped(number: u64) -> String {
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

/// The beginning of a text that may be the client's own.
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
    fn into_response(mut self) -> Response {
        self.message = cut(self.message, MESSAGE_CHARS);
        if let Some(more) = self.and_more() {
            self.message = format!("{}, {more}", self.message);
        }
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

/// Faults of a body's fields, collected so that all of them are reported at once: 20 by name, the
/// rest as a number.
#[derive(Debug, Default)]
pub struct FieldErrors {
    named: BTreeMap<String, String>,
    more: u64,
}

impl FieldErrors {
    /// Adds a fault; the first one of a field stays.
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.add_with(|| (field.into(), message.into()));
    }

    /// The same for a fault whose words are only made if it is named.
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

    /// Adds so many faults that are not named.
    pub fn add_unnamed(&mut self, count: u64) {
        self.more += count;
    }

    /// Adds a fault unless `holds`.
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

    /// The same faults of fields within `parent`.
    pub fn within(self, parent: &str) -> Self {
        let named = self.named.into_iter();
        Self {
            named: named
                .map(|(field, message)| (format!("{parent}.{field}"), message))
                .collect(),
            more: self.more,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.more == 0
    }

    /// The faults, if there are any.
    pub fn into_faults(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }

    /// A 400 that names the fields at fault, or nothing.
    pub fn into_result(self) -> Result<(), ApiError> {
        let Some((field, message)) = self.named.first_key_value() else {
            return Ok(());
        };
        let all = self.named.len() as u64 + self.more;
        let words = if all == 1 {
            format!("{field}: {message}")
        } else {
            format!(
                "{} fields are wrong; first {field}: {message}",
                grouped(all)
            )
        };
        let mut error = ApiError::bad_request("bad_input", words);
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
            "600,000 fields are wrong; first f000000: is wrong"
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
    fn what_the_client_sent_is_repeated_only_in_part() {
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
    fn thousands_are_set_apart() {
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
