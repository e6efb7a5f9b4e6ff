//! A client of `ssh-agent`, which holds keys that have a passphrase and those of security keys.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::public_key::{KeyKind, PublicKey};
use crate::signature::{SshSignature, armor, data_to_sign};
use crate::wire::{Reader, put_string};

const FAILURE: u8 = 5;
const LIST: u8 = 11;
const LISTED: u8 = 12;
const SIGN: u8 = 13;
const SIGNED: u8 = 14;
const ANSWER_MAX: u32 = 256 * 1_024;
const KEYS_MAX: u32 = 1_024;
/// A person may have to touch a security key or to confirm.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why `ssh-agent` can't be used.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The socket can't be used.
    #[error("ssh-agent can't be reached: {0}")]
    Io(#[from] io::Error),
    /// The agent did not sign.
    #[error(
        "ssh-agent refused to sign; is the key still loaded, and was the security key touched?"
    )]
    Refused,
    /// It does not speak the protocol.
    #[error("ssh-agent's answer can't be read")]
    Malformed,
}

/// A key that `ssh-agent` holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentKey {
    /// The public key.
    pub key: PublicKey,
    /// Its comment.
    pub comment: String,
}

/// A connection to `ssh-agent`.
#[derive(Debug)]
pub struct SshAgent(UnixStream);

impl SshAgent {
    /// Connects to the socket that `SSH_AUTH_SOCK` names.
    pub fn connect(socket: &Path) -> Result<Self, AgentError> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// The agent's keys that may sign jobs.
    pub fn keys(&mut self) -> Result<Vec<AgentKey>, AgentError> {
        let answer = self.call(&[LIST])?;
        parse_keys(&answer).ok_or(AgentError::Malformed)
    }

    /// Signs `message` for the purpose `namespace`. Returns the armored signature.
    pub fn sign(
        &mut self,
        key: &PublicKey,
        namespace: &str,
        message: &[u8],
    ) -> Result<String, AgentError> {
        let mut request = vec![SIGN];
        put_string(&mut request, key.blob());
        put_string(&mut request, &data_to_sign(namespace, message));
        request.extend_from_slice(&[0; 4]);
        let answer = self.call(&request)?;
        let mut reader = Reader::new(&answer);
        match reader.byte() {
            Some(SIGNED) => {}
            Some(FAILURE) => return Err(AgentError::Refused),
            _ => return Err(AgentError::Malformed),
        }
        let raw = reader.string().ok_or(AgentError::Malformed)?.to_vec();
        let armored = armor(key, namespace, raw);
        let signature = SshSignature::parse(&armored).map_err(|_| AgentError::Malformed)?;
        match signature.verify(namespace, message) {
            Ok(()) => Ok(armored),
            Err(_) => Err(AgentError::Refused),
        }
    }

    fn call(&mut self, request: &[u8]) -> Result<Vec<u8>, AgentError> {
        let mut message = Vec::with_capacity(request.len() + 4);
        put_string(&mut message, request);
        self.0.write_all(&message)?;
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > ANSWER_MAX {
            return Err(AgentError::Malformed);
        }
        let mut answer = Vec::new();
        let mut limited = (&mut self.0).take(u64::from(length));
        limited.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

fn parse_keys(answer: &[u8]) -> Option<Vec<AgentKey>> {
    let mut reader = Reader::new(answer);
    if reader.byte()? != LISTED {
        return None;
    }
    let count = reader.u32()?;
    let mut keys = Vec::new();
    for _ in 0..count.min(KEYS_MAX) {
        let blob = reader.string()?;
        let comment = String::from_utf8_lossy(reader.string()?).into_owned();
        // Keys of other kinds, such as rsa, are passed over.
        keys.extend(PublicKey::from_blob(blob).map(|key| AgentKey { key, comment }));
    }
    // Security keys first: they prove that a person was there.
    keys.sort_by_key(|known| known.key.kind() != KeyKind::SkEd25519);
    Some(keys)
}
