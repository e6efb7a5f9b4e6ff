//! Limits on guessing: wrong passwords per account and address, attempts per address, and audit
//! entries about them.
//!
//! An attempt is recorded before its secret is checked, in the transaction that counts, so that
//! concurrent guesses count each other. A right secret removes the account's attempts from that
//! address.

use std::collections::HashSet;
use std::sync::Mutex;

use super::{Auth, ClientAddress};
use crate::clock::{self, Timestamp};
use crate::http::ApiError;
use crate::store::{Tx, attempt};
use crate::sync::lock;

/// Wrong passwords for one account from one address within a minute; one more is refused.
const WRONG_MAX: u64 = 10;
/// Attempts from one address within a minute, for any account: each costs a hash.
const ADDRESS_MAX: u64 = 60;
/// One minute, in milliseconds.
const WINDOW_MILLIS: i64 = 60_000;
/// Pairs of account and address in memory.
const KNOWN_ADDRESSES_MAX: usize = 10_000;
/// Wrong passwords per minute that are written to the audit log.
const AUDITED_MAX: u32 = 120;

/// Seconds until the next attempt is allowed, or `None` if it is allowed now. `recent` has the
/// latest attempts, newest first; the `max`th one closes the window.
fn seconds_until_allowed(recent: &[Timestamp], max: u64, now: Timestamp) -> Option<u64> {
    let oldest = recent.get(max as usize - 1)?;
    let left = WINDOW_MILLIS - now.millis_since(*oldest);
    (left > 0).then(|| (left as u64).div_ceil(1_000).clamp(1, 60))
}

fn check_limit(recent: &[Timestamp], max: u64, now: Timestamp) -> Result<(), ApiError> {
    seconds_until_allowed(recent, max, now).map_or(Ok(()), |seconds| {
        Err(ApiError::too_many(
            format!("Too many failed attempts; try again in {seconds} s"),
            seconds,
        ))
    })
}

/// The account and the address that an attempt counts against.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// An email as typed, or the name of a secret that belongs to no account.
    pub(super) account: String,
    pub(super) address: String,
    /// Whether the account signed in from this address before. Such an attempt is exempt from the
    /// address's limit: somebody who tries many accounts must not lock out people who share the
    /// address. The account's own limit still applies.
    pub(super) is_known_address: bool,
}

impl Attempt {
    /// A 429 if the account or the address has used up its attempts.
    fn check_limits(&self, tx: &mut dyn Tx, now: Timestamp) -> Result<(), ApiError> {
        let recent = attempt::recent(tx, &self.account, &self.address, WRONG_MAX)?;
        check_limit(&recent, WRONG_MAX, now)?;
        self.check_address_limit(tx, now)
    }

    fn check_address_limit(&self, tx: &mut dyn Tx, now: Timestamp) -> Result<(), ApiError> {
        if self.is_known_address {
            return Ok(());
        }
        let recent = attempt::recent_of_address(tx, &self.address, ADDRESS_MAX)?;
        check_limit(&recent, ADDRESS_MAX, now)
    }

    /// Records the attempt, or returns a 429.
    pub(super) fn record(&self, tx: &mut dyn Tx) -> Result<(), ApiError> {
        let now = clock::now();
        prune(tx, now)?;
        self.check_limits(tx, now)?;
        Ok(attempt::insert(tx, &self.account, &self.address, now)?)
    }

