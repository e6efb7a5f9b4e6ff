//! What may go wrong with a call, decided by a seed, and how often it did.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::random::Random;

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Only a part of the request gets through, then both sides are cut.
    RequestCut,
    /// The server acts; its answer never arrives.
    AnswerLost,
    /// The server acts; a part of its answer arrives.
    AnswerCut,
    /// The server gets the request twice, and the answer is the second.
    Twice,
    /// The server gets it again when the call is long over.
    AgainLater,
    /// The request waits on its way.
    Delayed,
    /// Request and answer trickle.
    Throttled,
    /// The call breaks, and no connection is taken for a while.
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

/// A fault with its measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hurt {
    pub(crate) fault: Fault,
    /// How long it takes, where it takes time.
    pub(crate) time: Duration,
    /// Where the cut is, of a hundred.
    pub(crate) percent: usize,
}

/// Decides, and counts. The same seed decides the same about the n-th call of a kind on a line, in
/// whatever order the calls of different lines come.
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
    /// Hurts about `percent` of a hundred calls.
    pub(crate) fn new(seed: u64, percent: u64) -> Self {
        Self {
            seed,
            percent,
            counts: Mutex::default(),
        }
    }

    /// What happens to the next call of `kind` on `line`.
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

    /// Calls, and those of them that were hurt.
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
fn the_same_seed_decides_the_same_and_another_otherwise() {
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
