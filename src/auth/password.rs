//! Passwords: argon2id with OWASP's parameters, on blocking threads, two at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::crypto::random_bytes;
use crate::http::ApiError;
use crate::sync::lock;

/// OWASP's second choice for argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Concurrent hashes; each takes a core and 19 MiB.
const AT_ONCE: usize = 2;
/// Requests that may wait for a turn; one more is a 503. With two cores, the last one waits some
/// seconds.
const WAITING_MAX: usize = 256;
/// Waiting requests from one client's address; one more is a 429.
const WAITING_PER_ADDRESS_MAX: usize = 64;
/// Blocks of 1 KiB to allocate. Above 32 MiB glibc maps the memory separately and returns it to the
/// system at once; smaller pieces would stay with the process. Unused blocks are never touched.
const BLOCKS_ALLOCATED: usize = 33 * 1024;
/// Verified for a user who doesn't exist, so that the response takes as long. No password has this
/// hash.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$aHlwcmJveC1ub2JvZHk\
                      $AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// Most bytes that are hashed. Longer input is cut and is wrong in any case.
const BYTES_MAX: usize = 4 * CHARS_MAX;
const CHARS_MIN: usize = 10;
const CHARS_MAX: usize = 1_024;

/// Checks a new password. `Err` is the rule that it breaks.
pub fn check_password(password: &str) -> Result<(), &'static str> {
    if (CHARS_MIN..=CHARS_MAX).contains(&password.chars().count()) {
        Ok(())
    } else {
        Err("must have 10 to 1,024 characters")
    }
}

/// Hashes passwords, a few at a time.
pub(super) struct Passwords {
    turns: Arc<Semaphore>,
    waiting: Mutex<WaitCounts>,
}

/// How many requests wait, in total and per address.
#[derive(Default)]
struct WaitCounts {
    all: usize,
    by_address: HashMap<String, usize>,
}

/// The right to hash once.
pub(super) struct Turn(OwnedSemaphorePermit);

impl Passwords {
    pub(super) fn new() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Mutex::default(),
        }
    }

    /// Waits for a turn; a 503 if too many requests wait, a 429 if too many wait from `address`.
    pub(super) async fn turn(&self, address: Option<&str>) -> Result<Turn, ApiError> {
        let _wait = Wait::begin(&self.waiting, address)?;
        let permit = Arc::clone(&self.turns).acquire_owned().await;
        permit.map(Turn).map_err(ApiError::internal)
    }
}

/// A waiting request. Counted until it is dropped, with its request or before.
struct Wait<'w> {
    waiting: &'w Mutex<WaitCounts>,
    address: Option<&'w str>,
}

impl<'w> Wait<'w> {
    fn begin(waiting: &'w Mutex<WaitCounts>, address: Option<&'w str>) -> Result<Self, ApiError> {
        let mut counts = lock(waiting);
        if counts.all >= WAITING_MAX {
            return Err(ApiError::unavailable(
                "busy",
                "Too many sign-ins at once; try again in a moment",
            ));
        }
        if let Some(address) = address {
            let count = counts.by_address.entry(address.to_owned()).or_default();
            if *count >= WAITING_PER_ADDRESS_MAX {
                return Err(ApiError::too_many(
                    "Too many sign-ins at once from this address; try again in a moment",
                    1,
                ));
            }
            *count += 1;
        }
        counts.all += 1;
        Ok(Wait { waiting, address })
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut counts = lock(self.waiting);
        counts.all -= 1;
        let Some(address) = self.address else {
            return;
        };
        if let Some(count) = counts.by_address.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(address);
            }
        }
    }
}

impl Turn {
    /// Hashes a new password to a PHC string.
    pub(super) async fn hash(self, password: String) -> Result<String, ApiError> {
        self.run(move || hash_with(password.as_bytes(), &random_bytes::<16>()))
            .await?
            .map_err(ApiError::internal)
    }

    /// Whether `hash` is the hash of `password`. Without a hash: false, after the same time.
    pub(super) async fn verify(
        self,
        password: String,
        hash: Option<String>,
    ) -> Result<bool, ApiError> {
        self.run(move || {
            // An operator may have replaced the hash by "!" to lock somebody out.
            let hash = hash.filter(|hash| PasswordHash::new(hash).is_ok());
            let possible = hash.is_some() && password.len() <= BYTES_MAX;
            let cut = &password.as_bytes()[..password.len().min(BYTES_MAX)];
            let same = verify_with(cut, hash.as_deref().unwrap_or(NOBODY));
            same.map(|same| same && possible)
        })
        .await?
        .map_err(ApiError::internal)
    }

