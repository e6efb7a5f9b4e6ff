//! OpenSSH's signature format for files and texts, SSHSIG (PROTOCOL.sshsig), as
//! `ssh-keygen -Y sign` and `ssh-keygen -Y verify` use it.
//!
//! Each signature has one valid form. Anything else is refused, so that no altered byte of a
//! signature goes unnoticed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{Algorithm, SHA256, SHA512, digest};
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};

use crate::public_key::{KeyKind, PublicKey};
use crate::wire::{Reader, put_string, put_u32};

const MAGIC: &[u8; 6] = b"SSHSIG";
const VERSION: u32 = 1;
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----\n";
const END: &str = "-----END SSH SIGNATURE-----\n";
/// Characters in a line of an armored signature.
const LINE: usize = 70;
/// More than any signature of a known kind has.
const ARMORED_MAX: usize = 8 * 1_024;
/// The hash that our own signatures use, as OpenSSH does by default.
const OWN_HASH: &str = "sha512";
/// The flag of a security key's signature that says that its owner touched it.
const USER_PRESENT: u8 = 1;

/// Why a signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// It is not a signature in OpenSSH's format by a key of a known kind.
    #[error("the signature is not in OpenSSH's format, or not by an ed25519 or ecdsa-p256 key")]
    Malformed,
    /// It was made for another purpose.
    #[error("the signature was made for another purpose: its namespace differs")]
    Namespace,
    /// A security key made it without a touch by its owner.
    #[error("the security key signed without a touch by its owner")]
    NoPresence,
    /// It does not belong to these bytes or this key.
    #[error("the signature does not verify")]
    Wrong,
}

/// A signature in OpenSSH's format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshSignature {
    key: PublicKey,
    namespace: Vec<u8>,
    reserved: Vec<u8>,
    hash: &'static str,
    /// What the key itself made, with its kind.
    raw: Vec<u8>,
}

impl SshSignature {
    /// Parses an armored signature. The last line end may be missing.
    pub fn parse(armored: &str) -> Result<Self, SignatureError> {
        let signature = Self::parse_armor(armored).ok_or(SignatureError::Malformed)?;
        let canonical = armor_blob(&signature.to_blob());
        if armored == canonical || canonical.strip_suffix('\n') == Some(armored) {
            Ok(signature)
        } else {
            Err(SignatureError::Malformed)
        }
    }

    fn parse_armor(armored: &str) -> Option<Self> {
        if armored.len() > ARMORED_MAX {
            return None;
        }
        let body = armored.strip_prefix(BEGIN)?;
        let end = END.trim_end();
        let body = body.strip_suffix('\n').unwrap_or(body).strip_suffix(end)?;
        let encoded: String = body.split('\n').collect();
        Self::from_blob(&STANDARD.decode(encoded).ok()?)
    }

    fn from_blob(blob: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(blob);
        if reader.bytes(MAGIC.len())? != MAGIC || reader.u32()? != VERSION {
            return None;
        }
        let key = PublicKey::from_blob(reader.string()?)?;
        let namespace = reader.string()?.to_vec();
        let reserved = reader.string()?.to_vec();
        let (hash, _) = hash_named(reader.text()?)?;
        let raw = reader.string()?.to_vec();
        reader.end()?;
        (!namespace.is_empty()).then_some(Self {
            key,
            namespace,
            reserved,
            hash,
            raw,
        })
    }

    fn to_blob(&self) -> Vec<u8> {
        let mut blob = MAGIC.to_vec();
        blob.extend_from_slice(&VERSION.to_be_bytes());
        put_string(&mut blob, self.key.blob());
        put_string(&mut blob, &self.namespace);
        put_string(&mut blob, &self.reserved);
        put_string(&mut blob, self.hash.as_bytes());
        put_string(&mut blob, &self.raw);
        blob
    }

    /// The key that the signature names. [`SshSignature::verify`] shows whether that key made it.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The armored form.
    pub fn to_armored(&self) -> String {
        armor_blob(&self.to_blob())
    }

