//! Authentication of people (sessions, personal tokens) and nodes (node tokens), and roles.
//!
//! A route states its required role by an extractor: [`SignedIn`], [`Viewer`], [`Operator`],
//! [`Admin`] or [`NodeIdentity`]. The extractors find [`Auth`] in the request's extensions.
//! Credentials are cached until anybody's credentials change ([`Auth::forget`]), so that an idle
//! agent's poll does not query the database. `jobs` decides which node may touch which job.

mod address;
mod cache;
mod credential;
mod extract;
mod identity;
mod last_use;
mod login;
mod look_alike;
mod one_time;
mod origin;
mod own_password;
mod password;
mod people;
mod personal;
mod register;
mod role;
mod routes;
mod server_address;
mod session;
mod throttle;
mod token;
mod user;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::request::Parts;
use ipnet::IpNet;

pub use address::{ClientAddress, PeerAddress};
pub use extract::{Admin, NodeStanding, NotForeign, Operator, SignedIn, Viewer};
pub use identity::{Caller, Credential, NodeIdentity};
pub(crate) use look_alike::check_words;
pub use password::check_password;
pub use people::{NewUser, UserChange, maker_gone};
pub use personal::{NewToken, PersonalToken};
pub use register::Registration;
pub use role::{OperatorScope, Role};
pub use routes::routes;
pub use server_address::{ServerAddress, is_local, strict_transport};
pub use session::SESSION_COOKIE;
pub use throttle::Guess;
pub use token::{ENROLMENT, NODE, PERSONAL, SESSION, digest_of_code, mint};
pub use user::{User, check_email};

use crate::http::ApiError;
use crate::store::Store;

/// Settings that concern signing in.
#[derive(Debug, Clone, Default)]
pub struct AuthConfig {
    /// Where people reach the server: `https://jobs.example.org`. With https the cookie is Secure.
    pub public_url: String,
    /// Whether `public_url` was configured; otherwise it is derived from the listen address.
    pub is_public_url_set: bool,
    /// Whether the server terminates TLS itself.
    pub own_tls: bool,
    /// Whether other machines reach the server's own port without TLS.
    pub serves_in_the_clear: bool,
    /// Whether strangers may create accounts, with role PENDING.
    pub allow_public_registration: bool,
    /// Peers whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNet>,
}

/// Authenticates requests. Cheap to clone.
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
    audit_budget: throttle::AuditBudget,
    known_addresses: throttle::KnownAddresses,
    cookie_warning: server_address::WarningLimit,
    origin_warning: server_address::WarningLimit,
    one_time: one_time::OneTime,
}

impl Auth {
    /// Creates the service with a random setup code.
    pub fn new(config: AuthConfig, store: Store) -> Self {
        Self::with_setup_code(config, store, register::new_setup_code())
    }

    /// Creates the service for a store that several servers share. All servers that pass the same
    /// secret `bytes` accept the same setup code.
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
                audit_budget: throttle::AuditBudget::default(),
                known_addresses: throttle::KnownAddresses::default(),
                cookie_warning: server_address::WarningLimit::default(),
                origin_warning: server_address::WarningLimit::default(),
                one_time: one_time::OneTime::default(),
            }),
        }
    }

    /// Clears the credential cache. Called after the commit that changed credentials and before its
    /// response, so that the next request with a revoked token fails. The result of a lookup that
    /// is under way is not cached either, since it may predate the commit.
    pub fn forget(&self) {
        self.inner.cache.clear();
    }

    /// The person who sent this request: for pages that visitors without a session may also open.
    pub async fn authenticate(&self, parts: &Parts) -> Result<User, ApiError> {
        self.caller(parts).await.map(|caller| caller.user)
    }

    /// A 403 unless `Sec-Fetch-Site` or `Origin` proves that the request comes from our own pages.
    /// Every change that is authenticated by the cookie is already checked.
    pub fn require_same_origin(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let proof = origin::require_same(headers, self.inner.public.as_ref());
        proof.inspect_err(|_| self.warn_of_origin(headers))
    }

    /// A 403 if `Sec-Fetch-Site` or `Origin` shows that another site's page sent the request: for
    /// sign-in, setup and their forms, which work without a cookie. [`NotForeign`] is the
    /// extractor.
    pub fn refuse_foreign(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let check = origin::refuse_foreign(headers, self.inner.public.as_ref());
        check.inspect_err(|_| self.warn_of_origin(headers))
    }

    fn of(parts: &Parts) -> Result<Auth, ApiError> {
        let found = parts.extensions.get::<Auth>();
        found
            .cloned()
            .ok_or_else(|| ApiError::internal("the request's extensions have no Auth"))
    }
}
