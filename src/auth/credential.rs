//! From a request's headers to the person or node that its token belongs to.

use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};

use super::Auth;
use super::cache::CachedCredential;
use super::identity::{Caller, Credential, Identity, NodeIdentity};
use super::session::{SESSION_COOKIE, SESSION_MILLIS};
use super::token::{TokenKind, digest};
use super::user::User;
use crate::clock::{self, Timestamp};
use crate::http::{ApiError, Holder, Meter};
use crate::store::{node_token, session, user_token};

/// The token in a request's headers.
#[derive(Debug, PartialEq, Eq)]
enum RequestToken<'h> {
    Absent,
    /// `Authorization` occurs more than once, or is not a bearer token.
    Malformed,
    Bearer(&'h str),
    Cookie(&'h str),
}

/// Reads the token. If `Authorization` is present, the cookie is ignored: a program that sends the
/// header must never act as the cookie's user.
fn request_token(headers: &HeaderMap) -> RequestToken<'_> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let Some(line) = lines.next() else {
        return cookie(headers).map_or(RequestToken::Absent, RequestToken::Cookie);
    };
    let bearer = line.to_str().ok().and_then(|line| {
        let (scheme, token) = line.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(token.trim())
    });
    match (bearer, lines.next()) {
        (Some(token), None) => RequestToken::Bearer(token),
        _ => RequestToken::Malformed,
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == SESSION_COOKIE && !value.is_empty())
        .map(|(_, value)| value)
}

