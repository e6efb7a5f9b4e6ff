//! Public keys, as in OpenSSH's `id_….pub`.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::digest::{SHA256, digest};

use crate::wire::{Reader, put_string};

/// More than any key of a known kind has.
const BLOB_MAX: usize = 1_024;

/// The kinds of keys that may sign jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// `ssh-ed25519`.
    Ed25519,
    /// `sk-ssh-ed25519@openssh.com`: a key on a FIDO security key.
    SkEd25519,
    /// `ecdsa-sha2-nistp256`.
    EcdsaP256,
}

impl KeyKind {
    const ALL: [Self; 3] = [Self::Ed25519, Self::SkEd25519, Self::EcdsaP256];

    /// OpenSSH's name of the kind.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::SkEd25519 => "sk-ssh-ed25519@openssh.com",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: KeyKind,
    blob: Vec<u8>,
    /// What `ring` reads: 32 bytes of ed25519, or the 65 of a point of P-256.
    point: Vec<u8>,
    /// What a security key signs for.
    application: Vec<u8>,
}

impl PublicKey {
    /// Parses the binary form; `None` if it is not a key of a known kind.
    pub fn from_blob(blob: &[u8]) -> Option<Self> {
        if blob.len() > BLOB_MAX {
            return None;
        }
        let mut reader = Reader::new(blob);
        let kind = KeyKind::parse(reader.text()?)?;
        if kind == KeyKind::EcdsaP256 && reader.string()? != b"nistp256" {
            return None;
        }
        let point = reader.string()?.to_vec();
        let is_point = match kind {
            KeyKind::Ed25519 | KeyKind::SkEd25519 => point.len() == 32,
            KeyKind::EcdsaP256 => point.len() == 65 && point[0] == 4,
        };
        let application = match kind {
            KeyKind::SkEd25519 => reader.string()?.to_vec(),
            KeyKind::Ed25519 | KeyKind::EcdsaP256 => Vec::new(),
        };
        reader.end()?;
        is_point.then(|| Self {
            kind,
            blob: blob.to_vec(),
            point,
            application,
        })
    }

    /// The ed25519 key with these 32 bytes.
    pub(crate) fn ed25519(point: &[u8]) -> Self {
        let mut blob = Vec::new();
        put_string(&mut blob, KeyKind::Ed25519.name().as_bytes());
        put_string(&mut blob, point);
        Self {
            kind: KeyKind::Ed25519,
            blob,
            point: point.to_vec(),
            application: Vec::new(),
        }
    }

    /// Parses the line of a public key file, `ssh-ed25519 AAAA… comment`, and returns the key and
    /// the comment.
    pub fn parse_line(line: &str) -> Option<(Self, &str)> {
        let line = line.trim();
        let (kind, rest) = line.split_once([' ', '\t'])?;
        let rest = rest.trim_start();
        let (encoded, comment) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        if encoded.len() > BLOB_MAX * 2 {
            return None;
        }
        let key = Self::from_blob(&STANDARD.decode(encoded).ok()?)?;
        (key.kind.name() == kind).then_some((key, comment.trim()))
    }

    /// The key as in a public key file, without a comment.
    pub fn to_line(&self) -> String {
        format!("{} {}", self.kind.name(), STANDARD.encode(&self.blob))
    }

    /// `SHA256:…`, as `ssh-keygen -l` shows it.
    pub fn fingerprint(&self) -> String {
        format!(
            "SHA256:{}",
            STANDARD_NO_PAD.encode(digest(&SHA256, &self.blob))
        )
    }

    /// The kind of the key.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The binary form.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    pub(crate) fn point(&self) -> &[u8] {
        &self.point
    }

    pub(crate) fn application(&self) -> &[u8] {
        &self.application
    }
}
