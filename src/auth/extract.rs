//! Extractors: by naming one, a route says whom it lets in.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::credential::node_token;
use super::{Auth, Credential, Role, User};
use crate::clock::Timestamp;
use crate::http::ApiError;

/// A person of any role, and what they showed.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The person.
    pub user: User,
    /// What they showed.
    pub credential: Credential,
    /// When that was made: the sign-in of a session.
    pub since: Timestamp,
    /// From when on it is no longer accepted; `None`: never. Each use of a session moves it.
    pub expires_at: Option<Timestamp>,
}

/// A person of any role, PENDING too: for what concerns themselves alone.
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

/// An agent, by its node's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The node whose token it is. Whether the request is about that node is the route's to check.
    pub node_id: String,
    /// Which of the node's tokens.
    pub token_id: String,
}

/// What a call that waits keeps of an agent: enough to ask again whether it is let in. Of the
/// request itself nothing, as a header keeps the whole buffer in which the request came, and ten
/// thousand agents wait.
#[derive(Clone)]
pub struct NodeStanding {
    auth: Auth,
    token: String,
}

impl NodeStanding {
    /// A 401 once the token is revoked, or its node gone.
    pub async fn holds(&self) -> Result<(), ApiError> {
        self.auth.node_of(&self.token).await.map(|_| ())
    }
}

/// Nobody in particular, but a request that no foreign page has sent: for sign-in and setup, as
/// JSON or as a form.
#[derive(Debug, Clone, Copy)]
pub struct NotForeign;

/// A 403 that names the role which would do.
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
