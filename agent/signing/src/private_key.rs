//! Private ed25519 keys in OpenSSH's file format, without a passphrase.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use zeroize::{Zeroize, Zeroizing};

use crate::public_key::{KeyKind, PublicKey};
use crate::signature::{armor, data_to_sign, raw_ed25519};
use crate::wire::{Reader, put_string, put_u32};

const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
const MAGIC: &[u8] = b"openssh-key-v1\0";
const LINE: usize = 70;
/// More than the file of an ed25519 key has.
const FILE_MAX: usize = 16 * 1_024;
/// The private part is padded to a multiple of this.
const BLOCK: usize = 8;

/// Why a private key can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrivateKeyError {
    /// It has a passphrase.
    #[error("the key has a passphrase: load it with `ssh-add`, and sign through ssh-agent")]
    Encrypted,
    /// It is a key of another kind.
    #[error("the key is not an ed25519 key: load it with `ssh-add`, and sign through ssh-agent")]
    OtherKind,
    /// It is not a private key in OpenSSH's format.
    #[error("it is not an OpenSSH private key")]
    Malformed,
}

/// A private ed25519 key. `{:?}` shows only the fingerprint.
pub struct SignKey {
    seed: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
    public: PublicKey,
    comment: String,
}

impl fmt::Debug for SignKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SignKey")
            .field(&self.public.fingerprint())
            .finish()
    }
}

impl SignKey {
    /// A new key.
    pub fn generate(comment: &str) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        SystemRandom::new()
            .fill(&mut *seed)
            .expect("Linux's random number generator does not fail");
        Self::from_seed(seed, comment).expect("each seed is a key")
    }

    fn from_seed(seed: Zeroizing<[u8; 32]>, comment: &str) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).ok()?;
        Some(Self {
            public: PublicKey::ed25519(pair.public_key().as_ref()),
            seed,
            pair,
            comment: comment.to_owned(),
        })
    }

    /// Parses the file of a private key, such as `~/.ssh/id_ed25519`.
    pub fn parse(file: &str) -> Result<Self, PrivateKeyError> {
        let malformed = PrivateKeyError::Malformed;
        if file.len() > FILE_MAX {
            return Err(malformed);
        }
        let body = file.trim().strip_prefix(BEGIN).ok_or(malformed)?;
        let body = body.strip_suffix(END).ok_or(malformed)?;
        let mut encoded: Zeroizing<String> = Zeroizing::new(String::with_capacity(body.len()));
        encoded.extend(body.chars().filter(|c| !c.is_ascii_whitespace()));
        let blob = STANDARD.decode(encoded.as_bytes());
        let blob = Zeroizing::new(blob.map_err(|_| malformed)?);
        Self::from_blob(&blob)
    }

    fn from_blob(blob: &[u8]) -> Result<Self, PrivateKeyError> {
        let malformed = PrivateKeyError::Malformed;
        let mut reader = Reader::new(blob);
        if reader.bytes(MAGIC.len()) != Some(MAGIC) {
            return Err(malformed);
        }
        let cipher = reader.string().ok_or(malformed)?;
        let kdf = reader.string().ok_or(malformed)?;
        let _options = reader.string().ok_or(malformed)?;
        if reader.u32() != Some(1) {
            return Err(malformed);
        }
        let public = reader.string().ok_or(malformed)?;
        let is_ours = PublicKey::from_blob(public).map(|key| key.kind()) == Some(KeyKind::Ed25519);
        if !is_ours {
            return Err(PrivateKeyError::OtherKind);
        }
        if cipher != b"none" || kdf != b"none" {
            return Err(PrivateKeyError::Encrypted);
        }
        Self::from_private_part(public, reader.string().ok_or(malformed)?).ok_or(malformed)
    }

    fn from_private_part(public: &[u8], part: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(part);
        if reader.u32()? != reader.u32()? || reader.text()? != KeyKind::Ed25519.name() {
            return None;
        }
        let _point = reader.string()?;
        let (seed, _) = reader.string()?.split_first_chunk::<32>()?;
        let comment = reader.text()?;
        let key = Self::from_seed(Zeroizing::new(*seed), comment)?;
        let is_padding = |(at, byte): (usize, &u8)| usize::from(*byte) == at + 1;
        let padding = reader.rest();
        let fits = padding.len() < BLOCK && padding.iter().enumerate().all(is_padding);
        (fits && key.public.blob() == public).then_some(key)
    }

    /// The file of this key, which `ssh-keygen` also reads.
    pub fn to_file(&self) -> Zeroizing<String> {
        let mut part = Zeroizing::new(Vec::with_capacity(512));
        // Two equal numbers, by which a reader recognises the right passphrase.
        let check = &self.public.blob()[self.public.blob().len() - 4..];
        part.extend_from_slice(check);
        part.extend_from_slice(check);
        put_string(&mut part, KeyKind::Ed25519.name().as_bytes());
        put_string(&mut part, self.public.point());
        put_u32(&mut part, 64);
        part.extend_from_slice(&*self.seed);
        part.extend_from_slice(self.public.point());
        put_string(&mut part, self.comment.as_bytes());
        let mut padding = 0_u8;
        while part.len() % BLOCK != 0 {
            padding += 1;
            part.push(padding);
        }
        let mut blob = Zeroizing::new(Vec::with_capacity(1_024));
        blob.extend_from_slice(MAGIC);
        put_string(&mut blob, b"none");
        put_string(&mut blob, b"none");
        put_string(&mut blob, b"");
        put_u32(&mut blob, 1);
        put_string(&mut blob, self.public.blob());
        put_string(&mut blob, &part);
        let mut encoded = STANDARD.encode(&*blob);
        let mut file = Zeroizing::new(String::with_capacity(encoded.len() + 256));
        file.push_str(BEGIN);
        file.push('\n');
        for at in (0..encoded.len()).step_by(LINE) {
            file.push_str(&encoded[at..encoded.len().min(at + LINE)]);
            file.push('\n');
        }
        file.push_str(END);
        file.push('\n');
        encoded.zeroize();
        file
    }

    /// The public key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The comment in the key's file.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// Signs `message` for the purpose `namespace`. Returns the armored signature.
    pub fn sign(&self, namespace: &str, message: &[u8]) -> String {
        let made = self.pair.sign(&data_to_sign(namespace, message));
        armor(&self.public, namespace, raw_ed25519(made.as_ref()))
    }
}
