//! Detects two live processes of one agent instance, as a copied state directory or a cloned
//! machine causes them. The first process keeps the instance; the second must create its own.
//!
//! Only its next poll proves that the first process is alive. Until then, or until it was silent
//! for long enough, the other one gets no job. A process that restarts with the same state
//! directory in the same boot has the same id and does not wait.

/// How long a challenged process may be silent before it counts as stopped. Its open poll ends at
/// once, so a live process polls again within seconds.
const ANSWERS_WITHIN_MS: u64 = 10_000;
/// A poll that another server has recorded counts as later than a process's first poll here if it
/// is later by this: the times are measured by two clocks.
const MERGE_MARGIN_MS: u64 = 2_000;
/// Former processes of an instance that are remembered.
const REMEMBERED: usize = 8;

/// The role of a process within its instance.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The only process.
    #[default]
    Settled,
    /// The first process, while there is another: its next poll proves that it is alive.
    Challenged,
    /// Another process than the first, which may or may not be alive.
    Unproven,
    /// The second of two live processes.
    Second,
}

/// Result of a poll.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sign {
    pub(super) standing: Standing,
    /// Whether open polls of this instance should be answered now.
    pub(super) is_news: bool,
    /// Whether this poll proved that there are two live processes.
    pub(super) recognised: bool,
}

#[derive(Debug)]
struct Process {
    id: String,
    /// When it last polled.
    seen_ms: u64,
    /// When it first polled here, since it took its present role.
    since_ms: u64,
}

impl Process {
    fn new(id: &str, now_ms: u64) -> Self {
        Self {
            id: id.to_owned(),
            seen_ms: now_ms,
            since_ms: now_ms,
        }
    }
}

/// The processes of one agent instance.
#[derive(Debug)]
pub(super) struct Processes {
    /// When the first process was first seen here.
    since_ms: u64,
    lease_ms: u64,
    first: Option<Process>,
    /// Another process, and when it first polled.
    challenger: Option<Process>,
    /// Processes that must create their own instance.
    second: Vec<Process>,
    /// Former first processes.
    earlier: Vec<Process>,
    /// Processes that reported that they stop.
    stopped: Vec<String>,
    /// The first process as another server knows it.
    elsewhere: Option<Process>,
}

impl Processes {
    pub(super) fn since(now_ms: u64, lease_seconds: u64) -> Self {
        Self {
            since_ms: now_ms,
            lease_ms: lease_seconds * 1_000,
            first: None,
            challenger: None,
            second: Vec::new(),
            earlier: Vec::new(),
            stopped: Vec::new(),
            elsewhere: None,
        }
    }

    /// The first process, and when it last polled.
    pub(super) fn first(&self) -> Option<(&str, u64)> {
        let first = self.first.as_ref()?;
        Some((&first.id, first.seen_ms))
    }

    /// Merges the first process that the servers have agreed on. Returns whether the one that this
    /// server took for the first turns out to be the second: the other one has polled after it
    /// began.
    pub(super) fn merge_first(&mut self, id: &str, seen_ms: u64) -> bool {
        self.elsewhere = Some(Process::new(id, seen_ms));
        let is_second = self
            .first
            .as_ref()
            .is_some_and(|own| own.id != id && seen_ms > own.since_ms + MERGE_MARGIN_MS);
        if !is_second || self.stopped.iter().any(|stopped| stopped == id) {
            return false;
        }
        self.second.retain(|second| second.id != id);
        self.challenger = None;
        if let Some(own) = self.first.replace(Process::new(id, seen_ms)) {
            push(&mut self.second, own);
        }
        true
    }

