//! Registration, sign-in and sign-out.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::auth::{Auth, Caller, ClientAddress, NotForeign, Registration, User};
use crate::http::{ApiError, FieldErrors, JsonBody};

/// The credentials of a sign-in.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub(crate) struct LoginRequest {
    /// Case does not matter.
    #[schema(required = true, value_type = String)]
    email: Option<String>,
    #[schema(required = true, value_type = String)]
    password: Option<String>,
}

/// A session.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct SignedInAnswer {
    /// For `Authorization: Bearer`; valid for 30 days from its last use.
    token: String,
    /// The session's user.
    user: User,
}

/// Creates an account: the first one with the setup code, later ones if registration is public.
#[utoipa::path(post, path = "/api/auth/register", tag = "people", security(()),
    request_body = Registration,
    responses((status = 201, description = "The account, and a session", body = SignedInAnswer),
        (status = 403, description = "No setup code, registration is closed, or a foreign origin"),
        (status = 409, description = "The email is taken"),
        (status = 429, description = "Ten wrong setup codes, or too many registrations from this address, within a minute")))]
pub(super) async fn register(
    State(auth): State<Auth>,
    _: NotForeign,
    from: ClientAddress,
    JsonBody(body): JsonBody<Registration>,
) -> Result<(StatusCode, Json<SignedInAnswer>), ApiError> {
    let (token, user) = auth.register(body, from).await?;
    Ok((StatusCode::CREATED, Json(SignedInAnswer { token, user })))
}

/// Starts a session; also sets the cookie `hb_token`.
#[utoipa::path(post, path = "/api/auth/login", tag = "people", security(()),
    request_body = LoginRequest,
    responses((status = 200, description = "A session", body = SignedInAnswer),
        (status = 401, description = "Email or password is wrong"),
        (status = 403, description = "A foreign origin"),
        (status = 429, description = "Ten wrong passwords within a minute; see Retry-After")))]
pub(super) async fn login(
    State(auth): State<Auth>,
    _: NotForeign,
    from: ClientAddress,
    JsonBody(body): JsonBody<LoginRequest>,
) -> Result<Response, ApiError> {
    let mut faults = FieldErrors::default();
    faults.check(body.email.is_some(), "email", "is required");
    faults.check(body.password.is_some(), "password", "is required");
    faults.into_result()?;
    let email = body.email.unwrap_or_default();
    let password = body.password.unwrap_or_default();
    let (token, user) = auth.login(&email, &password, from).await?;
    let cookie = [(header::SET_COOKIE, auth.cookie_for(&token))];
    Ok((cookie, Json(SignedInAnswer { token, user })).into_response())
}

/// Ends this session.
#[utoipa::path(post, path = "/api/auth/logout", tag = "people",
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "The session is revoked"),
        (status = 409, description = "A personal token has no session")))]
pub(super) async fn logout(State(auth): State<Auth>, caller: Caller) -> Result<Response, ApiError> {
    auth.logout(&caller).await?;
    let cookie = [(header::SET_COOKIE, auth.clearing_cookie())];
    Ok((StatusCode::NO_CONTENT, cookie).into_response())
}
