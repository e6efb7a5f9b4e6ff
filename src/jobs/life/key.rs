//! The key file. It encrypts secret params in the database and keys the digests of idempotent
//! requests, so that a stolen database reveals neither without the key.

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use hyprbox_protocol::{FailureReason, Secrets, to_hex};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::crypto::{hmac_sha256, random_bytes};
use crate::store::StoreError;

/// Marks what is sealed together with the nonce of the secrets' digest.
const WITH_NONCE: &str = "/2";

/// Why the key file can't be used, as one line for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(pub String);

impl From<StoreError> for KeyError {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

/// The key or the sealed bytes have changed, so that the secrets can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", FailureReason::SECRETS_SEALED)]
pub struct CantUnseal;

/// The key of this server.
pub struct SecretKey {
    seal: LessSafeKey,
    digest: [u8; 32],
}

impl SecretKey {
    /// Reads the key file, or creates it with mode 0600 and 32 random bytes in hex.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        match Self::load(path)? {
            Some(key) => Ok(key),
            None => Self::create(path),
        }
    }

    /// Reads a key file; `None` if it does not exist.
    pub fn load(path: &Path) -> Result<Option<Self>, KeyError> {
        match std::fs::File::open(path) {
            Ok(file) => Self::read(path, file).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(cant(path, "read", &error)),
        }
    }

    /// A new key, and the text of its file.
    pub(in crate::jobs) fn generate() -> (Self, Zeroizing<String>) {
        let bytes = Zeroizing::new(random_bytes());
        let text = Zeroizing::new(format!("{}\n", to_hex(*bytes)));
        (Self::from_bytes(&bytes), text)
    }

    fn read(path: &Path, file: std::fs::File) -> Result<Self, KeyError> {
        let mut text = String::new();
        file.take(1_024)
            .read_to_string(&mut text)
            .map_err(|error| cant(path, "read", &error))?;
        let bytes = from_hex(text.trim()).ok_or_else(|| {
            KeyError(format!(
                "HYPRBOX_SECRET_KEY_FILE={:?} is not usable: it must hold 64 hex digits",
                path.display()
            ))
        })?;
        Ok(Self::from_bytes(&bytes))
    }

    fn create(path: &Path) -> Result<Self, KeyError> {
        let (key, text) = Self::generate();
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| cant(path, "create", &error))?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(|error| cant(path, "write", &error))?;
        Ok(key)
    }

    fn from_bytes(bytes: &[u8; 32]) -> Self {
        // Two derived keys, so that neither use reveals anything about the other.
        let sealing = hmac_sha256(bytes, b"hyprbox seal");
        let seal = UnboundKey::new(&CHACHA20_POLY1305, &sealing)
            .expect("the algorithm's key has 32 bytes");
        Self {
            seal: LessSafeKey::new(seal),
            digest: hmac_sha256(bytes, b"hyprbox digest"),
        }
    }

    /// A digest that needs this key.
    pub fn digest(&self, message: &[u8]) -> [u8; 32] {
        hmac_sha256(&self.digest, message)
    }

    /// The digest by which the database names its key.
    pub fn database_digest(&self) -> [u8; 32] {
        self.digest(b"the key of this database")
    }

    /// Encrypts the secrets of a job and the nonce of their digest. The result can be decrypted
    /// only for the same job.
    pub fn seal(
        &self,
        job_id: &str,
        secrets: &Secrets,
        digest_nonce: &[u8; 32],
    ) -> Result<Vec<u8>, CantUnseal> {
        let nonce = random_bytes::<NONCE_LEN>();
        // With room for the tag, because a vector that grows leaves a copy of the plain text
        // behind.
        let plain = Zeroizing::new(serde_json::to_vec(secrets).map_err(|_| CantUnseal)?);
        let length = digest_nonce.len() + plain.len() + CHACHA20_POLY1305.tag_len();
        let mut sealed = Vec::with_capacity(length);
        sealed.extend_from_slice(digest_nonce);
        sealed.extend_from_slice(&plain);
        self.seal
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(format!("{job_id}{WITH_NONCE}")),
                &mut sealed,
            )
            .map_err(|_| CantUnseal)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Decrypts the result of [`SecretKey::seal`] for the same job. The nonce is missing if the job
    /// was queued before jobs were signed.
    pub fn unseal(
        &self,
        job_id: &str,
        sealed: &[u8],
    ) -> Result<(Secrets, Option<[u8; 32]>), CantUnseal> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(CantUnseal)?;
        if let Ok(plain) = self.open(nonce, &format!("{job_id}{WITH_NONCE}"), sealed) {
            let (digest_nonce, json) = plain.split_first_chunk().ok_or(CantUnseal)?;
            let secrets = serde_json::from_slice(json).map_err(|_| CantUnseal)?;
            return Ok((secrets, Some(*digest_nonce)));
        }
        let plain = self.open(nonce, job_id, sealed)?;
        let secrets = serde_json::from_slice(&plain).map_err(|_| CantUnseal)?;
        Ok((secrets, None))
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        bound_to: &str,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, CantUnseal> {
        let mut opened = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self
            .seal
            .open_in_place(nonce, Aad::from(bound_to), &mut opened)
            .map_err(|_| CantUnseal)?;
        let length = plain.len();
        opened.truncate(length);
        Ok(opened)
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

pub(in crate::jobs) fn cant(path: &Path, verb: &str, error: &std::io::Error) -> KeyError {
    KeyError(format!(
        "can't {verb} the key file {} (HYPRBOX_SECRET_KEY_FILE): {error}",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_created_once_and_then_read() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("secret.key");
        let made = SecretKey::load_or_create(&path).expect("made");
        let read = SecretKey::load_or_create(&path).expect("read");
        assert_eq!(made.digest(b"x"), read.digest(b"x"));
        assert_eq!(
            std::fs::metadata(&path)
                .expect("there")
                .permissions()
                .mode()
                & 0o777,
            0o600
        );
        std::fs::write(&path, "too short").expect("written");
        assert!(SecretKey::load_or_create(&path).is_err());
    }

    #[test]
    fn sealed_secrets_open_only_for_their_job_and_key() {
        let (key, other) = (
            SecretKey::from_bytes(&[1; 32]),
            SecretKey::from_bytes(&[2; 32]),
        );
        let pair = ("token".to_owned(), "hunter22".to_owned());
        let secrets = Secrets::from_iter([pair]);
        let sealed = key.seal("job", &secrets, &[7; 32]).expect("seals");
        assert!(!sealed.windows(8).any(|window| window == b"hunter22"));
        assert_eq!(key.unseal("job", &sealed), Ok((secrets, Some([7; 32]))));
        assert_eq!(key.unseal("another", &sealed), Err(CantUnseal));
        assert_eq!(other.unseal("job", &sealed), Err(CantUnseal));
        assert_eq!(key.unseal("job", &sealed[..5]), Err(CantUnseal));
    }
}