    /// Records an attempt that only the address's limit applies to, or returns a 429.
    pub(super) fn record_for_address(&self, tx: &mut dyn Tx) -> Result<(), ApiError> {
        let now = clock::now();
        prune(tx, now)?;
        self.check_address_limit(tx, now)?;
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

/// Accounts and the addresses they signed in from since this server started.
#[derive(Default)]
pub(super) struct KnownAddresses(Mutex<HashSet<(String, String)>>);

impl KnownAddresses {
    fn add(&self, account: &str, address: &str) {
        let mut pairs = lock(&self.0);
        if pairs.len() >= KNOWN_ADDRESSES_MAX {
            pairs.clear();
        }
        pairs.insert((account.to_owned(), address.to_owned()));
    }

    fn contains(&self, account: &str, address: &str) -> bool {
        lock(&self.0).contains(&(account.to_owned(), address.to_owned()))
    }
}

/// How many wrong passwords the audit log has taken in the minute that began at the time.
#[derive(Default)]
pub(super) struct AuditBudget(Mutex<Option<(Timestamp, u32)>>);

impl AuditBudget {
    /// Takes one audit entry and returns whether it is the last of this minute; `None` if none is
    /// left.
    pub(super) fn take(&self, now: Timestamp) -> Option<bool> {
        let mut minute = lock(&self.0);
        let (began, taken) = minute
            .filter(|(began, _)| now.millis_since(*began).abs() < WINDOW_MILLIS)
            .unwrap_or((now, 0));
        *minute = Some((began, (taken + 1).min(AUDITED_MAX)));
        (taken < AUDITED_MAX).then_some(taken + 1 == AUDITED_MAX)
    }
}

/// A recorded guess of a secret other than a password. The password limits apply.
pub struct Guess(Attempt);

impl Guess {
    /// Removes the guesses from this address once the secret turned out right.
    pub fn accept(&self, tx: &mut dyn Tx) -> Result<(), ApiError> {
        Ok(attempt::clear(tx, &self.0.account, &self.0.address)?)
    }
}

impl Auth {
    pub(super) fn attempt(&self, account: &str, from: ClientAddress) -> Attempt {
        let address = from.attempt_key();
        Attempt {
            is_known_address: self.inner.known_addresses.contains(account, &address),
            account: account.to_owned(),
            address,
        }
    }

    /// Remembers that this account signed in from this address.
    pub(super) fn remember_address(&self, account: &str, from: ClientAddress) {
        self.inner.known_addresses.add(account, &from.attempt_key());
    }

    /// A 429 for an attempt over the limit, before it queues for a hash. [`Attempt::record`] has
    /// the final say.
    pub(super) async fn check_limits(&self, attempt: &Attempt) -> Result<(), ApiError> {
        let attempt = attempt.clone();
        let check = move |tx: &mut dyn Tx| attempt.check_limits(tx, clock::now());
        self.inner.store.read::<_, ApiError>(check).await
    }

    /// Records a guess before it is checked; a 429 after ten wrong ones within a minute. `account`
    /// is the name to count under. It has no `@`, so that no email equals it.
    pub async fn record_guess(
        &self,
        account: &'static str,
        from: ClientAddress,
    ) -> Result<Guess, ApiError> {
        let attempt = self.attempt(account, from);
        self.check_limits(&attempt).await?;
        let recorded = attempt.clone();
        let record = move |tx: &mut dyn Tx| recorded.record(tx);
        self.inner.store.write::<_, ApiError>(record).await?;
        Ok(Guess(attempt))
    }

    /// Whether there were guesses under that name from that address within the last minute. Saves
    /// a write when a right secret is sent often.
    pub async fn has_guesses(
        &self,
        account: &'static str,
        from: ClientAddress,
    ) -> Result<bool, ApiError> {
        let attempt = self.attempt(account, from);
        let recent =
            move |tx: &mut dyn Tx| attempt::recent(tx, &attempt.account, &attempt.address, 1);
        Ok(!self.inner.store.read(recent).await?.is_empty())
    }

    /// Removes the guesses from an address that sent the right secret.
    pub async fn accept_guess(&self, guess: Guess) -> Result<(), ApiError> {
        let clear = move |tx: &mut dyn Tx| guess.accept(tx);
        self.inner.store.write::<_, ApiError>(clear).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_attempts_close_the_window_until_the_minute_is_over() {
        let at = |seconds: i64| Timestamp::from_millis(1_000_000_000 + seconds * 1_000);
        let every_second: Vec<Timestamp> = (0..10).rev().map(at).collect();
        let wait = |recent: &[Timestamp], now| seconds_until_allowed(recent, 10, at(now));
        assert_eq!(wait(&every_second[1..], 10), None, "nine");
        assert_eq!(wait(&every_second, 10), Some(50));
        assert_eq!(wait(&every_second, 59), Some(1));
        assert_eq!(wait(&every_second, 60), None);
        assert_eq!(wait(&every_second, -5), Some(60), "clock set back");
    }

    #[test]
    fn strangers_cannot_fill_the_audit_log() {
        let (budget, now) = (AuditBudget::default(), Timestamp::from_millis(1_000_000));
        let taken: Vec<Option<bool>> = (0..200).map(|_| budget.take(now)).collect();
        assert_eq!(taken.iter().flatten().count(), 120);
        assert_eq!(
            taken.iter().position(|entry| *entry == Some(true)),
            Some(119)
        );
        assert_eq!(budget.take(now.plus_millis(60_000)), Some(false));
    }
}
