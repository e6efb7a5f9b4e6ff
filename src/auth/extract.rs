//! Extractors. A route takes the one for the role that it requires.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::credential::node_token;
use super::identity::{Caller, NodeIdentity};
use super::{Auth, Role, User};
use crate::http::ApiError;

/// A person of any role, including PENDING: for endpoints about themselves.
#[derive(Debug, Clone)]
pub struct SignedIn(pub User);

/// A person who may read.
#[derive(Debug, Clone)]
pub struct Viewer(pub User);

/// A person who may queue and cancel.
#[derive(Debug, Clone)]
pub struct Operator(pub User);

/// A person who may manage users, nodes and tokens.
#[derive(Debug, Clone)]
pub struct Admin(pub User);

/// Lets a waiting call authenticate its agent again. Keeps a copy of the token and no part of the
/// request: a single header would keep the request's whole buffer in memory, for each of ten
/// thousand waiting agents.
#[derive(Clone)]
pub struct NodeStanding {
    auth: Auth,
    token: String,
}

impl NodeStanding {
    /// A 401 once the token is revoked or its node deleted.
    pub async fn holds(&self) -> Result<(), ApiError> {
        self.auth.node_of(&self.token).await.map(|_| ())
    }
}

/// A request from anybody, unless another site's page sent it: for sign-in and setup, as JSON or as
/// a form.
#[derive(Debug, Clone, Copy)]
pub struct NotForeign;

impl Operator {
    /// A person whose role suffices; otherwise a 403.
    pub fn of(user: User) -> Result<Self, ApiError> {
        require(user, Role::Operator).map(Self)
    }
}

impl Admin {
    /// A person whose role suffices; otherwise a 403.
    pub fn of(user: User) -> Result<Self, ApiError> {
        require(user, Role::Admin).map(Self)
    }
}

/// A 403 that names the required role, unless the user has it.
fn require(user: User, least: Role) -> Result<User, ApiError> {
    if user.role >= least {
        return Ok(user);
    }
    Err(ApiError::forbidden(format!(
        "This needs the role {least}; yours is {}",
        user.role
    )))
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Auth::of(parts)?.caller(parts).await
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SignedIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Auth::of(parts)?.authenticate(parts).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Viewer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let user = Auth::of(parts)?.authenticate(parts).await?;
        require(user, Role::Viewer).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let user = Auth::of(parts)?.authenticate(parts).await?;
        require(user, Role::Operator).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let user = Auth::of(parts)?.authenticate(parts).await?;
        require(user, Role::Admin).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NodeIdentity {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Auth::of(parts)?.node(parts).await
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NodeStanding {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let token = node_token(&parts.headers)?.to_owned();
        let auth = Auth::of(parts)?;
        Ok(Self { auth, token })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NotForeign {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Auth::of(parts)?.refuse_foreign(&parts.headers)?;
        Ok(Self)
    }
}
