//! How a job's output is sent if something between agent and server refuses it, such as a proxy
//! that filters content: in smaller batches, then as base64, and in the end without the part that
//! is refused.

use std::time::Duration;

use hyprbox_protocol::PerStream;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::client::CallError;
use crate::spool::BATCH_BYTES;

/// Batches never become smaller than this.
const SMALLEST_BATCH: usize = 8 * 1024;
/// After this many refusals of one form, the batch is sent in another.
const REFUSALS: u32 = 2;
/// After this many failed calls in a row, all output counts as refused if the server answers other
/// calls.
const HOPELESS_FAILURES: u32 = 5;
/// The same if there was no answer at all: a bad connection is not a refusal.
const HOPELESS_SILENCES: u32 = 12;
/// How often the server must have answered another call between two failures.
const HOPELESS_ANSWERS: u32 = 2;

/// How long that must have gone on: a proxy or a server that restarts is back before.
const HOPELESS_AFTER: Duration = Duration::from_secs(10);

/// What to do with a batch that something on the path refuses.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send it again, in the form that the policy now has.
    SendAgain,
    /// Leave it out.
    Drop,
}

/// How batches are sent, and how the last calls went.
pub(super) struct UploadPolicy {
    pub(super) backoff: Backoff,
    /// The most bytes in a batch that the path accepts.
    max_bytes: usize,
    /// Whether text is sent as base64, which content filters don't read.
    pub(super) base64: bool,
    /// Up to these offsets batches are as small as possible, so that as little as possible is
    /// dropped.
    small_until: Option<PerStream<u64>>,
    /// Failed calls in a row, and when the first of them failed.
    failures: u32,
    failing_since: Option<Instant>,
    /// How many of these failures were answers from something on the path.
    refusals: u32,
    /// Refusals of the current form.
    refusals_of_form: u32,
    has_dropped: bool,
    /// The server's answers to calls of any kind, as of the last failure.
    answers: u64,
    /// Failures between which the server answered another call.
    contradictions: u32,
}

impl UploadPolicy {
    pub(super) fn new() -> Self {
        Self {
            backoff: Backoff::default(),
            max_bytes: BATCH_BYTES,
            base64: false,
            small_until: None,
            failures: 0,
            failing_since: None,
            refusals: 0,
            refusals_of_form: 0,
            has_dropped: false,
            answers: 0,
            contradictions: 0,
        }
    }

    /// The most bytes that the next batch may have.
    pub(super) fn batch_bytes(&self) -> usize {
        match self.small_until {
            Some(_) => SMALLEST_BATCH,
            None => self.max_bytes,
        }
    }

    /// Halves the next batches if this one, of `bytes` bytes, was too large for the server or
    /// something on the path. Returns false if that was not the reason, or if they can't be
    /// smaller.
    pub(super) fn halve(&mut self, error: &CallError, bytes: usize) -> bool {
        let is_too_large = error.status() == Some(413)
            || (error.foreign_status() == Some(413) && bytes > SMALLEST_BATCH);
        let can_halve = is_too_large && self.batch_bytes() > SMALLEST_BATCH;
        if can_halve {
            self.max_bytes /= 2;
        }
        can_halve
    }

    /// Whether this batch is sent for the first time.
    pub(super) fn is_first_try(&self) -> bool {
        self.failures == 0
    }

    /// The server has everything before `next`.
    pub(super) fn passed(&mut self, next: PerStream<u64>) {
        self.backoff.reset();
        self.failures = 0;
        self.failing_since = None;
        self.refusals = 0;
        self.refusals_of_form = 0;
        self.contradictions = 0;
        self.reached(next);
    }

    fn reached(&mut self, next: PerStream<u64>) {
        let until = self.small_until;
        if until.is_some_and(|until| next.iter().all(|(stream, next)| *next >= until[stream])) {
            self.small_until = None;
            self.has_dropped = false;
        }
    }

    /// Records a failed call that the server did not refuse. `answers` counts the server's answers
    /// to calls of any kind so far.
    pub(super) fn failed(&mut self, error: &CallError, answers: u64) {
        self.failures += 1;
        self.failing_since.get_or_insert_with(Instant::now);
        match error {
            CallError::Foreign { .. } => {
                self.refusals += 1;
                self.refusals_of_form += 1;
            }
            CallError::Network(_) => {}
            CallError::Unauthorized { .. } | CallError::Status { .. } => {
                // The server itself answered, so nothing on the path refuses.
                self.refusals = 0;
                self.refusals_of_form = 0;
                self.contradictions = 0;
            }
        }
        if self.failures > 1 && error.status().is_none() && answers > self.answers {
            self.contradictions += 1;
        }
        self.answers = answers;
    }