fn changes_something(method: &Method) -> bool {
    ![Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

/// The token in an agent's request. Agents have no cookies.
pub(super) fn node_token(headers: &HeaderMap) -> Result<&str, ApiError> {
    match request_token(headers) {
        RequestToken::Bearer(token) => Ok(token),
        RequestToken::Absent | RequestToken::Cookie(_) => Err(ApiError::unauthorized(
            "Send Authorization: Bearer <node token>",
        )),
        RequestToken::Malformed => Err(malformed()),
    }
}

impl Auth {
    /// The person who sent this request.
    pub(super) async fn caller(&self, parts: &Parts) -> Result<Caller, ApiError> {
        let (token, by_cookie) = match request_token(&parts.headers) {
            RequestToken::Bearer(token) => (token, false),
            RequestToken::Cookie(token) => (token, true),
            RequestToken::Absent => {
                return Err(ApiError::unauthorized(
                    "Sign in, or send Authorization: Bearer <token>",
                ));
            }
            RequestToken::Malformed => return Err(malformed()),
        };
        let found = self.identify(token).await?;
        let Identity::Person(caller) = &found.identity else {
            return Err(ApiError::unauthorized(
                "A node token works only on the agent endpoints; sign in, or send a personal token",
            ));
        };
        if by_cookie {
            if !matches!(caller.credential, Credential::Session(_)) {
                return Err(malformed());
            }
            if changes_something(&parts.method) {
                self.require_same_origin(&parts.headers)?;
            }
        }
        if let Some(meter) = parts.extensions.get::<Meter>() {
            meter.sign_in(Holder::User(caller.user.id.clone()));
        }
        Ok(caller.clone())
    }

    /// The node that sent this request.
    pub(super) async fn node(&self, parts: &Parts) -> Result<NodeIdentity, ApiError> {
        let node = self.node_of(node_token(&parts.headers)?).await?;
        if let Some(meter) = parts.extensions.get::<Meter>() {
            meter.sign_in(Holder::Node(node.node_id.clone()));
        }
        Ok(node)
    }

    /// The node that a token belongs to.
    pub(super) async fn node_of(&self, token: &str) -> Result<NodeIdentity, ApiError> {
        match &self.identify(token).await?.identity {
            Identity::Node(node) => Ok(node.clone()),
            Identity::Person(_) => Err(ApiError::unauthorized(
                "This endpoint is for agents: send a node token (hbn_…)",
            )),
        }
    }

    /// Whether this request has a token of that node; `None` if the cache doesn't know. Counts as
    /// a use of the token.
    pub fn is_known_node(&self, headers: &HeaderMap, node_id: &str) -> Option<bool> {
        let token = node_token(headers).ok()?;
        // Text that can't be one of our tokens is not hashed.
        TokenKind::of(token)?;
        let cached = self.cached(&digest(token), clock::now())?;
        match &cached.identity {
            Identity::Node(node) => Some(node.node_id == node_id),
            Identity::Person(_) => None,
        }
    }

    /// The cached credential of a token; counts as a use of it. With a shared database the cache is
    /// not used, because other servers may have revoked the token.
    fn cached(&self, sha256: &[u8; 32], now: Timestamp) -> Option<Arc<CachedCredential>> {
        if self.inner.store.is_shared() {
            return None;
        }
        let cached = self.inner.cache.get(sha256, now)?;
        self.record_use(&cached, now);
        Some(cached)
    }

    fn record_use(&self, cached: &CachedCredential, now: Timestamp) {
        if cached.should_record_use(now) {
            let credential = cached.identity.credential();
            self.inner.last_use.record(credential, now);
        }
    }

    /// Finds a token's owner; a 401 if the token is not one of ours, was revoked or has expired.
    async fn identify(&self, token: &str) -> Result<Arc<CachedCredential>, ApiError> {
        let unknown = || ApiError::unauthorized("The token is unknown, revoked or expired");
        let kind = TokenKind::of(token).ok_or_else(unknown)?;
        let sha256 = digest(token);
        let now = clock::now();
        if let Some(cached) = self.cached(&sha256, now) {
            return Ok(cached);
        }
        let generation = self.inner.cache.generation();
        let found = self.look_up(kind, sha256).await?.ok_or_else(unknown)?;
        if found.is_expired(now) {
            return Err(unknown());
        }
        let found = Arc::new(found);
        self.inner
            .cache
            .insert(generation, sha256, Arc::clone(&found));
        self.record_use(&found, now);
        Ok(found)
    }

    async fn look_up(
        &self,
        kind: TokenKind,
        sha256: [u8; 32],
    ) -> Result<Option<CachedCredential>, ApiError> {
        match kind {
            TokenKind::Session => self.look_up_session(sha256).await,
            TokenKind::Personal => self.look_up_personal(sha256).await,
            TokenKind::Node => self.look_up_node(sha256).await,
        }
    }

    async fn look_up_session(
        &self,
        sha256: [u8; 32],
    ) -> Result<Option<CachedCredential>, ApiError> {
        let read = self.inner.store.read(move |tx| session::find(tx, sha256));
        let Some(found) = read.await? else {
            return Ok(None);
        };
        let credential = Credential::Session(sha256);
        // The last use may not be in the database yet. The cached expiry moves when the entry is
        // read again.
        let last_used_at = self
            .inner
            .last_use
            .get(&credential)
            .map_or(found.last_used_at, |at| at.max(found.last_used_at));
        let expires_at = Some(last_used_at.plus_millis(SESSION_MILLIS));
        let caller = Caller {
            user: User::from_record(found.user)?,
            credential,
            since: found.created_at,
            expires_at,
        };
        Ok(Some(CachedCredential::new(
            Identity::Person(caller),
            expires_at,
            Some(last_used_at),
        )))
    }

    async fn look_up_personal(
        &self,
        sha256: [u8; 32],
    ) -> Result<Option<CachedCredential>, ApiError> {
        let read = self
            .inner
            .store
            .read(move |tx| user_token::find(tx, sha256));
        let Some(found) = read.await? else {
            return Ok(None);
        };
        let caller = Caller {
            user: User::from_record(found.user)?,
            credential: Credential::UserToken(found.id),
            since: found.created_at,
            expires_at: found.expires_at,
        };
        Ok(Some(CachedCredential::new(
            Identity::Person(caller),
            found.expires_at,
            found.last_used_at,
        )))
    }

    async fn look_up_node(&self, sha256: [u8; 32]) -> Result<Option<CachedCredential>, ApiError> {
        let read = self
            .inner
            .store
            .read(move |tx| node_token::find(tx, sha256));
        Ok(read.await?.map(|found| {
            let node = NodeIdentity {
                node_id: found.node_id,
                token_id: found.id,
            };
            CachedCredential::new(Identity::Node(node), None, found.last_used_at)
        }))
    }
}

fn malformed() -> ApiError {
    ApiError::unauthorized("Authorization must be: Bearer <token>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_ignored_if_there_is_an_authorization() {
        let table: &[(&[&str], &[&str], RequestToken<'_>)] = &[
            (&[], &[], RequestToken::Absent),
            (&[], &["hb_token=a"], RequestToken::Cookie("a")),
            (&[], &["x=1; hb_token=a; y=2"], RequestToken::Cookie("a")),
            (&[], &["x=1", "hb_token=a"], RequestToken::Cookie("a")),
            (&[], &["hb_token="], RequestToken::Absent),
            (&[], &["xhb_token=a; hb_tokenx=b"], RequestToken::Absent),
            (&["Bearer b"], &["hb_token=a"], RequestToken::Bearer("b")),
            (&["bearer  b "], &[], RequestToken::Bearer("b")),
            (&["Basic b"], &["hb_token=a"], RequestToken::Malformed),
            (&[""], &["hb_token=a"], RequestToken::Malformed),
            (&["Bearer"], &["hb_token=a"], RequestToken::Malformed),
            (&["Bearer a", "Bearer b"], &[], RequestToken::Malformed),
        ];
        for (authorization, cookies, wanted) in table {
            let mut headers = HeaderMap::new();
            for line in *authorization {
                headers.append(header::AUTHORIZATION, line.parse().expect("header"));
            }
            for line in *cookies {
                headers.append(header::COOKIE, line.parse().expect("header"));
            }
            assert_eq!(
                request_token(&headers),
                *wanted,
                "{authorization:?} {cookies:?}"
            );
        }
    }
}
