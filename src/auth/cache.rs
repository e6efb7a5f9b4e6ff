//! A cache of credentials by the SHA-256 of their token. It is cleared when anybody's credentials
//! change.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use super::identity::Identity;
use crate::clock::Timestamp;
use crate::sync::{read, write};

/// Most entries: enough for 10,000 agents and the people who use the server.
const ENTRIES_MAX: usize = 20_000;
/// Entries older than this are read from the database again, in case a change was missed.
const ENTRY_TTL: Duration = Duration::from_secs(300);
/// Shortest time between two records of a credential's use, in milliseconds.
const RECORD_USE_EVERY_MILLIS: i64 = 60_000;

/// A credential as the database had it.
#[derive(Debug)]
pub(super) struct CachedCredential {
    pub(super) identity: Identity,
    expires_at: Option<Timestamp>,
    use_recorded_at: AtomicI64,
    expires_from_cache: Instant,
}

impl CachedCredential {
    /// The database's `last_used_at`.
    pub(super) fn new(
        identity: Identity,
        expires_at: Option<Timestamp>,
        last_used_at: Option<Timestamp>,
    ) -> Self {
        Self {
            identity,
            expires_at,
            use_recorded_at: AtomicI64::new(last_used_at.map_or(0, Timestamp::as_millis)),
            expires_from_cache: Instant::now() + ENTRY_TTL,
        }
    }

    /// Whether the credential itself has expired.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    /// Whether the caller should record this use: the first one, and then one a minute. Returns
    /// true to only one of several concurrent callers.
    pub(super) fn should_record_use(&self, now: Timestamp) -> bool {
        let (now, recorded) = (
            now.as_millis(),
            self.use_recorded_at.load(Ordering::Relaxed),
        );
        // The difference's absolute value: uses must also be recorded after the clock was set back.
        (now - recorded).abs() >= RECORD_USE_EVERY_MILLIS
            && self
                .use_recorded_at
                .compare_exchange(recorded, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

/// Cached credentials. A lookup takes the generation before it reads the database. Its result is
/// kept only if the cache was not cleared since: otherwise it may predate the change.
#[derive(Default)]
pub(super) struct Cache {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    generation: u64,
    entries: HashMap<[u8; 32], Arc<CachedCredential>>,
}

impl Cache {
    /// The entry of a token, unless the entry is too old or the credential has expired.
    pub(super) fn get(&self, sha256: &[u8; 32], now: Timestamp) -> Option<Arc<CachedCredential>> {
        let inner = read(&self.inner);
        let entry = inner.entries.get(sha256)?;
        let is_valid = !entry.is_expired(now) && Instant::now() < entry.expires_from_cache;
        is_valid.then(|| Arc::clone(entry))
    }

    pub(super) fn generation(&self) -> u64 {
        read(&self.inner).generation
    }

    /// Adds an entry that was read after `generation` was taken.
    pub(super) fn insert(&self, generation: u64, sha256: [u8; 32], entry: Arc<CachedCredential>) {
        let mut inner = write(&self.inner);
        if inner.generation != generation {
            return;
        }
        if inner.entries.len() >= ENTRIES_MAX {
            inner.entries.clear();
        }
        inner.entries.insert(sha256, entry);
    }

    pub(super) fn clear(&self) {
        let mut inner = write(&self.inner);
        inner.generation += 1;
        inner.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::NodeIdentity;

    fn entry(expires_at: Option<Timestamp>) -> Arc<CachedCredential> {
        let node = NodeIdentity {
            node_id: "n".to_owned(),
            token_id: "t".to_owned(),
        };
        Arc::new(CachedCredential::new(
            Identity::Node(node),
            expires_at,
            None,
        ))
    }

    #[test]
    fn an_entry_read_before_a_change_is_not_kept_after_it() {
        let (cache, now) = (Cache::default(), Timestamp::from_millis(1_000));
        let generation = cache.generation();
        cache.clear();
        cache.insert(generation, [1; 32], entry(None));
        assert!(cache.get(&[1; 32], now).is_none());
        cache.insert(cache.generation(), [1; 32], entry(None));
        assert!(cache.get(&[1; 32], now).is_some());
        cache.clear();
        assert!(cache.get(&[1; 32], now).is_none());
    }

    #[test]
    fn an_expired_credential_is_not_returned() {
        let cache = Cache::default();
        let end = Timestamp::from_millis(5_000);
        cache.insert(0, [1; 32], entry(Some(end)));
        assert!(cache.get(&[1; 32], end.plus_millis(-1)).is_some());
        assert!(cache.get(&[1; 32], end).is_none());
    }

    #[test]
    fn uses_are_recorded_once_a_minute() {
        let entry = entry(None);
        let at = |seconds: i64| Timestamp::from_millis(1_000_000_000 + seconds * 1_000);
        let recorded: Vec<bool> = [0, 1, 59, 60, 61, 120]
            .map(|seconds| entry.should_record_use(at(seconds)))
            .into();
        assert_eq!(recorded, [true, false, false, true, false, true]);
        assert!(
            entry.should_record_use(at(-1_000)),
            "the clock was set back"
        );
    }

    #[test]
    fn the_cache_is_bounded() {
        let cache = Cache::default();
        for number in 0..=ENTRIES_MAX as u64 {
            let mut sha256 = [0; 32];
            sha256[..8].copy_from_slice(&number.to_le_bytes());
            cache.insert(0, sha256, entry(None));
        }
        let inner = read(&cache.inner);
        assert_eq!(inner.entries.len(), 1);
    }
}
