//! Chooses faults for calls by a seed, and counts them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::random::Random;

/// A fault of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Only a part of the request arrives, then both connections are closed.
    RequestCut,
    /// The server handles the request, but its response never arrives.
    AnswerLost,
    /// The server handles the request, and a part of its response arrives.
    AnswerCut,
    /// The server gets the request twice, and the second response arrives.
    Twice,
    /// The server gets the request again after the call is over.
    AgainLater,
    /// The request is delayed.
    Delayed,
    /// Request and response arrive in small parts.
    Throttled,
    /// The call fails, and connections are refused for a while.
    Refused,
}

const ALL: [Fault; 8] = [
    Fault::RequestCut,
    Fault::AnswerLost,
    Fault::AnswerCut,
    Fault::Twice,
    Fault::AgainLater,
    Fault::Delayed,
    Fault::Throttled,
    Fault::Refused,
];

/// A fault with its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hurt {
    pub(crate) fault: Fault,
    /// How long the fault lasts.
    pub(crate) time: Duration,
    /// Where a message is cut, in percent of its length.
    pub(crate) percent: usize,
}

/// Chooses and counts faults. The same seed always chooses the same fault for the n-th call of a
/// kind on a connection, regardless of the order of calls on different connections.
pub(crate) struct Faults {
    seed: u64,
    percent: u64,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    calls: u64,
    numbers: BTreeMap<String, u64>,
    hurt: BTreeMap<Fault, u64>,
}

impl Faults {
    /// Chooses a fault for about `percent` of 100 calls.
    pub(crate) fn new(seed: u64, percent: u64) -> Self {
        Self {
            seed,
            percent,
            counts: Mutex::default(),
        }
    }

    /// Chooses the fault of the next call of `kind` on `line`.
    pub(crate) fn next(&self, line: &str, kind: &str) -> Option<Hurt> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.calls += 1;
        let number = counts.numbers.entry(format!("{line} {kind}")).or_default();
        *number += 1;
        let hurt = self.decide(line, kind, *number);
        if let Some(hurt) = hurt {
            *counts.hurt.entry(hurt.fault).or_default() += 1;
        }
        hurt
    }

    fn decide(&self, line: &str, kind: &str, number: u64) -> Option<Hurt> {
        let mut random = Random::about(self.seed, &[line, kind], number);
        if random.below(100) >= self.percent {
            return None;
        }
        let fault = random.pick(&ALL);
        let longest = if fault == Fault::AgainLater {
            2_500
        } else {
            600
        };
        let millis = random.between(20, longest);
        Some(Hurt {
            fault,
            time: Duration::from_millis(millis),
            percent: usize::try_from(random.below(100)).expect("small"),
        })
    }

    /// Returns the number of calls, and of calls with a fault.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        (counts.calls, counts.hurt.values().sum())
    }

    /// `AnswerLost 12, Twice 9`
    pub(crate) fn by_kind(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let words = counts
            .hurt
            .iter()
            .map(|(fault, count)| format!("{fault:?} {count}"));
        words.collect::<Vec<_>>().join(", ")
    }
}

#[test]
fn the_same_seed_chooses_the_same_faults() {
    let decisions = |seed, lines: &[&str]| -> BTreeMap<String, Vec<Option<Hurt>>> {
        let faults = Faults::new(seed, 30);
        let mut found: BTreeMap<String, Vec<Option<Hurt>>> = BTreeMap::new();
        for _ in 0..500 {
            for line in lines {
                let next = faults.next(line, "output");
                found.entry((*line).to_owned()).or_default().push(next);
            }
        }
        let (calls, hurt) = faults.counts();
        assert!(hurt * 4 > calls && hurt * 3 < calls, "{hurt} of {calls}");
        for fault in ALL {
            assert!(
                faults.by_kind().contains(&format!("{fault:?}")),
                "{fault:?}"
            );
        }
        found
    };
    let one = decisions(1, &["n1", "n2"]);
    assert_eq!(one, decisions(1, &["n2", "n1"]));
    assert_ne!(one, decisions(2, &["n1", "n2"]));
    assert_ne!(one["n1"], one["n2"]);
}
