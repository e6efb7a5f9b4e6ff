//! Signing in, and the limits on wrong attempts.
//!
//! An attempt is recorded before its password is checked, in the transaction that counts: guesses
//! sent at once then count one another. A right password removes the account's attempts from that
//! address.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use axum::http::StatusCode;

use super::password::check_password;
use super::user::{User, printable};
use super::{Auth, Caller, ClientAddress, Credential, session};
use crate::clock::{self, Timestamp};
use crate::http::{ApiError, FieldErrors};
use crate::store::audit::{self, Entry};
use crate::store::user::Account;
use crate::store::{Change, Tx, attempt, user, user_token};

/// Wrong passwords for one account from one address within a minute that close the door.
const WRONG_MAX: u64 = 10;
/// Attempts from one address within a minute, on whatever accounts, that close the door: each costs
/// a hash.
const ADDRESS_MAX: u64 = 60;
/// The minute, in milliseconds.
const WINDOW_MILLIS: i64 = 60_000;
/// Pairs of account and address that are remembered at most.
const FAMILIAR_MAX: usize = 10_000;

/// Seconds until the next attempt, given the latest ones, newest first, of which `max` close the
/// door. `None`: now.
fn closed_for(recent: &[Timestamp], max: u64, now: Timestamp) -> Option<u64> {
    let oldest = recent.get(max as usize - 1)?;
    let left = WINDOW_MILLIS - now.millis_since(*oldest);
    (left > 0).then(|| (left as u64).div_ceil(1_000).clamp(1, 60))
}

fn refusal(recent: &[Timestamp], max: u64, now: Timestamp) -> Result<(), ApiError> {
    closed_for(recent, max, now).map_or(Ok(()), |seconds| {
        Err(ApiError::too_many(
            format!("Too many wrong tries; try again in {seconds} s"),
            seconds,
        ))
    })
}

/// What an attempt is counted by.
#[derive(Debug, Clone)]
struct Attempt {
    /// An email as typed, or the name of a secret that is no account's.
    account: String,
    address: String,
    /// Whether the account signed in from this address before: whoever tries ever new accounts must
    /// not lock out the people who share the address. Wrong passwords for the account itself count
    /// as ever.
    is_familiar: bool,
}

impl Attempt {
    /// A 429 if the door is closed.
    fn refuse_closed(&self, tx: &mut dyn Tx, now: Timestamp) -> Result<(), ApiError> {
        let recent = attempt::recent(tx, &self.account, &self.address, WRONG_MAX)?;
        refusal(&recent, WRONG_MAX, now)?;
        self.refuse_busy_address(tx, now)
    }

    /// A 429 if the address has had its share of this minute.
    fn refuse_busy_address(&self, tx: &mut dyn Tx, now: Timestamp) -> Result<(), ApiError> {
        if self.is_familiar {
            return Ok(());
        }
        let recent = attempt::recent_of_address(tx, &self.address, ADDRESS_MAX)?;
        refusal(&recent, ADDRESS_MAX, now)
    }

    /// Records the attempt, or refuses it with a 429.
    fn reserve(&self, tx: &mut dyn Tx, now: Timestamp) -> Result<(), ApiError> {
        prune(tx, now)?;
        self.refuse_closed(tx, now)?;
        Ok(attempt::insert(tx, &self.account, &self.address, now)?)
    }
}

fn prune(tx: &mut dyn Tx, now: Timestamp) -> Result<(), ApiError> {
    let (old, future) = (
        now.plus_millis(-WINDOW_MILLIS),
        now.plus_millis(WINDOW_MILLIS),
    );
    Ok(attempt::prune(tx, old, future)?)
}

/// Accounts and the addresses that they signed in from since this server started.
#[derive(Default)]
pub(super) struct Familiar(Mutex<HashSet<(String, String)>>);

impl Familiar {
    fn add(&self, account: &str, address: &str) {
        let mut pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pairs.len() >= FAMILIAR_MAX {
            pairs.clear();
        }
        pairs.insert((account.to_owned(), address.to_owned()));
    }

    fn has(&self, account: &str, address: &str) -> bool {
        let pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pairs.contains(&(account.to_owned(), address.to_owned()))
    }
}

/// Wrong passwords that the audit log takes in a minute.
const FAILURES_MAX: u32 = 120;
const LAST_OF_MINUTE: &str = "; more of this minute are in the server's log alone";

/// How many wrong passwords the audit log took in the minute that began then.
#[derive(Default)]
pub(super) struct Failures(Mutex<Option<(Timestamp, u32)>>);

