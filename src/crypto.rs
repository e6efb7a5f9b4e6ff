//! Digests, random bytes and comparisons of secrets. All of it comes from `ring`, which TLS links,
//! but for the hash whose state can be stored.

use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac};
use sha2::Digest;
use sha2::digest::common::hazmat::SerializableState;

/// SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: impl AsRef<[u8]>) -> [u8; 32] {
    let mut hasher = Sha256::default();
    hasher.update(bytes);
    hasher.finish()
}

/// SHA-256 of bytes that arrive in pieces.
#[derive(Clone)]
pub(crate) struct Sha256(digest::Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl Sha256 {
    /// Appends `bytes` to the hashed message.
    pub(crate) fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes.as_ref());
    }

    /// Returns the digest.
    pub(crate) fn finish(self) -> [u8; 32] {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.0.finish().as_ref());
        sha256
    }
}

/// SHA-256 of a message that arrives over several transactions: its state can be stored in between.
#[derive(Debug, Clone, Default)]
pub(crate) struct StoredSha256(sha2::Sha256);

impl StoredSha256 {
    /// Continues from a stored state; `None` if the bytes are not one.
    pub(crate) fn from_state(state: &[u8]) -> Option<Self> {
        let state = state.try_into().ok()?;
        sha2::Sha256::deserialize(&state).ok().map(Self)
    }

    /// The state to store.
    pub(crate) fn state(&self) -> Vec<u8> {
        self.0.serialize().to_vec()
    }

    /// Appends `bytes` to the hashed message.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest.
    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// HMAC-SHA-256 of `message` under `key`.
pub(crate) fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut tag = [0; 32];
    tag.copy_from_slice(hmac::sign(&key, message).as_ref());
    tag
}

/// Bytes from the operating system's random number generator.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("Linux's random number generator does not fail");
    bytes
}

/// Whether two secrets are equal. The time this takes does not depend on where they differ: the
/// comparison is of their HMACs under a random key.
pub(crate) fn is_same_secret(one: &[u8], other: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &random_bytes::<32>());
    hmac::verify(&key, one, hmac::sign(&key, other).as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyprbox_protocol::to_hex;

    #[test]
    fn digests_match_the_published_test_vectors() {
        // FIPS 180-2 and RFC 4231, test case 2.
        assert_eq!(
            to_hex(sha256("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            to_hex(hmac_sha256(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        let mut pieces = Sha256::default();
        pieces.update("a");
        pieces.update("bc");
        assert_eq!(pieces.finish(), sha256("abc"));
    }

    #[test]
    fn a_hash_continues_from_its_stored_state() {
        let message: Vec<u8> = (0..1_000_u32).map(|n| (n % 251) as u8).collect();
        for cut in [0, 1, 63, 64, 65, 999, 1_000] {
            let mut first = StoredSha256::default();
            first.update(&message[..cut]);
            let mut second = StoredSha256::from_state(&first.state()).expect("a state");
            second.update(&message[cut..]);
            assert_eq!(second.finish(), sha256(&message), "cut at {cut}");
        }
        assert!(StoredSha256::from_state(b"short").is_none());
    }

    #[test]
    fn secrets_are_compared_by_value() {
        assert!(is_same_secret(b"token", b"token"));
        assert!(!is_same_secret(b"token", b"tokem"));
        assert!(!is_same_secret(b"token", b"token2"));
        assert_ne!(random_bytes::<16>(), random_bytes::<16>());
    }
}
