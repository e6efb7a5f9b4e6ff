//! The key with which a person signs: in a file, or in ssh-agent. The server never sees it.

use std::path::{Path, PathBuf};

use hyprbox_signing::{JOB_NAMESPACE, PublicKey, SignKey, SshAgent};
use zeroize::Zeroizing;

use super::error::CliError;

/// The key without `--key` and ssh-agent, below the home folder.
const KEY_DEFAULT: &str = ".ssh/id_ed25519";
/// More than a public key's file has.
const PUBLIC_KEY_MAX: usize = 16 * 1_024;

/// The person's key: in a file, or in ssh-agent.
pub(super) enum PersonKey {
    File(SignKey),
    Agent {
        agent: SshAgent,
        key: PublicKey,
        comment: String,
    },
}

impl PersonKey {
    /// The key that `--key` names; without it, the only key of ssh-agent, or `~/.ssh/id_ed25519`.
    pub(super) fn open(file: Option<&Path>) -> Result<Self, CliError> {
        if let Some(file) = file {
            return Self::in_file(file);
        }
        if let Some(mut agent) = ssh_agent()? {
            let keys = agent
                .keys()
                .map_err(|error| CliError::failed(error.to_string()))?;
            if keys.len() > 1 {
                let mut error =
                    CliError::failed("ssh-agent holds several keys: name one with --key FILE.pub");
                error.hints = keys
                    .iter()
                    .map(|known| format!("{} {}", known.key.fingerprint(), known.comment))
                    .collect();
                return Err(error);
            }
            if let Some(known) = keys.into_iter().next() {
                return Ok(Self::Agent {
                    agent,
                    key: known.key,
                    comment: known.comment,
                });
            }
        }
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let file = home
            .map(|home| home.join(KEY_DEFAULT))
            .filter(|file| file.exists());
        match file {
            Some(file) => Self::in_file(&file),
            None => Err(CliError::failed("there is no key to sign with")
                .hint("name an ed25519 key with --key FILE, or load one with `ssh-add`")),
        }
    }

    fn in_file(file: &Path) -> Result<Self, CliError> {
        let wrong = |why: String| CliError::failed(format!("{}: {why}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        let text = Zeroizing::new(text);
        if text.len() <= PUBLIC_KEY_MAX
            && let Some((key, comment)) = PublicKey::parse_line(&text)
        {
            return Self::in_agent(key, comment).map_err(|error| wrong(error.message));
        }
        match SignKey::parse(&text) {
            Ok(key) => Ok(Self::File(key)),
            Err(error) => {
                // With the public key next to it, the private one may be in ssh-agent.
                let mut public = file.as_os_str().to_owned();
                public.push(".pub");
                let line = std::fs::read_to_string(PathBuf::from(public)).unwrap_or_default();
                match PublicKey::parse_line(&line) {
                    Some((key, comment)) => {
                        Self::in_agent(key, comment).map_err(|_| wrong(error.to_string()))
                    }
                    None => Err(wrong(error.to_string())),
                }
            }
        }
    }

    fn in_agent(key: PublicKey, comment: &str) -> Result<Self, CliError> {
        let missing =
            || CliError::failed("ssh-agent does not hold this key; load it with `ssh-add`");
        let mut agent = ssh_agent()?.ok_or_else(missing)?;
        let keys = agent
            .keys()
            .map_err(|error| CliError::failed(error.to_string()))?;
        if !keys.iter().any(|known| known.key == key) {
            return Err(missing());
        }
        Ok(Self::Agent {
            agent,
            key,
            comment: comment.to_owned(),
        })
    }

    pub(super) fn public(&self) -> &PublicKey {
        match self {
            Self::File(key) => key.public(),
            Self::Agent { key, .. } => key,
        }
    }

    pub(super) fn comment(&self) -> &str {
        match self {
            Self::File(key) => key.comment(),
            Self::Agent { comment, .. } => comment,
        }
    }

    pub(super) fn sign(&mut self, envelope: &[u8]) -> Result<String, CliError> {
        match self {
            Self::File(key) => Ok(key.sign(JOB_NAMESPACE, envelope)),
            Self::Agent { agent, key, .. } => agent
                .sign(key, JOB_NAMESPACE, envelope)
                .map_err(|error| CliError::failed(error.to_string())),
        }
    }
}

/// A connection to the agent that `SSH_AUTH_SOCK` names.
fn ssh_agent() -> Result<Option<SshAgent>, CliError> {
    let Some(socket) = std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty()) else {
        return Ok(None);
    };
    let agent = SshAgent::connect(Path::new(&socket));
    agent
        .map(Some)
        .map_err(|error| CliError::failed(format!("{error} (SSH_AUTH_SOCK)")))
}
