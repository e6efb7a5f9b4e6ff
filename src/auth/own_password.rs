//! A signed-in person's own password: proving it, and changing it.

use axum::http::StatusCode;

use super::password::check_password;
use super::{Auth, Caller, ClientAddress, Credential, User};
use crate::http::{ApiError, FieldErrors};
use crate::store::audit::{self, Entry};
use crate::store::user::Account;
use crate::store::{Change, Tx, attempt, session, user, user_token};

impl Auth {
    /// Changes the caller's own password and ends their other sessions. Revokes their personal
    /// tokens unless `keeps_tokens`. A wrong old password is a 401 `wrong_password`; the limits of
    /// a sign-in apply.
    pub async fn change_own_password(
        &self,
        caller: &Caller,
        old: &str,
        new: &str,
        keeps_tokens: bool,
        from: ClientAddress,
    ) -> Result<User, ApiError> {
        let mut faults = FieldErrors::default();
        if let Err(fault) = check_password(new) {
            faults.add("password", fault);
        }
        faults.into_result()?;
        let account = self.verify_own_password(&caller.user, old, from).await?;
        let hash = self.hash(new).await?;
        let (user, credential) = (caller.user.clone(), caller.credential.clone());
        let change = move |tx: &mut dyn Tx| {
            attempt::clear(tx, &user.email, &from.attempt_key())?;
            if !user::change_password(tx, &user.id, &hash, &account.password_hash)? {
                return Err(ApiError::conflict(
                    "password_changed",
                    "The password was changed by somebody else in the meantime",
                ));
            }
            match credential {
                Credential::Session(kept) => session::delete_others(tx, &user.id, kept)?,
                Credential::UserToken(_) | Credential::NodeToken(_) => {
                    session::delete_of_user(tx, &user.id)?;
                }
            }
            let detail = if keeps_tokens {
                "personal tokens kept".to_owned()
            } else {
                let revoked = user_token::delete_of_user(tx, &user.id)?;
                format!("personal tokens revoked: {revoked}")
            };
            tx.publish(Change::Credentials);
            audit::insert(tx, Entry::by(&user.email, "user.password").saying(&detail))?;
            Ok(user)
        };
        self.inner.store.write(change).await
    }

    /// Returns the user's account if the password is theirs, otherwise a 401 `wrong_password`. The
    /// attempt stays recorded until the caller clears it.
    pub(super) async fn verify_own_password(
        &self,
        user: &User,
        password: &str,
        from: ClientAddress,
    ) -> Result<Account, ApiError> {
        if let Some(account) = self.verify_password(&user.email, password, from).await? {
            return Ok(account);
        }
        self.record_failure(user.email.clone(), "user.password_failed", from)
            .await?;
        Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "wrong_password",
            "The password is wrong",
        ))
    }
}
