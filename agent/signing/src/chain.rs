//! Statements by which a server's sign key names its successor, so that agents follow a rotation.

use serde::{Deserialize, Serialize};

use crate::public_key::PublicKey;
use crate::signature::SshSignature;
use crate::time::millis_of_rfc3339;

/// The namespace of such a statement's signature.
pub const ROTATION_NAMESPACE: &str = "hyprbox-sign-key-v1";

/// A statement: from `at` on, `to` signs in the place of `from`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyChange {
    /// The version, 1.
    pub v: u64,
    /// The server's id.
    pub server: String,
    /// The key before, as in a public key file.
    pub from: String,
    /// The key from now on.
    pub to: String,
    /// RFC 3339, UTC, milliseconds.
    pub at: String,
}

/// A statement and its signature by the key before, as they are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedKeyChange {
    /// The statement as JSON on one line.
    pub statement: String,
    /// The armored signature over it.
    pub signature: String,
}

impl KeyChange {
    /// The statement as JSON on one line: the bytes to sign.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are JSON")
    }
}

impl SignedKeyChange {
    /// The key before, the key after, and the time in milliseconds; `None` if the key before has
    /// not signed exactly this.
    pub fn verify(&self) -> Option<(PublicKey, PublicKey, i64)> {
        let signature = SshSignature::parse(&self.signature).ok()?;
        let verified = signature.verify(ROTATION_NAMESPACE, self.statement.as_bytes());
        verified.ok()?;
        let change: KeyChange = serde_json::from_str(&self.statement).ok()?;
        let (from, _) = PublicKey::parse_line(&change.from)?;
        let (to, _) = PublicKey::parse_line(&change.to)?;
        let at = millis_of_rfc3339(&change.at)?;
        (change.v == 1 && from == *signature.key()).then_some((from, to, at))
    }
}
