//! Sessions, which a sign-in starts, and the cookie that holds them in a browser.

use super::token::{self, mint};
use super::{Auth, Caller, Credential};
use crate::clock;
use crate::http::ApiError;
use crate::store::audit::{self, Entry};
use crate::store::user::Account;
use crate::store::{Change, StoreError, Tx, session};

/// The cookie's name.
pub const SESSION_COOKIE: &str = "hb_token";

/// A session lasts this long from its last use: 30 days.
pub(super) const SESSION_MILLIS: i64 = 30 * 24 * 3_600 * 1_000;

/// Lifetime of the cookie in seconds: the longest that browsers allow. The server decides when the
/// session ends.
const COOKIE_SECONDS: u64 = 400 * 24 * 3_600;

/// Starts a session for a user whose password was just verified (or who is new) and returns its
/// token; `None` if the password was changed or the user removed in the meantime.
pub(super) fn start(tx: &mut dyn Tx, account: &Account) -> Result<Option<String>, StoreError> {
    let (token, sha256, _) = mint(token::SESSION);
    let started = session::insert(
        tx,
        sha256,
        &account.user.id,
        clock::now(),
        &account.password_hash,
    )?;
    Ok(started.then_some(token))
}

impl Auth {
    /// Ends the caller's session. A personal token has no session: that is a 409.
    pub async fn logout(&self, caller: &Caller) -> Result<(), ApiError> {
        let Credential::Session(sha256) = caller.credential else {
            return Err(ApiError::conflict(
                "not_a_session",
                "A personal token has no session to end; revoke it with DELETE /api/auth/tokens/{id}",
            ));
        };
        let email = caller.user.email.clone();
        let end = move |tx: &mut dyn Tx| {
            session::delete(tx, sha256)?;
            tx.publish(Change::Credentials);
            audit::insert(tx, Entry::by(&email, "user.logout"))
        };
        self.inner.store.write(end).await.map_err(ApiError::from)
    }

    /// The `Set-Cookie` that signs a browser in.
    pub fn cookie_for(&self, token: &str) -> String {
        self.cookie(token, COOKIE_SECONDS)
    }

    /// The `Set-Cookie` that removes the cookie.
    pub fn clearing_cookie(&self) -> String {
        self.cookie("", 0)
    }

    fn cookie(&self, value: &str, seconds: u64) -> String {
        let https = self.inner.public.as_ref().is_some_and(|url| url.is_https());
        let secure = if https { "; Secure" } else { "" };
        format!(
            "{SESSION_COOKIE}={value}; HttpOnly; SameSite=Lax; Path=/; Max-Age={seconds}{secure}"
        )
    }
}
