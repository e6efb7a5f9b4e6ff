//! Which process an agent instance is. A copied state folder, or a cloned machine, makes two live
//! ones of the same instance: the one that was there first goes on, the second must make an
//! instance of its own.
//!
//! Whether the first one still lives only its next poll can tell. Until then, or until it was
//! silent for long enough, the other one gets no job. A process that starts again over the same
//! state folder in the same boot has the same id, and does not wait.

/// How long a process that another one challenges may be silent before it counts as gone. Its open
/// poll ends at once, so one that lives polls again within seconds.
const ANSWERS_WITHIN_MS: u64 = 10_000;
/// Processes of an instance that are remembered after they were replaced, or told to leave it.
const REMEMBERED: usize = 8;

/// Which of an instance's processes a poll is of.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The only one.
    #[default]
    Settled,
    /// The first one, and there is another: its next poll shows that it lives.
    Challenged,
    /// Another one than the first, which may live or not.
    Unproven,
    /// The second of two that live.
    Second,
}

/// What a poll shows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sign {
    pub(super) standing: Standing,
    /// Open polls of this instance should be answered.
    pub(super) is_news: bool,
    /// Two live processes were recognised just now.
    pub(super) recognised: bool,
}

#[derive(Debug)]
struct Process {
    id: String,
    seen_ms: u64,
}

/// The processes of one agent instance.
#[derive(Debug)]
pub(super) struct Processes {
    /// When the first one was seen here.
    since_ms: u64,
    lease_ms: u64,
    first: Option<Process>,
    /// Another one, and when it came.
    challenger: Option<Process>,
    /// Those that must make instances of their own.
    second: Vec<String>,
    /// Those that were the first one before.
    earlier: Vec<Process>,
    /// Those that said goodbye.
    gone: Vec<String>,
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
            gone: Vec::new(),
        }
    }

    /// A poll.
    pub(super) fn sign(&mut self, id: &str, now_ms: u64) -> Sign {
        let settled = Sign::default();
        if self.second.iter().any(|second| second == id) {
            return Sign {
                standing: Standing::Second,
                ..settled
            };
        }
        self.gone.retain(|gone| gone != id);
        let patience_ms = ANSWERS_WITHIN_MS.min(self.lease_ms);
        match &mut self.first {
            Some(first) if first.id == id => {
                first.seen_ms = now_ms;
                let Some(other) = self.challenger.take() else {
                    return settled;
                };
                push(&mut self.second, other.id);
                Sign {
                    is_news: true,
                    recognised: true,
                    ..settled
                }
            }
            Some(first) => {
                let is_news = self.challenger.as_ref().is_none_or(|other| other.id != id);
                if is_news {
                    self.challenger = Some(Process {
                        id: id.to_owned(),
                        seen_ms: now_ms,
                    });
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
        let next = Process {
            id: id.to_owned(),
            seen_ms: now_ms,
        };
        if let Some(before) = self.first.replace(next) {
            push(&mut self.earlier, before);
        }
    }

    /// A poll of the only process; false, and nothing recorded, if it is not that one.
    pub(super) fn sign_of_known(&mut self, id: &str, now_ms: u64) -> bool {
        match &mut self.first {
            Some(first) if first.id == id && self.challenger.is_none() => {
                first.seen_ms = now_ms;
                true
            }
            _ => false,
        }
    }

    pub(super) fn standing(&self, id: &str) -> Standing {
        if self.second.iter().any(|second| second == id) {
            return Standing::Second;
        }
        let is_first = self.first.as_ref().is_none_or(|first| first.id == id);
        match (is_first, &self.challenger) {
            (true, None) => Standing::Settled,
            (true, Some(_)) => Standing::Challenged,
            (false, _) => Standing::Unproven,
        }
    }

    /// Whether a process, which may be unknown here, has gone or was silent for a lease.
    pub(super) fn is_silent(&self, id: &str, now_ms: u64) -> bool {
        if self.gone.iter().any(|gone| gone == id) {
            return true;
        }
        let mut known = self.first.iter().chain(&self.earlier);
        let seen_ms = known
            .find(|process| process.id == id)
            .map_or(self.since_ms, |process| process.seen_ms);
        now_ms.saturating_sub(seen_ms) >= self.lease_ms
    }

    /// Goodbye of a process; without an id, of the first one.
    pub(super) fn gone(&mut self, id: Option<&str>) {
        let is_first = |first: &mut Process| id.is_none_or(|id| first.id == id);
        if let Some(first) = self.first.take_if(is_first) {
            push(&mut self.gone, first.id);
        } else if let Some(id) = id {
            let challenger = &mut self.challenger;
            if challenger.take_if(|other| other.id == id).is_some() {
                push(&mut self.gone, id.to_owned());
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
    fn the_second_of_two_live_processes_is_told_once_the_first_polls_again() {
        let mut processes = Processes::since(0, 90);
        assert_eq!(processes.sign("a", 0), Sign::default());
        let sign = processes.sign("b", 1_000);
        assert_eq!((sign.standing, sign.is_news), (Standing::Unproven, true));
        assert_eq!(processes.standing("a"), Standing::Challenged);
        assert!(processes.sign("a", 2_000).recognised);
        assert_eq!(processes.standing("b"), Standing::Second);
        assert!(!processes.sign("b", 3_000).recognised);
        assert_eq!(processes.standing("a"), Standing::Settled);
    }

    #[test]
    fn a_process_replaces_one_that_has_gone_or_is_silent() {
        let mut processes = Processes::since(0, 90);
        processes.sign("a", 0);
        processes.gone(Some("a"));
        assert_eq!(processes.sign("b", 500).standing, Standing::Settled);
        assert!(processes.is_silent("a", 500));
        // Without a goodbye: no job for ten seconds, the other one's jobs after a lease.
        assert_eq!(processes.sign("c", 1_000).standing, Standing::Unproven);
        assert_eq!(processes.sign("c", 10_999).standing, Standing::Unproven);
        assert_eq!(processes.sign("c", 11_000).standing, Standing::Settled);
        assert!(!processes.is_silent("b", 90_499));
        assert!(processes.is_silent("b", 90_500));
    }

    #[test]
    fn of_a_process_that_nobody_saw_a_lease_of_silence_counts_from_the_start() {
        let processes = Processes::since(5_000, 90);
        assert!(!processes.is_silent("x", 94_999));
        assert!(processes.is_silent("x", 95_000));
    }
}
