//! Path parameters. A parameter that can't be parsed names nothing, so the answer is 404.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::ApiError;

/// The parameters of the route's path.
#[derive(Debug)]
pub struct Path<T>(pub T);

#[expect(
    clippy::disallowed_types,
    reason = "this extractor gives its refusals the form of API errors"
)]
impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(value)| Self(value))
            .map_err(|_| ApiError::not_found("not_found", "This address does not exist"))
    }
}
