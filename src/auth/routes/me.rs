//! Oneself, whatever one's role.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use crate::auth::{Auth, Caller, ClientAddress, SignedIn, User};
use crate::http::{ApiError, FieldErrors, JsonBody};

/// Another password of one's own.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangeMeRequest {
    /// The one of today.
    #[schema(required = true, value_type = String)]
    old_password: Option<String>,
    /// 10 to 1,024 characters.
    #[schema(required = true, value_type = String, min_length = 10, max_length = 1024)]
    password: Option<String>,
    /// true: one's personal tokens stay; without it they are revoked.
    keep_tokens: Option<bool>,
}

/// The user that one is.
#[utoipa::path(get, path = "/api/auth/me", tag = "people",
    operation_id = "show_me",
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, description = "Oneself", body = User)))]
pub(super) async fn show(SignedIn(user): SignedIn) -> Json<User> {
    Json(user)
}

/// Changes one's own password; one's other sessions and, unless `keepTokens` is true, personal
/// tokens are revoked.
#[utoipa::path(patch, path = "/api/auth/me", tag = "people",
    operation_id = "change_me",
    security(("bearer" = []), ("cookie" = [])),
    request_body = ChangeMeRequest,
    responses((status = 200, description = "Oneself", body = User),
        (status = 401, description = "Not signed in, or `wrong_password`"),
        (status = 409, description = "The password was changed in the meantime"),
        (status = 429, description = "Ten wrong passwords within a minute; see Retry-After")))]
pub(super) async fn change(
    State(auth): State<Auth>,
    caller: Caller,
    from: ClientAddress,
    JsonBody(body): JsonBody<ChangeMeRequest>,
) -> Result<Json<User>, ApiError> {
    let mut faults = FieldErrors::default();
    faults.check(body.old_password.is_some(), "oldPassword", "is needed");
    faults.check(body.password.is_some(), "password", "is needed");
    faults.into_result()?;
    let old = body.old_password.unwrap_or_default();
    let new = body.password.unwrap_or_default();
    let keeps_tokens = body.keep_tokens.unwrap_or(false);
    let user = auth
        .change_own_password(&caller, &old, &new, keeps_tokens, from)
        .await?;
    Ok(Json(user))
}
