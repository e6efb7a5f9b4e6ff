//! Signatures of jobs, shared by server, agent and command line: the envelope that is signed,
//! OpenSSH's signature format SSHSIG, keys, and lists of signers. No I/O, except for the client of
//! `ssh-agent`.
//!
//! Built on `ring`, which TLS links anyway, and a small strict parser. No input makes it panic:
//! `tests/hostile.rs` proves that with random and altered input.

#![warn(missing_docs)]

mod chain;
mod envelope;
mod private_key;
mod public_key;
mod signature;
mod signers;
mod ssh_agent;
mod standing;
mod time;
mod wire;

pub use chain::{KeyChange, ROTATION_NAMESPACE, SignedKeyChange};
pub use envelope::{Envelope, EnvelopeError, secrets_digest};
pub use private_key::{PrivateKeyError, SignKey};
pub use public_key::{KeyKind, PublicKey};
pub use signature::{SignatureError, SshSignature, armor, data_to_sign};
pub use signers::{Signer, Signers, SignersFault};
pub use ssh_agent::{AgentError, AgentKey, SshAgent};
pub use standing::StandingEnvelope;
pub use time::millis_of_rfc3339;

/// The namespace of a job's signatures, as in `ssh-keygen -Y verify -n`.
pub const JOB_NAMESPACE: &str = "hyprbox-job-v1";
