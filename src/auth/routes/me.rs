//! The caller's own account, for any role.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use crate::auth::{Auth, Caller, ClientAddress, SignedIn, User};
use crate::http::{ApiError, FieldErrors, JsonBody};

/// A new password for the caller.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangeMeRequest {
    /// The current password.
    #[schema(required = true, value_type = String)]
    old_password: Option<String>,
    /// 10 to 1,024 characters.
    #[schema(required = true, value_type = String, min_length = 10, max_length = 1024)]
    password: Option<String>,
    /// true: keep the caller's personal tokens; otherwise they are revoked.
    keep_tokens: Option<bool>,
}

/// Returns the caller's account.
#[utoipa::path(get, path = "/api/auth/me", tag = "people",
    operation_id = "show_me",
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, description = "The caller's account", body = User)))]
pub(super) async fn show(SignedIn(user): SignedIn) -> Json<User> {
    Json(user)
}

/// Changes the caller's password. Their other sessions and, unless `keepTokens` is true, their
/// personal tokens are revoked.
#[utoipa::path(patch, path = "/api/auth/me", tag = "people",
    operation_id = "change_me",
    security(("bearer" = []), ("cookie" = [])),
    request_body = ChangeMeRequest,
    responses((status = 200, description = "The caller's account", body = User),
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
    faults.check(body.old_password.is_some(), "oldPassword", "is required");
    faults.check(body.password.is_some(), "password", "is required");
    faults.into_result()?;
    let old = body.old_password.unwrap_or_default();
    let new = body.password.unwrap_or_default();
    let keeps_tokens = body.keep_tokens.unwrap_or(false);
    let user = auth
        .change_own_password(&caller, &old, &new, keeps_tokens, from)
        .await?;
    Ok(Json(user))
}
