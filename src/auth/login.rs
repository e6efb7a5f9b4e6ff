//! Signing in with a password.

use axum::http::StatusCode;

use super::user::{User, printable};
use super::{Auth, ClientAddress, session};
use crate::clock;
use crate::http::ApiError;
use crate::store::audit::{self, Entry};
use crate::store::user::Account;
use crate::store::{Tx, attempt, user};

/// Suffix of the minute's last audit entry about a wrong password.
const LAST_OF_MINUTE: &str = "; more of this minute are only in the server's log";

impl Auth {
    /// Starts a session and returns its token. A wrong password is a 401, in the same time whether
    /// or not the email exists; a 429 after ten of them.
    pub async fn login(
        &self,
        email: &str,
        password: &str,
        from: ClientAddress,
    ) -> Result<(String, User), ApiError> {
        let typed = printable(email);
        let key = typed.to_lowercase();
        let Some(account) = self.verify_password(&key, password, from).await? else {
            self.record_failure(typed, "user.login_failed", from)
                .await?;
            return Err(wrong_credentials());
        };
        let email = key.clone();
        let start = move |tx: &mut dyn Tx| {
            attempt::clear(tx, &email, &from.attempt_key())?;
            let token = session::start(tx, &account)?.ok_or_else(wrong_credentials)?;
            let user = User::from_record(account.user)?;
            let detail = format!("from {}", from.0);
            audit::insert(tx, Entry::by(&user.email, "user.login").saying(&detail))?;
            Ok((token, user))
        };
        let started = self.inner.store.write::<_, ApiError>(start).await?;
        self.remember_address(&key, from);
        Ok(started)
    }

    /// Returns the account if the password is right. The attempt stays recorded until the caller
    /// clears it.
    pub(super) async fn verify_password(
        &self,
        email: &str,
        password: &str,
        from: ClientAddress,
    ) -> Result<Option<Account>, ApiError> {
        let attempt = self.attempt(email, from);
        self.check_limits(&attempt).await?;
        let address = (!attempt.is_known_address).then_some(attempt.address.as_str());
        // The turn comes before the record, so that no more attempts are open than there are turns.
        let turn = self.inner.passwords.turn(address).await?;
        let find = move |tx: &mut dyn Tx| {
            attempt.record(tx)?;
            Ok(user::find_by_email(tx, &attempt.account)?)
        };
        let account = self.inner.store.write::<_, ApiError>(find).await?;
        let hash = account.as_ref().map(|found| found.password_hash.clone());
        let is_right = turn.verify(password.to_owned(), hash).await?;
        Ok(account.filter(|_| is_right))
    }

    /// Hashes the password of somebody without an account. Each call counts permanently as an
    /// attempt from the address.
    pub(super) async fn hash_for_stranger(
        &self,
        password: &str,
        from: ClientAddress,
    ) -> Result<String, ApiError> {
        let attempt = self.attempt("register", from);
        let address = attempt.address.clone();
        let turn = self.inner.passwords.turn(Some(&address)).await?;
        let record = move |tx: &mut dyn Tx| attempt.record_for_address(tx);
        self.inner.store.write::<_, ApiError>(record).await?;
        turn.hash(password.to_owned()).await
    }

    /// Logs a wrong password, and adds it to the audit log within the minute's budget: strangers
    /// must not be able to fill the disk.
    pub(super) async fn record_failure(
        &self,
        actor: String,
        action: &'static str,
        from: ClientAddress,
    ) -> Result<(), ApiError> {
        tracing::warn!(account = actor, address = %from.0, "wrong password");
        let Some(is_last) = self.inner.audit_budget.take(clock::now()) else {
            return Ok(());
        };
        let more = if is_last { LAST_OF_MINUTE } else { "" };
        let detail = format!("from {}{more}", from.0);
        let insert =
            move |tx: &mut dyn Tx| audit::insert(tx, Entry::by(&actor, action).saying(&detail));
        self.inner.store.write(insert).await.map_err(ApiError::from)
    }
}

fn wrong_credentials() -> ApiError {
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        "wrong_credentials",
        "Email or password is wrong",
    )
}