    /// Records a poll.
    pub(super) fn record_poll(&mut self, id: &str, now_ms: u64) -> Sign {
        let settled = Sign::default();
        if let Some(second) = self.second.iter_mut().find(|second| second.id == id) {
            second.seen_ms = now_ms;
            return Sign {
                standing: Standing::Second,
                ..settled
            };
        }
        self.stopped.retain(|stopped| stopped != id);
        let patience_ms = ANSWERS_WITHIN_MS.min(self.lease_ms);
        match &mut self.first {
            Some(first) if first.id == id => {
                first.seen_ms = now_ms;
                let Some(other) = self.challenger.take() else {
                    return settled;
                };
                push(&mut self.second, other);
                Sign {
                    is_news: true,
                    recognised: true,
                    ..settled
                }
            }
            Some(first) => {
                let is_news = self.challenger.as_ref().is_none_or(|other| other.id != id);
                if is_news {
                    self.challenger = Some(Process::new(id, now_ms));
                }
                let came_ms = self
                    .challenger
                    .as_ref()
                    .map_or(now_ms, |other| other.seen_ms);
                let is_silent = now_ms.saturating_sub(first.seen_ms) >= self.lease_ms
                    || now_ms.saturating_sub(came_ms) >= patience_ms;
                if !is_silent {
                    return Sign {
                        standing: Standing::Unproven,
                        is_news,
                        recognised: false,
                    };
                }
                self.challenger = None;
                self.replace_first(id, now_ms);
                settled
            }
            None => {
                self.replace_first(id, now_ms);
                settled
            }
        }
    }

    fn replace_first(&mut self, id: &str, now_ms: u64) {
        self.earlier.retain(|earlier| earlier.id != id);
        if let Some(before) = self.first.replace(Process::new(id, now_ms)) {
            push(&mut self.earlier, before);
        }
    }

    /// Records a poll of the only process. Returns false and records nothing for any other.
    pub(super) fn record_known(&mut self, id: &str, now_ms: u64) -> bool {
        match &mut self.first {
            Some(first) if first.id == id && self.challenger.is_none() => {
                first.seen_ms = now_ms;
                true
            }
            _ => false,
        }
    }

    pub(super) fn standing(&self, id: &str) -> Standing {
        if self.is_second(id) {
            return Standing::Second;
        }
        let is_first = self.first.as_ref().is_none_or(|first| first.id == id);
        match (is_first, &self.challenger) {
            (true, None) => Standing::Settled,
            (true, Some(_)) => Standing::Challenged,
            (false, _) => Standing::Unproven,
        }
    }

    fn is_second(&self, id: &str) -> bool {
        self.second.iter().any(|second| second.id == id)
    }

    /// The standing of a process towards a job that `claimer` has claimed. It may report on the job
    /// if it is `Settled`.
    pub(super) fn standing_for(&self, id: &str, claimer: &str, now_ms: u64) -> Standing {
        if id == claimer {
            return Standing::Settled;
        }
        let standing = self.standing(id);
        // A process that was replaced had been asked for a sign of life, and was silent.
        let is_replaced = || {
            let mut replaced = self.earlier.iter();
            replaced.any(|earlier| earlier.id == claimer) && !self.is_second(claimer)
        };
        match standing {
            Standing::Settled if self.is_silent(claimer, now_ms) || is_replaced() => {
                Standing::Settled
            }
            Standing::Second => Standing::Second,
            Standing::Settled | Standing::Challenged | Standing::Unproven => Standing::Unproven,
        }
    }

    /// Whether a process, known or not, has stopped or was silent for a lease.
    pub(super) fn is_silent(&self, id: &str, now_ms: u64) -> bool {
        if self.stopped.iter().any(|stopped| stopped == id) {
            return true;
        }
        let current = self.first.iter().chain(&self.second);
        let known = self.elsewhere.iter().chain(current).chain(&self.earlier);
        let seen_ms = known
            .filter(|process| process.id == id)
            .map(|process| process.seen_ms)
            .max()
            .unwrap_or(self.since_ms);
        now_ms.saturating_sub(seen_ms) >= self.lease_ms
    }

    /// Records that a process stops; without an id, the first one.
    pub(super) fn record_stop(&mut self, id: Option<&str>) {
        let is_first = |first: &mut Process| id.is_none_or(|id| first.id == id);
        if let Some(first) = self.first.take_if(is_first) {
            push(&mut self.stopped, first.id);
        } else if let Some(id) = id {
            let challenger = &mut self.challenger;
            if challenger.take_if(|other| other.id == id).is_some() {
                push(&mut self.stopped, id.to_owned());
            }
        }
    }
}

fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() >= REMEMBERED {
        list.remove(0);
    }
    list.push(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_live_process_is_recognised_when_the_first_polls_again() {
        let mut processes = Processes::since(0, 90);
        assert_eq!(processes.record_poll("a", 0), Sign::default());
        let sign = processes.record_poll("b", 1_000);
        assert_eq!((sign.standing, sign.is_news), (Standing::Unproven, true));
        assert_eq!(processes.standing("a"), Standing::Challenged);
        assert!(processes.record_poll("a", 2_000).recognised);
        assert_eq!(processes.standing("b"), Standing::Second);
        assert!(!processes.record_poll("b", 3_000).recognised);
        assert_eq!(processes.standing("a"), Standing::Settled);
    }

    #[test]
    fn a_process_replaces_one_that_stopped_or_is_silent() {
        let mut processes = Processes::since(0, 90);
        processes.record_poll("a", 0);
        processes.record_stop(Some("a"));
        assert_eq!(processes.record_poll("b", 500).standing, Standing::Settled);
        assert!(processes.is_silent("a", 500));
        // Without a stop: no job for ten seconds, and the other process's jobs after a lease.
        assert_eq!(
            processes.record_poll("c", 1_000).standing,
            Standing::Unproven
        );
        assert_eq!(
            processes.record_poll("c", 10_999).standing,
            Standing::Unproven
        );
        assert_eq!(
            processes.record_poll("c", 11_000).standing,
            Standing::Settled
        );
        assert!(!processes.is_silent("b", 90_499));
        assert!(processes.is_silent("b", 90_500));
    }

    #[test]
    fn a_job_is_reported_by_its_claimer_or_once_that_one_is_gone() {
        use Standing::{Second, Settled, Unproven};
        let mut processes = Processes::since(0, 90);
        processes.record_poll("a", 0);
        assert_eq!(processes.standing_for("b", "a", 0), Unproven);
        processes.record_poll("b", 1_000);
        assert_eq!(processes.standing_for("b", "a", 1_000), Unproven);
        assert_eq!(processes.standing_for("a", "a", 1_000), Settled);
        processes.record_poll("b", 11_000);
        assert_eq!(processes.standing_for("b", "a", 11_000), Settled);
        // The first process is back: it keeps its job, whichever process keeps the instance.
        processes.record_poll("a", 12_000);
        assert_eq!(processes.standing_for("b", "a", 12_000), Unproven);
        assert!(processes.record_poll("b", 13_000).recognised);
        assert_eq!(processes.standing_for("a", "a", 13_000), Settled);
        assert_eq!(processes.standing_for("a", "b", 13_000), Second);
        processes.record_poll("a", 100_000);
        processes.record_poll("b", 100_000);
        assert_eq!(processes.standing_for("b", "a", 189_999), Unproven);
        assert_eq!(processes.standing_for("b", "a", 190_000), Settled);
    }

    #[test]
    fn a_server_that_has_just_started_waits_a_lease_for_an_unknown_claimer() {
        let mut processes = Processes::since(0, 90);
        processes.record_poll("b", 0);
        assert_eq!(processes.standing_for("b", "a", 89_999), Standing::Unproven);
        assert_eq!(processes.standing_for("b", "a", 90_000), Standing::Settled);
        processes.record_poll("a", 0);
        processes.record_stop(Some("a"));
        assert_eq!(processes.standing_for("b", "a", 1), Standing::Settled);
    }

    #[test]
    fn of_two_processes_at_two_servers_the_stored_one_is_the_first() {
        let mut processes = Processes::since(0, 90);
        processes.record_poll("b", 10_000);
        assert!(!processes.merge_first("b", 10_000), "it is our own");
        // The other one has not polled since: it may have been replaced, as by a reboot.
        assert!(!processes.merge_first("a", 9_000));
        assert!(!processes.merge_first("a", 12_000));
        assert_eq!(processes.standing("b"), Standing::Settled);
        assert!(processes.merge_first("a", 12_001));
        assert_eq!(processes.standing("b"), Standing::Second);
        assert!(!processes.merge_first("a", 20_000), "it is known");
        // It holds its job as long as the other server sees it.
        assert!(!processes.is_silent("a", 109_999));
        assert!(processes.is_silent("a", 110_000));
    }

    #[test]
    fn an_unknown_process_counts_as_seen_at_the_start() {
        let processes = Processes::since(5_000, 90);
        assert!(!processes.is_silent("x", 94_999));
        assert!(processes.is_silent("x", 95_000));
    }
}