    /// Whether it is time to find out if only this batch is refused.
    pub(super) fn may_be_the_content(&self) -> bool {
        let enough = if self.has_dropped { 1 } else { REFUSALS };
        self.refusals_of_form >= enough
    }

    /// Chooses what to do with a batch of `bytes` bytes that ends at `end`, if only this batch is
    /// refused.
    pub(super) fn change_form(&mut self, bytes: usize, end: PerStream<u64>) -> Step {
        self.passed(PerStream::default());
        if !self.base64 {
            self.base64 = true;
            return Step::SendAgain;
        }
        if bytes > SMALLEST_BATCH {
            self.small_until = Some(end);
            return Step::SendAgain;
        }
        self.has_dropped = self.small_until.is_some();
        self.reached(end);
        Step::Drop
    }

    /// Whether the path refuses this job's output, though it lets other calls pass.
    pub(super) fn is_hopeless(&self, now: Instant) -> bool {
        let enough = if self.refusals >= HOPELESS_FAILURES {
            HOPELESS_FAILURES
        } else {
            HOPELESS_SILENCES
        };
        let is_lasting = self
            .failing_since
            .is_some_and(|since| now.duration_since(since) >= HOPELESS_AFTER);
        is_lasting && self.failures >= enough && self.contradictions >= HOPELESS_ANSWERS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign() -> CallError {
        CallError::Foreign {
            status: 403,
            excerpt: String::new(),
            retry_after: None,
        }
    }

    #[test]
    fn a_refused_batch_goes_as_base64_then_in_parts_and_then_not_at_all() {
        let mut policy = UploadPolicy::new();
        let refuse = |policy: &mut UploadPolicy| {
            let mut times = 0;
            while !policy.may_be_the_content() {
                policy.failed(&foreign(), 0);
                times += 1;
            }
            times
        };
        assert_eq!(refuse(&mut policy), 2);
        assert_eq!(
            policy.change_form(20_000, PerStream::new(20_000, 0)),
            Step::SendAgain
        );
        assert!(policy.base64);
        assert_eq!(policy.batch_bytes(), BATCH_BYTES);
        assert_eq!(refuse(&mut policy), 2);
        assert_eq!(
            policy.change_form(20_000, PerStream::new(20_000, 0)),
            Step::SendAgain
        );
        assert_eq!(policy.batch_bytes(), SMALLEST_BATCH);
        policy.passed(PerStream::new(8_192, 0));
        assert_eq!(policy.batch_bytes(), SMALLEST_BATCH);
        assert_eq!(refuse(&mut policy), 2);
        assert_eq!(
            policy.change_form(8_192, PerStream::new(16_384, 0)),
            Step::Drop
        );
        // The batches next to it are dropped sooner.
        assert_eq!(refuse(&mut policy), 1);
        assert_eq!(
            policy.change_form(3_616, PerStream::new(20_000, 0)),
            Step::Drop
        );
        assert_eq!(policy.batch_bytes(), BATCH_BYTES);
        assert!(!policy.is_hopeless(Instant::now() + HOPELESS_AFTER));
    }

    #[test]
    fn output_is_given_up_only_if_the_server_answers_other_calls_meanwhile() {
        let mut policy = UploadPolicy::new();
        for _ in 0..100 {
            policy.failed(&foreign(), 7);
        }
        assert!(
            !policy.is_hopeless(Instant::now() + HOPELESS_AFTER),
            "nothing comes through at all"
        );
        policy.failed(&foreign(), 8);
        policy.failed(&foreign(), 9);
        assert!(policy.is_hopeless(Instant::now() + HOPELESS_AFTER));
        assert!(!policy.is_hopeless(Instant::now()), "it may be a restart");
        policy.passed(PerStream::default());
        assert!(!policy.is_hopeless(Instant::now() + HOPELESS_AFTER));
        // The server's own errors never count.
        for answers in 10..100 {
            let busy = CallError::Status {
                status: 503,
                text: String::new(),
                retry_after: None,
            };
            policy.failed(&busy, answers);
        }
        assert!(!policy.is_hopeless(Instant::now() + HOPELESS_AFTER));
    }
}
