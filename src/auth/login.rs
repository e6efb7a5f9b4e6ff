//! Signing in, and the door that closes after ten wrong passwords.
//!
//! An attempt is written down before its password is looked at, in the transaction that counts: guesses sent at once then
//! count one another. A right password takes the account's attempts from that address away.

use std::sync::{Mutex, PoisonError};

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
    refusal(&recent, now)?;
    Ok(attempt::insert(tx, account, address, now)?)
}

fn refusal(recent: &[Timestamp], now: Timestamp) -> Result<(), ApiError> {
    closed_for(recent, now).map_or(Ok(()), |seconds| {
        Err(ApiError::too_many(
            format!("Too many wrong tries; try again in {seconds} s"),
            seconds,
        ))
    })
}

/// Wrong passwords that the audit log takes in a minute.
const FAILURES_MAX: u32 = 120;
const LAST_OF_MINUTE: &str = "; more of this minute are in the server's log alone";

/// How many wrong passwords the audit log took in the minute that began then.
#[derive(Default)]
pub(super) struct Failures(Mutex<Option<(Timestamp, u32)>>);

impl Failures {
    /// A place in the audit log and whether it is this minute's last; `None` when there is none left.
    fn take(&self, now: Timestamp) -> Option<bool> {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, taken) = minute
            .filter(|(began, _)| now.millis_since(*began).abs() < WINDOW_MILLIS)
            .unwrap_or((now, 0));
        *minute = Some((began, (taken + 1).min(FAILURES_MAX)));
        (taken < FAILURES_MAX).then_some(taken + 1 == FAILURES_MAX)
    }
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
        let (key, address) = (key.to_owned(), from.0.to_string());
        self.refuse_closed(&key, &address).await?;
        // The turn comes before the attempt: no more are open at once than there are turns.
        let turn = self.inner.passwords.turn().await?;
        let find = move |tx: &mut dyn Tx| {
            reserve(tx, &key, &address, clock::now())?;
            Ok(user::find_by_email(tx, &key)?)
        };
        let account = self.inner.store.write::<_, ApiError>(find).await?;
        let hash = account.as_ref().map(|found| found.password_hash.clone());
        let right = turn.verify(password.to_owned(), hash).await?;
        Ok(account.filter(|_| right))
    }

    /// A 429 where the door is closed already, before anybody queues for a turn. Whether it really is open,
    /// [`reserve`] decides.
    async fn refuse_closed(&self, key: &str, address: &str) -> Result<(), ApiError> {
        let (key, address) = (key.to_owned(), address.to_owned());
        let recent = move |tx: &mut dyn Tx| attempt::recent(tx, &key, &address, WRONG_MAX);
        let recent = self.inner.store.read(recent).await?;
        refusal(&recent, clock::now())
    }

    /// Tells the log, and the audit log as far as its share of the minute goes: strangers must not be able to fill
    /// the disk.
    async fn note_failure(
        &self,
        actor: String,
        action: &'static str,
        from: ClientAddress,
    ) -> Result<(), ApiError> {
        tracing::warn!(account = actor, address = %from.0, "wrong password");
        let Some(is_last) = self.inner.failures.take(clock::now()) else {
            return Ok(());
        };
        let more = if is_last { LAST_OF_MINUTE } else { "" };
        let detail = format!("from {}{more}", from.0);
        let note =
            move |tx: &mut dyn Tx| audit::insert(tx, Entry::by(&actor, action).saying(&detail));
        self.inner.store.write(note).await.map_err(ApiError::from)
    }
}

/// A guess that is written down already: of a secret that isn't a password, counted by the same rule.
pub struct Guess {
    account: &'static str,
    address: String,
}

impl Guess {
    /// Takes the guesses from this address away, as a right one does.
    pub fn was_right(&self, tx: &mut dyn Tx) -> Result<(), ApiError> {
        Ok(attempt::clear(tx, self.account, &self.address)?)
    }
}

impl Auth {
    /// Writes a guess down before it is looked at; a 429 after ten wrong ones within a minute.
    pub async fn guess(
        &self,
        account: &'static str,
        from: ClientAddress,
    ) -> Result<Guess, ApiError> {
        let address = from.0.to_string();
        self.refuse_closed(account, &address).await?;
        let guess = Guess {
            account,
            address: address.clone(),
        };
        let write = move |tx: &mut dyn Tx| reserve(tx, account, &address, clock::now());
        self.inner.store.write::<_, ApiError>(write).await?;
        Ok(guess)
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

    #[test]
    fn strangers_cant_fill_the_audit_log() {
        let (failures, now) = (Failures::default(), Timestamp::from_millis(1_000_000));
        let taken: Vec<Option<bool>> = (0..200).map(|_| failures.take(now)).collect();
        assert_eq!(taken.iter().flatten().count(), 120);
        assert_eq!(
            taken.iter().position(|place| *place == Some(true)),
            Some(119)
        );
        assert_eq!(failures.take(now.plus_millis(60_000)), Some(false));
    }
}