impl Failures {
    /// A place in the audit log and whether it is this minute's last; `None` when there is none
    /// left.
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
    /// Starts a session for the right password and returns its token. 401 otherwise, in the same
    /// time whether the email exists or not; 429 after ten wrong ones.
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
        let of_start = key.clone();
        let start = move |tx: &mut dyn Tx| {
            attempt::clear(tx, &of_start, &from.counted())?;
            let token = session::start(tx, &account)?.ok_or_else(wrong_credentials)?;
            let user = User::from_record(account.user)?;
            let detail = format!("from {}", from.0);
            audit::insert(tx, Entry::by(&user.email, "user.login").saying(&detail))?;
            Ok((token, user))
        };
        let started = self.inner.store.write::<_, ApiError>(start).await?;
        self.note_familiar(&key, from);
        Ok(started)
    }

    /// Remembers that this account signed in from there.
    pub(super) fn note_familiar(&self, account: &str, from: ClientAddress) {
        self.inner.familiar.add(account, &from.counted());
    }

    /// Changes the caller's own password and ends their other sessions; their personal tokens are
    /// revoked unless `keeps_tokens`. The old password is guarded as a sign-in is; a wrong one is a
    /// 401 `wrong_password`.
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
        let account = self.prove_own(&caller.user, old, from).await?;
        let hash = self.inner.passwords.turn(None).await?;
        let hash = hash.hash(new.to_owned()).await?;
        let (user, credential) = (caller.user.clone(), caller.credential.clone());
        let change = move |tx: &mut dyn Tx| {
            attempt::clear(tx, &user.email, &from.counted())?;
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

    /// The user's account, if that is their password; otherwise a 401 `wrong_password`. The attempt
    /// stays recorded until the caller clears it.
    pub(super) async fn prove_own(
        &self,
        user: &User,
        password: &str,
        from: ClientAddress,
    ) -> Result<Account, ApiError> {
        if let Some(account) = self.prove(&user.email, password, from).await? {
            return Ok(account);
        }
        self.note_failure(user.email.clone(), "user.password_failed", from)
            .await?;
        Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "wrong_password",
            "The old password is wrong",
        ))
    }

    fn attempt(&self, account: &str, from: ClientAddress) -> Attempt {
        let address = from.counted();
        Attempt {
            is_familiar: self.inner.familiar.has(account, &address),
            account: account.to_owned(),
            address,
        }
    }

    /// The account, if the password is its own. The attempt stays recorded until the caller clears
    /// it.
    async fn prove(
        &self,
        key: &str,
        password: &str,
        from: ClientAddress,
    ) -> Result<Option<Account>, ApiError> {
        let attempt = self.attempt(key, from);
        self.refuse_closed(&attempt).await?;
        let address = (!attempt.is_familiar).then_some(attempt.address.as_str());
        // The turn comes before the attempt: no more are open at once than there are turns.
        let turn = self.inner.passwords.turn(address).await?;
        let find = move |tx: &mut dyn Tx| {
            attempt.reserve(tx, clock::now())?;
            Ok(user::find_by_email(tx, &attempt.account)?)
        };
        let account = self.inner.store.write::<_, ApiError>(find).await?;
        let hash = account.as_ref().map(|found| found.password_hash.clone());
        let right = turn.verify(password.to_owned(), hash).await?;
        Ok(account.filter(|_| right))
    }

    /// The hash of a stranger's password. Each counts as an attempt from its address, and is never
    /// taken back.
    pub(super) async fn hash_for_stranger(
        &self,
        password: &str,
        from: ClientAddress,
    ) -> Result<String, ApiError> {
        let attempt = self.attempt("register", from);
        let address = attempt.address.clone();
        let turn = self.inner.passwords.turn(Some(&address)).await?;
        let reserve = move |tx: &mut dyn Tx| {
            let now = clock::now();
            prune(tx, now)?;
            attempt.refuse_busy_address(tx, now)?;
            Ok(attempt::insert(
                tx,
                &attempt.account,
                &attempt.address,
                now,
            )?)
        };
        self.inner.store.write::<_, ApiError>(reserve).await?;
        turn.hash(password.to_owned()).await
    }

    /// A 429 if the door is closed already, before anybody queues for a turn. [`Attempt::reserve`]
    /// decides whether it really is open.
    async fn refuse_closed(&self, attempt: &Attempt) -> Result<(), ApiError> {
        let attempt = attempt.clone();
        let refuse = move |tx: &mut dyn Tx| attempt.refuse_closed(tx, clock::now());
        self.inner.store.read::<_, ApiError>(refuse).await
    }

    /// Tells the log, and the audit log as far as its share of the minute goes: strangers must not
    /// be able to fill the disk.
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

/// A recorded guess of a secret that isn't a password, counted by the same rule.
pub struct Guess(Attempt);

impl Guess {
    /// Removes the guesses from this address, as a right password does.
    pub fn was_right(&self, tx: &mut dyn Tx) -> Result<(), ApiError> {
        Ok(attempt::clear(tx, &self.0.account, &self.0.address)?)
    }
}

impl Auth {
    /// Records a guess before it is checked; a 429 after ten wrong ones within a minute. `account`
    /// is what it is counted under: no email, as it has no `@`.
    pub async fn guess(
        &self,
        account: &'static str,
        from: ClientAddress,
    ) -> Result<Guess, ApiError> {
        let attempt = self.attempt(account, from);
        self.refuse_closed(&attempt).await?;
        let reserved = attempt.clone();
        let reserve = move |tx: &mut dyn Tx| reserved.reserve(tx, clock::now());
        self.inner.store.write::<_, ApiError>(reserve).await?;
        Ok(Guess(attempt))
    }

    /// Whether anybody guessed under that name from there within the last minute. A right answer
    /// that is asked for often then costs no write.
    pub async fn has_guessed(
        &self,
        account: &'static str,
        from: ClientAddress,
    ) -> Result<bool, ApiError> {
        let attempt = self.attempt(account, from);
        let recent =
            move |tx: &mut dyn Tx| attempt::recent(tx, &attempt.account, &attempt.address, 1);
        Ok(!self.inner.store.read(recent).await?.is_empty())
    }

    /// Removes the guesses of whoever guessed right.
    pub async fn was_right(&self, guess: Guess) -> Result<(), ApiError> {
        let clear = move |tx: &mut dyn Tx| guess.was_right(tx);
        self.inner.store.write::<_, ApiError>(clear).await
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
        assert_eq!(closed_for(&every_second[1..], 10, at(10)), None, "nine");
        assert_eq!(closed_for(&every_second, 10, at(10)), Some(50));
        assert_eq!(closed_for(&every_second, 10, at(59)), Some(1));
        assert_eq!(closed_for(&every_second, 10, at(60)), None);
        assert_eq!(
            closed_for(&every_second, 10, at(-5)),
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
