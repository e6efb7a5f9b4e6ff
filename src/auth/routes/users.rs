//! User management, for ADMINs.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::tokens::TokensAnswer;
use crate::auth::{Admin, Auth, ClientAddress, NewUser, User, UserChange};
use crate::http::{ApiError, JsonBody, Path};
use crate::store::id::{TokenId, UserId};

/// All users.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct UsersAnswer {
    /// Oldest first.
    users: Vec<User>,
}

/// Lists all users.
#[utoipa::path(get, path = "/api/users", tag = "users", operation_id = "list_users",
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, description = "Oldest first", body = UsersAnswer)))]
pub(super) async fn list(
    State(auth): State<Auth>,
    _: Admin,
) -> Result<Json<UsersAnswer>, ApiError> {
    let users = auth.users().await?;
    Ok(Json(UsersAnswer { users }))
}

/// Adds a user.
#[utoipa::path(post, path = "/api/users", tag = "users", operation_id = "add_user",
    security(("bearer" = []), ("cookie" = [])),
    request_body = NewUser,
    responses((status = 201, description = "The user", body = User),
        (status = 409, description = "The email is taken")))]
pub(super) async fn add(
    State(auth): State<Auth>,
    Admin(admin): Admin,
    JsonBody(body): JsonBody<NewUser>,
) -> Result<(StatusCode, Json<User>), ApiError> {
    let user = auth.add_user(&admin, body).await?;
    Ok((StatusCode::CREATED, Json(user)))
}

/// Changes a user's role or password and revokes their sessions. A new password also revokes their
/// personal tokens.
#[utoipa::path(patch, path = "/api/users/{id}", tag = "users", operation_id = "change_user",
    security(("bearer" = []), ("cookie" = [])),
    params(("id" = String, Path, description = "The user's id")),
    request_body = UserChange,
    responses((status = 200, description = "The changed user", body = User),
        (status = 401, description = "Not signed in, or `wrong_password`"),
        (status = 409, description = "The last ADMIN can't be demoted"),
        (status = 429, description = "Ten wrong passwords within a minute")))]
pub(super) async fn change(
    State(auth): State<Auth>,
    Admin(admin): Admin,
    Path(id): Path<String>,
    from: ClientAddress,
    JsonBody(body): JsonBody<UserChange>,
) -> Result<Json<User>, ApiError> {
    auth.change_user(&admin, &id, body, from).await.map(Json)
}

/// Removes a user, their sessions and their tokens; their jobs stay.
#[utoipa::path(delete, path = "/api/users/{id}", tag = "users", operation_id = "remove_user",
    security(("bearer" = []), ("cookie" = [])),
    params(("id" = String, Path, description = "The user's id")),
    responses((status = 204, description = "Removed"),
        (status = 409, description = "The last ADMIN can't be removed")))]
pub(super) async fn remove(
    State(auth): State<Auth>,
    Admin(admin): Admin,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    auth.remove_user(&admin, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists a user's personal tokens, without their secrets.
#[utoipa::path(get, path = "/api/users/{id}/tokens", tag = "users", operation_id = "list_tokens_of_user",
    security(("bearer" = []), ("cookie" = [])),
    params(("id" = String, Path, description = "The user's id")),
    responses((status = 200, description = "Newest first", body = TokensAnswer)))]
pub(super) async fn list_tokens(
    State(auth): State<Auth>,
    _: Admin,
    Path(id): Path<String>,
) -> Result<Json<TokensAnswer>, ApiError> {
    let (_, tokens) = auth.tokens_of(&id).await?;
    Ok(Json(TokensAnswer { tokens }))
}

/// Revokes a user's personal token.
#[utoipa::path(delete, path = "/api/users/{id}/tokens/{token_id}", tag = "users", operation_id = "revoke_token_of_user",
    security(("bearer" = []), ("cookie" = [])),
    params(("id" = String, Path, description = "The user's id"), ("token_id" = String, Path, description = "The token's id")),
    responses((status = 204, description = "Revoked: the next call with it is a 401")))]
pub(super) async fn revoke_token(
    State(auth): State<Auth>,
    Admin(admin): Admin,
    Path((id, token_id)): Path<(UserId, TokenId)>,
) -> Result<StatusCode, ApiError> {
    auth.revoke_token_of(&admin, id.borrowed(), token_id.borrowed())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
