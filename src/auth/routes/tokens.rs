//! The caller's personal tokens.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::auth::{Auth, Caller, ClientAddress, NewToken, PersonalToken, Viewer};
use crate::http::{ApiError, JsonBody, Path};

/// A token to create.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AddTokenRequest {
    /// What it is for; 1 to 255 characters.
    #[serde(default)]
    #[schema(
        required = true,
        max_length = 255,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: String,
    /// 1 to 3,650; without it, the token is valid until it is revoked.
    #[schema(minimum = 1, maximum = 3650)]
    expires_in_days: Option<i64>,
    /// The caller's password; required if they signed in more than 15 minutes ago.
    password: Option<String>,
}

/// A new token.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct AddTokenAnswer {
    /// The token's id.
    id: String,
    /// The token itself, shown only once.
    token: String,
}

/// Personal tokens.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct TokensAnswer {
    /// Newest first.
    pub(super) tokens: Vec<PersonalToken>,
}

/// Lists the caller's personal tokens, without their secrets.
#[utoipa::path(get, path = "/api/auth/tokens", tag = "people",
    operation_id = "list_personal_tokens",
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, description = "Newest first", body = TokensAnswer)))]
pub(super) async fn list(
    State(auth): State<Auth>,
    Viewer(user): Viewer,
) -> Result<Json<TokensAnswer>, ApiError> {
    let tokens = auth.tokens(&user).await?;
    Ok(Json(TokensAnswer { tokens }))
}

/// Creates a personal token with the caller's role.
#[utoipa::path(post, path = "/api/auth/tokens", tag = "people",
    operation_id = "add_personal_token",
    security(("bearer" = []), ("cookie" = [])),
    request_body = AddTokenRequest,
    responses((status = 201, description = "The token, shown only once", body = AddTokenAnswer),
        (status = 401, description = "Not signed in, or `wrong_password`"),
        (status = 403, description = "PENDING, `password_needed`, or with the cookie: no proof of origin"),
        (status = 429, description = "Ten wrong passwords within a minute")))]
pub(super) async fn add(
    State(auth): State<Auth>,
    _: Viewer,
    caller: Caller,
    from: ClientAddress,
    JsonBody(body): JsonBody<AddTokenRequest>,
) -> Result<(StatusCode, Json<AddTokenAnswer>), ApiError> {
    let wanted = NewToken {
        name: &body.name,
        expires_in_days: body.expires_in_days,
        password: body.password.as_deref(),
    };
    let (id, token) = auth.add_token(&caller, wanted, from).await?;
    Ok((StatusCode::CREATED, Json(AddTokenAnswer { id, token })))
}

/// Revokes one of the caller's personal tokens.
#[utoipa::path(delete, path = "/api/auth/tokens/{id}", tag = "people",
    operation_id = "revoke_personal_token",
    security(("bearer" = []), ("cookie" = [])),
    params(("id" = String, Path, description = "The token's id")),
    responses((status = 204, description = "Revoked: the next call with it is a 401")))]
pub(super) async fn revoke(
    State(auth): State<Auth>,
    Viewer(user): Viewer,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    auth.revoke_token(&user, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
