//! Who is asking: people (sessions, personal tokens) and nodes (their tokens), and what a role may
//! do.
//!
//! A route names whom it lets in by an extractor: [`SignedIn`], [`Viewer`], [`Operator`], [`Admin`]
//! or [`NodeIdentity`]. They find [`Auth`] in the request's extensions. What is known of a
//! credential is remembered in memory until anybody's credentials change ([`Auth::forget`]), so
//! that an idle agent's poll asks no database. Which node may touch which job is left to `jobs`.

mod address;
mod cache;
mod credential;
mod extract;
mod last_use;
mod login;
mod look_alike;
mod one_time;
mod origin;
mod password;
mod people;
mod personal;
mod register;
mod role;
mod routes;
mod server_address;
mod session;
mod token;
mod user;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::request::Parts;
use ipnet::IpNet;

pub use address::{ClientAddress, PeerAddress};
pub use credential::Credential;
pub use extract::{
    Admin, Caller, NodeIdentity, NodeStanding, NotForeign, Operator, SignedIn, Viewer,
};
pub use login::Guess;
pub(crate) use look_alike::check_words;
pub use password::check_password;
pub use people::{NewUser, UserChange};
pub use personal::{NewToken, PersonalToken};
pub use register::Registration;
pub use role::{OperatorScope, Role};
pub use routes::routes;
pub use server_address::{ServerAddress, strict_transport};
pub use session::SESSION_COOKIE;
pub use token::{ENROLMENT, NODE, PERSONAL, SESSION, digest_of_code, mint};
pub use user::{User, check_email};

use crate::http::ApiError;
use crate::store::Store;

/// What the server's configuration says of signing in.
#[derive(Debug, Clone, Default)]
pub struct AuthConfig {
    /// Where people reach the server: `https://jobs.example.org`. With https the cookie is Secure.
    pub public_url: String,
    /// Whether a setting names it; otherwise it is derived from the address that is listened on.
    pub is_public_url_set: bool,
    /// Whether the server has a certificate of its own.
    pub own_tls: bool,
    /// Whether other machines reach the server's own port without TLS.
    pub serves_in_the_clear: bool,
    /// Whether strangers may make accounts (of role PENDING).
    pub allow_public_registration: bool,
    /// Peers whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNet>,
}

/// The one who knows who is asking; clones share it.
#[derive(Clone)]
pub struct Auth {
    inner: Arc<Inner>,
}

struct Inner {
    config: AuthConfig,
    public: Option<origin::Origin>,
    store: Store,
    setup_code: String,
    cache: cache::Cache,
    last_use: last_use::LastUse,
    passwords: password::Passwords,
    failures: login::Failures,
    familiar: login::Familiar,
    warned_of_cookie: server_address::Warned,
    warned_of_origin: server_address::Warned,
    one_time: one_time::OneTime,
}

impl Auth {
    /// Over this store, with a setup code of its own.
    pub fn new(config: AuthConfig, store: Store) -> Self {
        Self::with_setup_code(config, store, register::new_setup_code())
    }

    /// Over a store that other servers share: each that is given the same bytes, which nobody else
    /// knows, takes the same setup code.
    pub fn sharing(config: AuthConfig, store: Store, bytes: [u8; 16]) -> Self {
        Self::with_setup_code(config, store, register::setup_code_of(bytes))
    }

    fn with_setup_code(config: AuthConfig, store: Store, setup_code: String) -> Self {
        Self {
            inner: Arc::new(Inner {
                public: origin::Origin::parse(&config.public_url),
                config,
                store,
                setup_code,
                cache: cache::Cache::default(),
                last_use: last_use::LastUse::default(),
                passwords: password::Passwords::new(),
                failures: login::Failures::default(),
                familiar: login::Familiar::default(),
                warned_of_cookie: server_address::Warned::default(),
                warned_of_origin: server_address::Warned::default(),
                one_time: one_time::OneTime::default(),
            }),
        }
    }

    /// Forgets whatever was remembered of credentials. Called after the commit that changed some,
    /// before its answer: the very next request with a revoked token then finds it gone. A lookup
    /// that is under way, and may have read before that commit, is not remembered either.
    pub fn forget(&self) {
        self.inner.cache.forget();
    }

    /// The person who sent this request: what a page needs that shows something else to those who
    /// aren't signed in.
    pub async fn authenticate(&self, parts: &Parts) -> Result<User, ApiError> {
        self.caller(parts).await.map(|caller| caller.user)
    }

    /// A 403 unless `Sec-Fetch-Site` or `Origin` proves that the request comes from our own pages.
    /// Every change that is authenticated by the cookie goes through here already.
    pub fn require_same_origin(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let proved = origin::require_same(headers, self.inner.public.as_ref());
        proved.inspect_err(|_| self.warn_of_origin(headers))
    }

    /// A 403 when `Sec-Fetch-Site` or `Origin` says that the request is foreign: for sign-in, setup
    /// and their forms, which work without a cookie. See [`NotForeign`] for the extractor.
    pub fn refuse_foreign(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let own = origin::refuse_foreign(headers, self.inner.public.as_ref());
        own.inspect_err(|_| self.warn_of_origin(headers))
    }

    fn of(parts: &Parts) -> Result<Auth, ApiError> {
        let found = parts.extensions.get::<Auth>();
        found
            .cloned()
            .ok_or_else(|| ApiError::internal("no Auth among the request's extensions"))
    }
}
