//! The times between which a job may be claimed: `notBefore` and the expiry.

use hyprbox_protocol::TimeRange;

use crate::clock::{self, Timestamp};
use crate::http::FieldErrors;
use crate::jobs::JobError;
use crate::store::job::{HoldKind, Holds, NewJob};
use crate::store::{Change, Tx, server_state};

/// How far ahead `notBefore` may be: 366 days.
const NOT_BEFORE_MAX_MS: i64 = 366 * 24 * 3_600 * 1_000;
/// The longest time that a job may wait before it expires: 366 days.
const EXPIRES_MAX_SECONDS: i64 = 31_622_400;
/// How long a job may wait before it expires, as people type it.
pub const EXPIRY_RANGE: TimeRange = TimeRange::seconds(60, EXPIRES_MAX_SECONDS as u64);

/// When a job may be claimed, as a request states it.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClaimTimes {
    /// Not before this time.
    pub not_before: Option<Timestamp>,
    /// Not at or after this many seconds from the creation of the job or the release of its batch.
    pub expires_in_seconds: Option<i64>,
}

impl ClaimTimes {
    /// Checks the values of a request, and adds what is wrong to `faults`.
    pub fn check(
        not_before: Option<&str>,
        expires_in_seconds: Option<i64>,
        faults: &mut FieldErrors,
    ) -> Self {
        let now = clock::now();
        let not_before = not_before.and_then(|text| {
            let at = Timestamp::parse_rfc3339(text);
            if at.is_none() {
                faults.add(
                    "notBefore",
                    "must be a time with its zone, such as 2026-11-24T09:30:00Z",
                );
            }
            at
        });
        let is_near = |at: Timestamp| at.millis_since(now) <= NOT_BEFORE_MAX_MS;
        faults.check(
            not_before.is_none_or(is_near),
            "notBefore",
            "must be at most 366 days ahead",
        );
        let fits =
            expires_in_seconds.is_none_or(|given| (60..=EXPIRES_MAX_SECONDS).contains(&given));
        faults.check(fits, "expiresInSeconds", "must be 60 to 31622400");
        if let (Some(at), Some(seconds)) = (not_before, expires_in_seconds)
            && fits
            && at > now.plus_millis(seconds * 1_000)
        {
            faults.add("notBefore", "must not be later than the job's expiry");
        }
        Self {
            not_before,
            expires_in_seconds,
        }
    }

    /// Whether neither time is given.
    pub fn is_empty(self) -> bool {
        self.not_before.is_none() && self.expires_in_seconds.is_none()
    }

    /// Sets the job's times, by the clock that counts for the database.
    pub(in crate::jobs) fn set(self, tx: &mut dyn Tx, job: &mut NewJob) -> Result<(), JobError> {
        if self.is_empty() {
            return Ok(());
        }
        let now = server_state::now(tx)?;
        job.created_at = now;
        job.not_before = self.not_before;
        job.expires_at = self
            .expires_in_seconds
            .map(|seconds| now.plus_millis(seconds * 1_000));
        if self.not_before.is_some_and(|at| at > now) {
            job.holds = Holds::NONE.with(HoldKind::NotBefore);
        }
        tx.publish(Change::Due);
        Ok(())
    }
}
