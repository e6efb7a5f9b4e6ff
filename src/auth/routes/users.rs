//! Everybody, for ADMINs.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::tokens::TokensAnswer;
use crate::auth::{Admin, Auth, ClientAddress, NewUser, Role, User, UserChange};
use crate::http::{ApiError, JsonBody, Path};

/// A user to add.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AddUserRequest {
    /// At most 254 characters; stored in lower case.
    #[serde(default)]
    #[schema(required = true, format = "email", max_length = 254)]
    email: String,
    /// 10 to 1,024 characters.
    #[serde(default)]
    #[schema(required = true, min_length = 10, max_length = 1024)]
    password: String,
    /// At most 255 characters; without it, the email's part before the `@`.
    #[schema(max_length = 255, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    name: Option<String>,
    /// What they may do.
    #[serde(default)]
    #[schema(required = true, value_type = Role)]
    role: String,
}

/// What to change; at least one of both.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangeUserRequest {
    /// Another role.
    #[schema(value_type = Option<Role>)]
    role: Option<String>,
    /// Another password, 10 to 1,024 characters.
    #[schema(min_length = 10, max_length = 1024)]
    password: Option<String>,
    /// One's password of today; needed to change one's own.
    old_password: Option<String>,
}

/// Everybody.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct UsersAnswer {
    /// In the order in which they came.
    users: Vec<User>,
}

/// Everybody who has an account.
#[utoipa::path(get, path = "/api/users", tag = "users", operation_id = "list_users",
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, description = "In the order in which they came", body = UsersAnswer)))]
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
    request_body = AddUserRequest,
    responses((status = 201, description = "The user", body = User),
        (status = 409, description = "The email is taken")))]
pub(super) async fn add(
    State(auth): State<Auth>,
    Admin(admin): Admin,
    JsonBody(body): JsonBody<AddUserRequest>,
) -> Result<(StatusCode, Json<User>), ApiError> {
    let wanted = NewUser {
        email: body.email,
        password: body.password,
        name: body.name,
        role: body.role,
    };
    let user = auth.add_user(&admin, wanted).await?;
    Ok((StatusCode::CREATED, Json(user)))
}

/// Changes a user's role or password and revokes their sessions; with the password their personal
/// tokens too.
#[utoipa::path(patch, path = "/api/users/{id}", tag = "users", operation_id = "change_user",
    security(("bearer" = []), ("cookie" = [])),
    params(("id" = String, Path, description = "The user's id")),
    request_body = ChangeUserRequest,
    responses((status = 200, description = "The user as they are now", body = User),
        (status = 401, description = "Not signed in, or `wrong_password`"),
        (status = 409, description = "The last ADMIN stays one"),
        (status = 429, description = "Ten wrong passwords within a minute")))]
pub(super) async fn change(
    State(auth): State<Auth>,
    Admin(admin): Admin,
    Path(id): Path<String>,
    from: ClientAddress,
    JsonBody(body): JsonBody<ChangeUserRequest>,
) -> Result<Json<User>, ApiError> {
    let change = UserChange {
        role: body.role,
        password: body.password,
        old_password: body.old_password,
    };
    auth.change_user(&admin, &id, change, from).await.map(Json)
}

/// Removes a user, their sessions and their tokens; their jobs stay.
#[utoipa::path(delete, path = "/api/users/{id}", tag = "users", operation_id = "remove_user",
    security(("bearer" = []), ("cookie" = [])),
    params(("id" = String, Path, description = "The user's id")),
    responses((status = 204, description = "Removed"),
        (status = 409, description = "The last ADMIN stays")))]
pub(super) async fn remove(
    State(auth): State<Auth>,
    Admin(admin): Admin,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    auth.remove_user(&admin, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A user's personal tokens, without their secrets.
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
    responses((status = 204, description = "Revoked: the very next call with it is a 401")))]
pub(super) async fn revoke_token(
    State(auth): State<Auth>,
    Admin(admin): Admin,
    Path((id, token_id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    auth.revoke_token_of(&admin, &id, &token_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
