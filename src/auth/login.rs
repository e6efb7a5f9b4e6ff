//! Signing in, and the door that closes after ten wrong passwords.
//!
//! An attempt is written down before its password is looked at, in the transaction that counts: guesses sent at once then
//! count one another. A right password takes the account's attempts from that address away.

use axum::http::StatusCode;

use super::password::check_password;
use super::user::{User, printable};
use super::{Auth, Caller, ClientAddress, Credential, session};
use crate::clock::{self, Timestamp};
use crate::http::{ApiError, FieldErrors};
use crate::store::audit::{self, Entry};
use crate::store::user::Account;
use crate::store::{Change, Tx, attempt, user};

/// Wrong passwords within a minute that close the door.
const WRONG_MAX: u64 = 10;
/// The minute, in milliseconds.
const WINDOW_MILLIS: i64 = 60_000;

/// Seconds until the next attempt, given the latest ones, newest first. `None`: now.
fn closed_for(recent: &[Timestamp], now: Timestamp) -> Option<u64> {
    let tenth = recent.get(WRONG_MAX as usize - 1)?;
    let left = WINDOW_MILLIS - now.millis_since(*tenth);
    (left > 0).then(|| (left as u64).div_ceil(1_000).clamp(1, 60))
}

/// Writes an attempt down, or refuses it with a 429.
fn reserve(tx: &mut dyn Tx, account: &str, address: &str, now: Timestamp) -> Result<(), ApiError> {
    attempt::prune(
        tx,
        now.plus_millis(-WINDOW_MILLIS),
        now.plus_millis(WINDOW_MILLIS),
    )?;
    let recent = attempt::recent(tx, account, address, WRONG_MAX)?;
    if let Some(seconds) = closed_for(&recent, now) {
        return Err(ApiError::too_many(
            format!("Too many wrong passwords; try again in {seconds} s"),
            seconds,
        ));
    }
    Ok(attempt::insert(tx, account, address, now)?)
}

impl Auth {
    /// Starts a session for the right password and gives its token. 401 otherwise, in the same time whether the email
    /// exists or not; 429 after ten wrong ones.
    pub async fn login(
        &self,
        email: &str,
        password: &str,
        from: ClientAddress,
    ) -> Result<(String, User), ApiError> {
        let typed = printable(email);
        let key = typed.to_lowercase();
        let Some(account) = self.prove(&key, password, from).await? else {
            self.note_failure(typed, "user.login_failed", from).await?;
            return Err(wrong_credentials());
        };
        let start = move |tx: &mut dyn Tx| {
            let address = from.0.to_string();
            attempt::clear(tx, &key, &address)?;
            let token = session::start(tx, &account)?.ok_or_else(wrong_credentials)?;
            let user = User::from_record(account.user)?;
            let detail = format!("from {address}");
            audit::insert(tx, Entry::by(&user.email, "user.login").saying(&detail))?;
            Ok((token, user))
        };
        self.inner.store.write::<_, ApiError>(start).await
    }

    /// Changes the caller's own password and ends their other sessions. The old one is guarded as a sign-in is; a wrong
    /// one is a 401 `wrong_password`.
    pub async fn change_own_password(
        &self,
        caller: &Caller,
        old: &str,
        new: &str,
        from: ClientAddress,
    ) -> Result<User, ApiError> {
        let mut faults = FieldErrors::default();
        if let Err(fault) = check_password(new) {
            faults.add("password", fault);
        }
        faults.into_result()?;
        let (key, email) = (caller.user.email.clone(), caller.user.email.clone());
        let Some(account) = self.prove(&key, old, from).await? else {
            self.note_failure(email, "user.password_failed", from)
                .await?;
            return Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "wrong_password",
                "The old password is wrong",
            ));
        };
        let hash = self.inner.passwords.turn().await?;
        let hash = hash.hash(new.to_owned()).await?;
        let (user, credential) = (caller.user.clone(), caller.credential.clone());
        let change = move |tx: &mut dyn Tx| {
            attempt::clear(tx, &key, &from.0.to_string())?;
            if !user::change_password(tx, &user.id, &hash, &account.password_hash)? {
                return Err(ApiError::conflict(
                    "password_changed",
                    "The password was changed by somebody else in the meantime",
                ));
            }
            match credential {
                Credential::Session(kept) => {
                    crate::store::session::delete_others(tx, &user.id, kept)?
                }
                Credential::UserToken(_) | Credential::NodeToken(_) => {
                    crate::store::session::delete_of_user(tx, &user.id)?;
                }
            }
            tx.note(Change::Credentials);
            audit::insert(tx, Entry::by(&user.email, "user.password"))?;
            Ok(user)
        };
        self.inner.store.write(change).await
    }

    /// The account, if the password is its own. The attempt stays written down until the caller clears it.
    async fn prove(
        &self,
        key: &str,
        password: &str,
        from: ClientAddress,
    ) -> Result<Option<Account>, ApiError> {
        // The turn comes first: of one account at most as many attempts are open as there are turns.
        let turn = self.inner.passwords.turn().await?;
        let key = key.to_owned();
        let find = move |tx: &mut dyn Tx| {
            reserve(tx, &key, &from.0.to_string(), clock::now())?;
            Ok(user::find_by_email(tx, &key)?)
        };
        let account = self.inner.store.write::<_, ApiError>(find).await?;
        let hash = account.as_ref().map(|found| found.password_hash.clone());
        let right = turn.verify(password.to_owned(), hash).await?;
        Ok(account.filter(|_| right))
    }

    async fn note_failure(
        &self,
        actor: String,
        action: &'static str,
        from: ClientAddress,
    ) -> Result<(), ApiError> {
        let detail = format!("from {}", from.0);
        let note =
            move |tx: &mut dyn Tx| audit::insert(tx, Entry::by(&actor, action).saying(&detail));
        self.inner.store.write(note).await.map_err(ApiError::from)
    }
}

fn wrong_credentials() -> ApiError {
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        "wrong_credentials",
        "Email or password is wrong",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_within_a_minute_close_the_door_until_the_minute_is_over() {
        let at = |seconds: i64| Timestamp::from_millis(1_000_000_000 + seconds * 1_000);
        let every_second: Vec<Timestamp> = (0..10).rev().map(at).collect();
        assert_eq!(closed_for(&every_second[1..], at(10)), None, "nine");
        assert_eq!(closed_for(&every_second, at(10)), Some(50));
        assert_eq!(closed_for(&every_second, at(59)), Some(1));
        assert_eq!(closed_for(&every_second, at(60)), None);
        assert_eq!(
            closed_for(&every_second, at(-5)),
            Some(60),
            "clock set back"
        );
    }
}