    /// Checks that the key has signed `message` for the purpose `namespace`.
    pub fn verify(&self, namespace: &str, message: &[u8]) -> Result<(), SignatureError> {
        if self.namespace != namespace.as_bytes() {
            return Err(SignatureError::Namespace);
        }
        let (_, algorithm) = hash_named(self.hash).ok_or(SignatureError::Malformed)?;
        let data = signed_data(
            &self.namespace,
            &self.reserved,
            self.hash,
            algorithm,
            message,
        );
        self.verify_raw(&data)
    }

    fn verify_raw(&self, data: &[u8]) -> Result<(), SignatureError> {
        let mut reader = Reader::new(&self.raw);
        let malformed = SignatureError::Malformed;
        if reader.text() != Some(self.key.kind().name()) {
            return Err(malformed);
        }
        let made = reader.string().ok_or(malformed)?;
        let point = self.key.point();
        let verified = match self.key.kind() {
            KeyKind::Ed25519 => UnparsedPublicKey::new(&ED25519, point).verify(data, made),
            KeyKind::EcdsaP256 => {
                let fixed = fixed_ecdsa(made).ok_or(malformed)?;
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(data, &fixed)
            }
            KeyKind::SkEd25519 => {
                let flags = reader.byte().ok_or(malformed)?;
                let counter = reader.u32().ok_or(malformed)?;
                if flags & USER_PRESENT == 0 {
                    return Err(SignatureError::NoPresence);
                }
                let mut signed = digest(&SHA256, self.key.application()).as_ref().to_vec();
                signed.push(flags);
                signed.extend_from_slice(&counter.to_be_bytes());
                signed.extend_from_slice(digest(&SHA256, data).as_ref());
                UnparsedPublicKey::new(&ED25519, point).verify(&signed, made)
            }
        };
        reader.end().ok_or(malformed)?;
        verified.map_err(|_| SignatureError::Wrong)
    }
}

/// The bytes that a key signs for `message` and the purpose `namespace`.
pub fn data_to_sign(namespace: &str, message: &[u8]) -> Vec<u8> {
    signed_data(namespace.as_bytes(), b"", OWN_HASH, &SHA512, message)
}

/// Makes an armored signature from what `key` made of [`data_to_sign`]: the kind and the signature,
/// as `ssh-agent` returns it.
pub fn armor(key: &PublicKey, namespace: &str, raw: Vec<u8>) -> String {
    let signature = SshSignature {
        key: key.clone(),
        namespace: namespace.as_bytes().to_vec(),
        reserved: Vec::new(),
        hash: OWN_HASH,
        raw,
    };
    signature.to_armored()
}

fn signed_data(
    namespace: &[u8],
    reserved: &[u8],
    hash: &str,
    algorithm: &'static Algorithm,
    message: &[u8],
) -> Vec<u8> {
    let mut data = MAGIC.to_vec();
    put_string(&mut data, namespace);
    put_string(&mut data, reserved);
    put_string(&mut data, hash.as_bytes());
    put_string(&mut data, digest(algorithm, message).as_ref());
    data
}

fn hash_named(name: &str) -> Option<(&'static str, &'static Algorithm)> {
    match name {
        "sha256" => Some(("sha256", &SHA256)),
        "sha512" => Some(("sha512", &SHA512)),
        _ => None,
    }
}

/// The two numbers of an ECDSA signature as 64 bytes.
fn fixed_ecdsa(made: &[u8]) -> Option<[u8; 64]> {
    let mut reader = Reader::new(made);
    let (r, s) = (reader.mpint32()?, reader.mpint32()?);
    reader.end()?;
    let mut fixed = [0; 64];
    fixed[..32].copy_from_slice(&r);
    fixed[32..].copy_from_slice(&s);
    Some(fixed)
}

fn armor_blob(blob: &[u8]) -> String {
    let encoded = STANDARD.encode(blob);
    let mut armored = BEGIN.to_owned();
    for at in (0..encoded.len()).step_by(LINE) {
        armored.push_str(&encoded[at..encoded.len().min(at + LINE)]);
        armored.push('\n');
    }
    armored.push_str(END);
    armored
}

/// What an ed25519 key made, with its kind.
pub(crate) fn raw_ed25519(made: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(96);
    put_string(&mut raw, KeyKind::Ed25519.name().as_bytes());
    put_u32(&mut raw, made.len());
    raw.extend_from_slice(made);
    raw
}
