//! A map of fixed capacity that only grows and is read without a lock, for counters on paths that
//! every request takes.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

/// Entries are never removed, so that a reader needs no lock. Entries are boxed, so that an unused
/// place costs few bytes.
#[derive(Debug)]
pub(super) struct GrowOnlyMap<K, V> {
    places: Box<[Place<K, V>]>,
}

type Place<K, V> = OnceLock<Box<(K, V)>>;

impl<K: Hash + PartialEq, V> GrowOnlyMap<K, V> {
    /// An empty map for `capacity` entries.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            places: (0..capacity).map(|_| OnceLock::new()).collect(),
        }
    }

    /// The value of a key, which is added if it is new; `None` if the map is full. `borrowed` must
    /// hash and compare as the key that `make` returns.
    pub(super) fn find_or_add<Q: Hash>(
        &self,
        borrowed: &Q,
        is_same: impl Fn(&K) -> bool,
        make: impl Fn() -> (K, V),
    ) -> Option<&V> {
        let mut hasher = DefaultHasher::new();
        borrowed.hash(&mut hasher);
        let start = usize::try_from(hasher.finish() >> 32).unwrap_or(0);
        let places = (0..self.places.len())
            .map(|step| &self.places[start.wrapping_add(step) % self.places.len()]);
        for place in places {
            // Another thread may have filled the place with another key meanwhile.
            let (key, value) = &**place.get_or_init(|| Box::new(make()));
            if is_same(key) {
                return Some(value);
            }
        }
        None
    }

    /// Every entry, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&K, &V)> {
        self.places
            .iter()
            .filter_map(OnceLock::get)
            .map(|entry| (&entry.0, &entry.1))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::GrowOnlyMap;

    fn count(map: &GrowOnlyMap<String, AtomicU64>, key: &str) -> bool {
        let value = map.find_or_add(
            &key,
            |known| known == key,
            || (key.to_owned(), AtomicU64::new(0)),
        );
        value
            .map(|value| value.fetch_add(1, Ordering::Relaxed))
            .is_some()
    }

    #[test]
    fn a_full_map_keeps_its_keys_and_takes_no_more() {
        let map = GrowOnlyMap::with_capacity(4);
        for key in ["a", "b", "c", "d", "b", "d"] {
            assert!(count(&map, key), "{key}");
        }
        assert!(!count(&map, "e"));
        assert!(count(&map, "a"));
        let mut counts: Vec<(&str, u64)> = map
            .entries()
            .map(|(key, value)| (key.as_str(), value.load(Ordering::Relaxed)))
            .collect();
        counts.sort_unstable();
        assert_eq!(counts, [("a", 2), ("b", 2), ("c", 1), ("d", 2)]);
    }

    #[test]
    fn threads_that_add_the_same_keys_lose_no_count() {
        let map = GrowOnlyMap::with_capacity(64);
        let keys: Vec<String> = (0..48).map(|number| format!("key {number}")).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        assert!(keys.iter().all(|key| count(&map, key)));
                    }
                });
            }
        });
        let counts: Vec<u64> = map
            .entries()
            .map(|(_, value)| value.load(Ordering::Relaxed))
            .collect();
        assert_eq!(counts, vec![2_000; 48]);
    }
}
