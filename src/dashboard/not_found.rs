//! The fallback for unknown addresses.

use axum::Extension;
use axum::extract::{FromRequestParts, Request};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};

use super::shell;
use crate::auth::Auth;
use crate::http::ApiError;

/// JSON under /api and for programs; a page for people.
pub async fn not_found(request: Request) -> Response {
    let error = ApiError::not_found("not_found", "This address does not exist");
    let (mut parts, _body) = request.into_parts();
    let auth = Extension::<Auth>::from_request_parts(&mut parts, &()).await;
    let (Ok(Extension(auth)), true) = (auth, is_for_people(&parts.uri, &parts.headers)) else {
        return error.into_response();
    };
    let mut response = shell::show(&auth, parts, error).await;
    shell::protect(response.headers_mut());
    response
}

fn is_for_people(uri: &Uri, headers: &HeaderMap) -> bool {
    let is_api = uri.path() == "/api" || uri.path().starts_with("/api/");
    let accept = headers.get(header::ACCEPT);
    let html = accept.is_some_and(|accept| {
        accept
            .to_str()
            .is_ok_and(|accept| accept.contains("text/html"))
    });
    html && !is_api
}
