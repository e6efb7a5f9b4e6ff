//! Headers of every answer, and the request id that links an answer to the log.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

/// The content security policy of answers that are not pages: it allows nothing.
pub const API_CSP: &str = "default-src 'none'; frame-ancestors 'none'";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The request's id in the log and in the answer's `X-Request-Id`.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

impl RequestId {
    /// A new id.
    pub fn new() -> Self {
        Self(uuid::Uuid::now_v7().simple().to_string())
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

/// Middleware: sets the request's id and the answer's headers. A page keeps its own content
/// security policy.
pub async fn answer_headers(mut request: Request, next: Next) -> Response {
    let id = RequestId::new();
    let span = tracing::debug_span!("request", id = %id.0, method = %request.method(), path = request.uri().path());
    let is_api = request.uri().path().starts_with("/api");
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).instrument(span).await;
    finish(response.headers_mut(), &id, is_api);
    response
}

/// Sets the headers of every answer. With `is_api` the answer must not be cached.
pub fn finish(headers: &mut HeaderMap, id: &RequestId, is_api: bool) {
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(headers, header::REFERRER_POLICY, "no-referrer");
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        set(headers, header::CONTENT_SECURITY_POLICY, API_CSP);
    }
    if is_api && !headers.contains_key(header::CACHE_CONTROL) {
        set(headers, header::CACHE_CONTROL, "no-store");
    }
    if let Ok(id) = HeaderValue::from_str(&id.0) {
        headers.insert(REQUEST_ID, id);
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}
