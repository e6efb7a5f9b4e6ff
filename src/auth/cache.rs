//! What is known of credentials, by the SHA-256 of their token, until anybody's change.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::extract::{Caller, NodeIdentity};
use crate::clock::Timestamp;

/// Remembered credentials at the most; some 10,000 agents and the people beside them.
const ENTRIES_MAX: usize = 20_000;
/// After this long the database is asked again, should a change ever go unheard.
const ASK_AGAIN: Duration = Duration::from_secs(300);
/// A last use is noted again only after this long, in milliseconds.
const NOTE_AGAIN_MILLIS: i64 = 60_000;

/// Whom a token stands for.
#[derive(Debug, Clone)]
pub(super) enum Identity {
    Person(Caller),
    Node(NodeIdentity),
}

/// One credential that was looked up.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) identity: Identity,
    expires_at: Option<Timestamp>,
    noted_at: AtomicI64,
    ask_again: Instant,
}

impl Known {
    /// `expires_at`: from when on the credential is void, `last_used_at`: as the database has it.
    pub(super) fn new(
        identity: Identity,
        expires_at: Option<Timestamp>,
        last_used_at: Option<Timestamp>,
    ) -> Self {
        Self {
            identity,
            expires_at,
            noted_at: AtomicI64::new(last_used_at.map_or(0, Timestamp::as_millis)),
            ask_again: Instant::now() + ASK_AGAIN,
        }
    }

    /// Whether it has run out.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    /// Whether this use is to be noted: the first one, and then once a minute. True for one of
    /// several callers at once.
    pub(super) fn is_use_to_note(&self, now: Timestamp) -> bool {
        let (now, noted) = (now.as_millis(), self.noted_at.load(Ordering::Relaxed));
        // A clock that was set back must not keep uses from being noted.
        (now - noted).abs() >= NOTE_AGAIN_MILLIS
            && self
                .noted_at
                .compare_exchange(noted, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

/// The memory. A lookup takes the generation before it reads the database; what it found is kept
/// only when nothing was forgotten since: it may have read what was true before the change.
#[derive(Default)]
pub(super) struct Cache {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    generation: u64,
    known: HashMap<[u8; 32], Arc<Known>>,
}

impl Cache {
    /// What is known of a token, unless that is too old or has run out.
    pub(super) fn get(&self, sha256: &[u8; 32], now: Timestamp) -> Option<Arc<Known>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let known = inner.known.get(sha256)?;
        let holds = !known.is_expired(now) && Instant::now() < known.ask_again;
        holds.then(|| Arc::clone(known))
    }

    pub(super) fn generation(&self) -> u64 {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.generation
    }

    /// Remembers what was read since `generation` was taken.
    pub(super) fn remember(&self, generation: u64, sha256: [u8; 32], known: Arc<Known>) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if inner.generation != generation {
            return;
        }
        if inner.known.len() >= ENTRIES_MAX {
            inner.known.clear();
        }
        inner.known.insert(sha256, known);
    }

    pub(super) fn forget(&self) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.generation += 1;
        inner.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(expires_at: Option<Timestamp>) -> Arc<Known> {
        let node = NodeIdentity {
            node_id: "n".to_owned(),
            token_id: "t".to_owned(),
        };
        Arc::new(Known::new(Identity::Node(node), expires_at, None))
    }

    #[test]
    fn what_was_read_before_a_change_is_not_remembered_after_it() {
        let (cache, now) = (Cache::default(), Timestamp::from_millis(1_000));
        let generation = cache.generation();
        cache.forget();
        cache.remember(generation, [1; 32], known(None));
        assert!(cache.get(&[1; 32], now).is_none());
        cache.remember(cache.generation(), [1; 32], known(None));
        assert!(cache.get(&[1; 32], now).is_some());
        cache.forget();
        assert!(cache.get(&[1; 32], now).is_none());
    }

    #[test]
    fn what_has_run_out_is_not_known_any_more() {
        let cache = Cache::default();
        let end = Timestamp::from_millis(5_000);
        cache.remember(0, [1; 32], known(Some(end)));
        assert!(cache.get(&[1; 32], end.plus_millis(-1)).is_some());
        assert!(cache.get(&[1; 32], end).is_none());
    }

    #[test]
    fn uses_are_noted_once_a_minute() {
        let known = known(None);
        let at = |seconds: i64| Timestamp::from_millis(1_000_000_000 + seconds * 1_000);
        let noted: Vec<bool> = [0, 1, 59, 60, 61, 120]
            .map(|seconds| known.is_use_to_note(at(seconds)))
            .into();
        assert_eq!(noted, [true, false, false, true, false, true]);
        assert!(known.is_use_to_note(at(-1_000)), "the clock was set back");
    }

    #[test]
    fn the_memory_is_bounded() {
        let cache = Cache::default();
        for number in 0..=ENTRIES_MAX as u64 {
            let mut sha256 = [0; 32];
            sha256[..8].copy_from_slice(&number.to_le_bytes());
            cache.remember(0, sha256, known(None));
        }
        let inner = cache.inner.read().expect("not poisoned");
        assert_eq!(inner.known.len(), 1);
    }
}
