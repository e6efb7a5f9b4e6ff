//! From a request's headers to the one that its token stands for.

use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};

use super::Auth;
use super::cache::{Identity, Known};
use super::extract::{Caller, NodeIdentity};
use super::session::{SESSION_COOKIE, SESSION_MILLIS};
use super::token::{TokenKind, digest};
use super::user::User;
use crate::clock::{self, Timestamp};
use crate::http::{ApiError, Holder, Meter};
use crate::store::{node_token, session, user_token};

/// What a request was authenticated with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A session, by its token's SHA-256.
    Session([u8; 32]),
    /// A personal token, by its id.
    UserToken(String),
    /// A node's token, by its id.
    NodeToken(String),
}

/// The token that a request shows.
#[derive(Debug, PartialEq, Eq)]
enum Shown<'h> {
    Nothing,
    /// An `Authorization` that is no bearer token, or more than one.
    Unreadable,
    Bearer(&'h str),
    Cookie(&'h str),
}

/// `Authorization`, when present, alone counts: a program that sends one must never act as whoever
/// the cookie is.
fn shown(headers: &HeaderMap) -> Shown<'_> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let Some(line) = lines.next() else {
        return cookie(headers).map_or(Shown::Nothing, Shown::Cookie);
    };
    let bearer = line.to_str().ok().and_then(|line| {
        let (scheme, token) = line.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(token.trim())
    });
    match (bearer, lines.next()) {
        (Some(token), None) => Shown::Bearer(token),
        _ => Shown::Unreadable,
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

/// The token that a request of an agent shows. A cookie is nothing that an agent has.
pub(super) fn node_token(headers: &HeaderMap) -> Result<&str, ApiError> {
    match shown(headers) {
        Shown::Bearer(token) => Ok(token),
        Shown::Nothing | Shown::Cookie(_) => Err(ApiError::unauthorized(
            "Send Authorization: Bearer <node token>",
        )),
        Shown::Unreadable => Err(unreadable()),
    }
}

impl Auth {
    /// The person who sent this request.
    pub(super) async fn caller(&self, parts: &Parts) -> Result<Caller, ApiError> {
        let (token, by_cookie) = match shown(&parts.headers) {
            Shown::Bearer(token) => (token, false),
            Shown::Cookie(token) => (token, true),
            Shown::Nothing => {
                return Err(ApiError::unauthorized(
                    "Sign in, or send Authorization: Bearer <token>",
                ));
            }
            Shown::Unreadable => return Err(unreadable()),
        };
        let known = self.identify(token).await?;
        let Identity::Person(caller) = &known.identity else {
            return Err(ApiError::unauthorized(
                "A node's token opens the agent's endpoints alone",
            ));
        };
        if by_cookie {
            if !matches!(caller.credential, Credential::Session(_)) {
                return Err(unreadable());
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

    /// The node whose token that is.
    pub(super) async fn node_of(&self, token: &str) -> Result<NodeIdentity, ApiError> {
        match &self.identify(token).await?.identity {
            Identity::Node(node) => Ok(node.clone()),
            Identity::Person(_) => Err(ApiError::unauthorized(
                "This is for agents: it takes a node's token (hbn_…)",
            )),
        }
    }

    /// Whether this request shows that node's token, where that is known without asking the
    /// database; this is a use of it.
    pub fn is_known_node(&self, headers: &HeaderMap, node_id: &str) -> Option<bool> {
        let token = node_token(headers).ok()?;
        // What is none of ours isn't hashed to find that out.
        TokenKind::of(token)?;
        let known = self.remembered(&digest(token), clock::now())?;
        match &known.identity {
            Identity::Node(node) => Some(node.node_id == node_id),
            Identity::Person(_) => None,
        }
    }

    /// What is remembered of a token; this is a use of it. Where other servers revoke, too, that
    /// may be void: the database is asked each time.
    fn remembered(&self, sha256: &[u8; 32], now: Timestamp) -> Option<Arc<Known>> {
        if self.inner.store.is_shared() {
            return None;
        }
        let known = self.inner.cache.get(sha256, now)?;
        self.note_use(&known, now);
        Some(known)
    }

    fn note_use(&self, known: &Known, now: Timestamp) {
        if known.is_use_to_note(now) {
            self.inner.last_use.note(known.identity.credential(), now);
        }
    }

    /// Whom a token stands for; a 401 when it is none of ours, revoked or has run out.
    async fn identify(&self, token: &str) -> Result<Arc<Known>, ApiError> {
        let unknown = || ApiError::unauthorized("The token is unknown, revoked or has run out");
        let kind = TokenKind::of(token).ok_or_else(unknown)?;
        let sha256 = digest(token);
        let now = clock::now();
        if let Some(known) = self.remembered(&sha256, now) {
            return Ok(known);
        }
        let generation = self.inner.cache.generation();
        let found = self.look_up(kind, sha256).await?.ok_or_else(unknown)?;
        if found.is_expired(now) {
            return Err(unknown());
        }
        let found = Arc::new(found);
        self.inner
            .cache
            .remember(generation, sha256, Arc::clone(&found));
        self.note_use(&found, now);
        Ok(found)
    }

    async fn look_up(&self, kind: TokenKind, sha256: [u8; 32]) -> Result<Option<Known>, ApiError> {
        match kind {
            TokenKind::Session => self.look_up_session(sha256).await,
            TokenKind::Personal => self.look_up_personal(sha256).await,
            TokenKind::Node => self.look_up_node(sha256).await,
        }
    }

    async fn look_up_session(&self, sha256: [u8; 32]) -> Result<Option<Known>, ApiError> {
        let read = self.inner.store.read(move |tx| session::find(tx, sha256));
        let Some(found) = read.await? else {
            return Ok(None);
        };
        let credential = Credential::Session(sha256);
        // The last use may be in memory alone; what is remembered here extends itself by asking
        // again.
        let last_used_at = self
            .inner
            .last_use
            .of(&credential)
            .map_or(found.last_used_at, |noted| noted.max(found.last_used_at));
        let expires_at = Some(last_used_at.plus_millis(SESSION_MILLIS));
        let caller = Caller {
            user: User::from_record(found.user)?,
            credential,
            since: found.created_at,
            expires_at,
        };
        Ok(Some(Known::new(
            Identity::Person(caller),
            expires_at,
            Some(last_used_at),
        )))
    }

    async fn look_up_personal(&self, sha256: [u8; 32]) -> Result<Option<Known>, ApiError> {
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
        Ok(Some(Known::new(
            Identity::Person(caller),
            found.expires_at,
            found.last_used_at,
        )))
    }

    async fn look_up_node(&self, sha256: [u8; 32]) -> Result<Option<Known>, ApiError> {
        let read = self
            .inner
            .store
            .read(move |tx| node_token::find(tx, sha256));
        Ok(read.await?.map(|found| {
            let node = NodeIdentity {
                node_id: found.node_id,
                token_id: found.id,
            };
            Known::new(Identity::Node(node), None, found.last_used_at)
        }))
    }
}

impl Identity {
    fn credential(&self) -> Credential {
        match self {
            Identity::Person(caller) => caller.credential.clone(),
            Identity::Node(node) => Credential::NodeToken(node.token_id.clone()),
        }
    }
}

fn unreadable() -> ApiError {
    ApiError::unauthorized("Authorization must be: Bearer <token>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorization_alone_counts_where_there_is_one() {
        let table: &[(&[&str], &[&str], Shown<'_>)] = &[
            (&[], &[], Shown::Nothing),
            (&[], &["hb_token=a"], Shown::Cookie("a")),
            (&[], &["x=1; hb_token=a; y=2"], Shown::Cookie("a")),
            (&[], &["x=1", "hb_token=a"], Shown::Cookie("a")),
            (&[], &["hb_token="], Shown::Nothing),
            (&[], &["xhb_token=a; hb_tokenx=b"], Shown::Nothing),
            (&["Bearer b"], &["hb_token=a"], Shown::Bearer("b")),
            (&["bearer  b "], &[], Shown::Bearer("b")),
            (&["Basic b"], &["hb_token=a"], Shown::Unreadable),
            (&[""], &["hb_token=a"], Shown::Unreadable),
            (&["Bearer"], &["hb_token=a"], Shown::Unreadable),
            (&["Bearer a", "Bearer b"], &[], Shown::Unreadable),
        ];
        for (authorization, cookies, wanted) in table {
            let mut headers = HeaderMap::new();
            for line in *authorization {
                headers.append(header::AUTHORIZATION, line.parse().expect("header"));
            }
            for line in *cookies {
                headers.append(header::COOKIE, line.parse().expect("header"));
            }
            assert_eq!(shown(&headers), *wanted, "{authorization:?} {cookies:?}");
        }
    }
}
