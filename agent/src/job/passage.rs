//! How a job's output gets past something on the path that refuses it.

use hyprbox_protocol::Stream;

use crate::backoff::Backoff;
use crate::client::CallError;
use crate::spool::BATCH_BYTES;

/// Batches never become smaller than this, whatever the path refuses.
const SMALLEST_BATCH: usize = 8 * 1024;
/// After so many refusals of one form, the batch is sent in another.
const REFUSALS: u32 = 2;
/// After so many failed calls in a row, output counts as refused altogether if the server answers
/// other calls.
const HOPELESS_FAILURES: u32 = 5;
/// The same if no answer of any kind came: a bad line is no refusal.
const HOPELESS_SILENCES: u32 = 12;
/// How often the server must have answered another call between two failures.
const HOPELESS_ANSWERS: u32 = 2;

type Offsets = [u64; Stream::ALL.len()];

/// What to do with a batch that only the path refuses.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send it again, in the form that is now set.
    SendAgain,
    /// Leave it out.
    Drop,
}

/// How batches are sent, and what became of the last ones.
pub(super) struct Passage {
    pub(super) backoff: Backoff,
    /// The most bytes that a batch may have, as far as the path takes large ones.
    longest: usize,
    /// Whether all text goes as base64, which filters of content don't read.
    pub(super) base64: bool,
    /// Up to here batches are as small as can be, so that no more is dropped than must be.
    small_until: Option<Offsets>,
    /// Failed calls in a row.
    failures: u32,
    /// Those of them that something on the path answered.
    refusals: u32,
    /// Refusals of the present form.
    refusals_of_form: u32,
    has_dropped: bool,
    /// The server's answers to any call, as counted at the last failure.
    answers: u64,
    /// Failures before which the server had answered another call.
    contradictions: u32,
}

impl Passage {
    pub(super) fn new() -> Self {
        Self {
            backoff: Backoff::default(),
            longest: BATCH_BYTES,
            base64: false,
            small_until: None,
            failures: 0,
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
            None => self.longest,
        }
    }

    /// Halves the next batches if this one, of so many bytes, was too large for the server or
    /// something on the path. False if that was not the reason, or they can't be smaller.
    pub(super) fn halve(&mut self, error: &CallError, bytes: usize) -> bool {
        let is_too_large = error.status() == Some(413)
            || (error.foreign_status() == Some(413) && bytes > SMALLEST_BATCH);
        let may = is_too_large && self.batch_bytes() > SMALLEST_BATCH;
        if may {
            self.longest /= 2;
        }
        may
    }

    /// Whether this batch is sent for the first time.
    pub(super) fn is_first_try(&self) -> bool {
        self.failures == 0
    }

    /// The server has everything before `next`.
    pub(super) fn passed(&mut self, next: Offsets) {
        self.backoff.reset();
        self.failures = 0;
        self.refusals = 0;
        self.refusals_of_form = 0;
        self.contradictions = 0;
        self.reached(next);
    }

    fn reached(&mut self, next: Offsets) {
        let until = self.small_until;
        if until.is_some_and(|until| (0..2).all(|s| next[s] >= until[s])) {
            self.small_until = None;
            self.has_dropped = false;
        }
    }

    /// A call failed otherwise than by the server's refusal. `answers` counts the server's answers
    /// to any call so far.
    pub(super) fn failed(&mut self, error: &CallError, answers: u64) {
        self.failures += 1;
        match error {
            CallError::Foreign { .. } => {
                self.refusals += 1;
                self.refusals_of_form += 1;
            }
            CallError::Network(_) => {}
            CallError::Unauthorized { .. } | CallError::Status { .. } => {
                // The server itself speaks, so nothing on the path refuses.
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

    /// Only this batch is refused, which has so many bytes and ends at `end`.
    pub(super) fn change_form(&mut self, bytes: usize, end: Offsets) -> Step {
        self.passed([0; 2]);
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

    /// Whether the path takes no output of this job, though it takes other calls.
    pub(super) fn is_hopeless(&self) -> bool {
        let enough = if self.refusals >= HOPELESS_FAILURES {
            HOPELESS_FAILURES
        } else {
            HOPELESS_SILENCES
        };
        self.failures >= enough && self.contradictions >= HOPELESS_ANSWERS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign() -> CallError {
        CallError::Foreign {
            status: 403,
            words: String::new(),
            retry_after: None,
        }
    }

    #[test]
    fn a_refused_batch_goes_as_base64_then_in_parts_and_then_not_at_all() {
        let mut passage = Passage::new();
        let refuse = |passage: &mut Passage| {
            let mut times = 0;
            while !passage.may_be_the_content() {
                passage.failed(&foreign(), 0);
                times += 1;
            }
            times
        };
        assert_eq!(refuse(&mut passage), 2);
        assert_eq!(passage.change_form(20_000, [20_000, 0]), Step::SendAgain);
        assert!(passage.base64);
        assert_eq!(passage.batch_bytes(), BATCH_BYTES);
        assert_eq!(refuse(&mut passage), 2);
        assert_eq!(passage.change_form(20_000, [20_000, 0]), Step::SendAgain);
        assert_eq!(passage.batch_bytes(), SMALLEST_BATCH);
        passage.passed([8_192, 0]);
        assert_eq!(passage.batch_bytes(), SMALLEST_BATCH);
        assert_eq!(refuse(&mut passage), 2);
        assert_eq!(passage.change_form(8_192, [16_384, 0]), Step::Drop);
        // Its neighbours are given up sooner.
        assert_eq!(refuse(&mut passage), 1);
        assert_eq!(passage.change_form(3_616, [20_000, 0]), Step::Drop);
        assert_eq!(passage.batch_bytes(), BATCH_BYTES);
        assert!(!passage.is_hopeless());
    }

    #[test]
    fn output_is_given_up_only_if_the_server_answers_other_calls_meanwhile() {
        let mut passage = Passage::new();
        for _ in 0..100 {
            passage.failed(&foreign(), 7);
        }
        assert!(!passage.is_hopeless(), "nothing comes through at all");
        passage.failed(&foreign(), 8);
        passage.failed(&foreign(), 9);
        assert!(passage.is_hopeless());
        passage.passed([0; 2]);
        assert!(!passage.is_hopeless());
        // The server's own errors never count.
        for answers in 10..100 {
            let busy = CallError::Status {
                status: 503,
                text: String::new(),
                retry_after: None,
            };
            passage.failed(&busy, answers);
        }
        assert!(!passage.is_hopeless());
    }
}