    /// Runs `work` and holds the turn until it is done, even if the request was dropped.
    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        tokio::task::spawn_blocking(move || {
            let result = work();
            drop(self.0);
            result
        })
        .await
        .map_err(ApiError::internal)
    }
}

type HashResult<T> = Result<T, argon2::password_hash::Error>;

fn hash_with(password: &[u8], salt: &[u8]) -> HashResult<String> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)?;
    let mut out = [0; Params::DEFAULT_OUTPUT_LEN];
    derive(password, salt, &params, &mut out)?;
    let hash = PasswordHash {
        algorithm: ARGON2ID_IDENT,
        version: Some(Version::default().into()),
        params: ParamsString::try_from(&params)?,
        salt: Some(Salt::new(salt)?),
        hash: Some(Output::new(&out)?),
    };
    Ok(hash.to_string())
}

/// Uses the hash's own parameters, so that old hashes stay valid if the constants above change.
fn verify_with(password: &[u8], hash: &str) -> HashResult<bool> {
    let hash = PasswordHash::new(hash)?;
    let params = Params::try_from(&hash)?;
    let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else {
        return Ok(false);
    };
    let mut out = vec![0; expected.as_bytes().len()];
    derive(password, salt, &params, &mut out)?;
    // Output's `==` takes constant time.
    Ok(hash.algorithm == ARGON2ID_IDENT && Output::new(&out)? == *expected)
}

fn derive(password: &[u8], salt: &[u8], params: &Params, out: &mut [u8]) -> HashResult<()> {
    let mut memory = Vec::with_capacity(BLOCKS_ALLOCATED.max(params.block_count()));
    memory.resize(params.block_count(), Block::default());
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::default(), params.clone());
    argon2.hash_password_into_with_memory(password, salt, out, &mut memory)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_has_10_to_1024_characters() {
        assert!(check_password("ninechars").is_err());
        assert!(check_password("tencharact").is_ok());
        assert!(check_password("ääääääääää").is_ok());
        assert!(check_password(&"€".repeat(1_024)).is_ok());
        assert!(check_password(&"€".repeat(1_025)).is_err());
    }

    #[test]
    fn hashes_have_owasps_parameters_and_random_salts() {
        let hash = hash_with(b"correct horse", &random_bytes::<16>()).expect("hashes");
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert_eq!(verify_with(b"correct horse", &hash), Ok(true));
        assert_eq!(verify_with(b"correct hors", &hash), Ok(false));
        let again = hash_with(b"correct horse", &random_bytes::<16>()).expect("hashes");
        assert_ne!(hash, again);
    }

    #[test]
    fn one_address_cannot_take_every_turn() {
        let waiting = Mutex::default();
        let wait = |address| Wait::begin(&waiting, address);
        let of_one: Vec<_> = (0..WAITING_PER_ADDRESS_MAX)
            .map(|_| wait(Some("203.0.113.5")).expect("within its share"))
            .collect();
        let refused = wait(Some("203.0.113.5")).err().expect("past its share");
        assert_eq!(refused.status, axum::http::StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.retry_after, Some(1));
        let others = (wait(Some("203.0.113.6")), wait(None));
        assert!(others.0.is_ok() && others.1.is_ok());
        drop((of_one, others));
        let counts = waiting.lock().expect("not poisoned");
        assert_eq!((counts.all, counts.by_address.len()), (0, 0));
    }

    #[tokio::test]
    async fn an_unknown_user_costs_as_much_as_a_known_one() {
        let today = Params::new(MEMORY_KIB, PASSES, LANES, Some(32)).expect("params");
        let nobody = PasswordHash::new(NOBODY).expect("a hash");
        assert_eq!(Params::try_from(&nobody), Ok(today));
        let passwords = Passwords::new();
        for password in ["", "correct horse", &"x".repeat(100_000)] {
            let turn = passwords.turn(None).await.expect("a turn");
            let verified = turn.verify(password.to_owned(), None).await;
            assert!(!verified.expect("verifies"));
        }
    }
}
