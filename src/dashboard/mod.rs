//! The pages for people.

use axum::Router;
use axum::http::Uri;

use crate::auth::Auth;
use crate::http::ApiError;
use crate::jobs::Jobs;

/// Every page.
pub fn routes(_auth: Auth, _jobs: Jobs, _public_url: String) -> Router {
    Router::new()
}

/// An address that nothing is at: JSON under /api, a page elsewhere.
pub async fn not_found(_uri: Uri) -> ApiError {
    ApiError::not_found("not_found", "There is nothing at this address")
}
