//! The keys with which the server signs jobs, in the file `trusted_servers`: from the enrolment, or
//! from the first signed job of an agent that knew none.

use std::io;
use std::path::{Path, PathBuf};

use hyprbox_protocol::{Refusal, SignKeyChange};
use hyprbox_signing::{JOB_NAMESPACE, SignedKeyChange, Signer, Signers, SshSignature};

use super::{Denial, refused};
use crate::config::{Config, is_in_the_clear};
use crate::state::replace_file;

/// The file's name.
pub(crate) const FILE_NAME: &str = "trusted_servers";

/// The file of trusted keys.
pub(crate) struct TrustedServers {
    path: PathBuf,
    /// Whether nobody on the path can have replaced the server's answer.
    may_learn: bool,
}

impl TrustedServers {
    pub(crate) fn of(config: &Config) -> Self {
        let named = config.trusted_servers.clone().filter(|path| {
            let has_folder = path.parent().is_some_and(Path::is_dir);
            if !has_folder {
                tracing::warn!(
                    "{} can't be used: its folder does not exist; the server's keys are kept in the state folder",
                    path.display()
                );
            }
            has_folder
        });
        let in_state = || config.state_dir.join(FILE_NAME);
        Self {
            path: named.unwrap_or_else(in_state),
            may_learn: !is_in_the_clear(&config.api_url),
        }
    }

    fn read(&self) -> Result<Signers, Denial> {
        let path = self.path.display();
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Signers::default()),
            Err(e) => {
                let problem = format!("the server's keys in {path} can't be read: {e}");
                return Err(Denial::Problem(problem));
            }
        };
        let (keys, faults) = Signers::parse_keys(&text);
        match faults.first() {
            // Otherwise a damaged file would make the agent trust the next key that it sees.
            Some(fault) if keys.is_empty() => Err(Denial::Problem(format!(
                "{path} has no key of a server: {fault}; correct it, or enrol this node again"
            ))),
            _ => Ok(keys),
        }
    }

    fn write(&self, keys: &Signers) -> Result<(), Denial> {
        let text = format!(
            "# The keys with which this node's server signs jobs. Other jobs do not run here.\n{}",
            keys.to_keys_file()
        );
        replace_file(&self.path, text.as_bytes()).map_err(|e| {
            Denial::Problem(format!(
                "the server's key can't be written to {}: {e}",
                self.path.display()
            ))
        })
    }

    /// Whether any key is known.
    pub(super) fn knows_any(&self) -> Result<bool, Denial> {
        Ok(!self.read()?.is_empty())
    }

    /// The fingerprints of the keys that count now.
    pub(crate) fn fingerprints(&self) -> Vec<String> {
        let keys = self.read().unwrap_or_default();
        let current = keys
            .as_slice()
            .iter()
            .filter(|key| key.valid_before.is_none());
        current.map(|key| key.key.fingerprint()).collect()
    }

    /// The keys of the server, of which one has made the signature. Follows rotations of the key,
    /// and learns the first key that this agent ever sees.
    pub(super) fn keys_for(
        &self,
        signature: &SshSignature,
        envelope: &str,
        changes: &[SignKeyChange],
    ) -> Result<Signers, Denial> {
        let mut keys = self.read()?;
        let is_known = |keys: &Signers| {
            let mut known = keys.as_slice().iter();
            known.any(|known| known.key == *signature.key())
        };
        if keys.is_empty() {
            self.learn(signature, envelope, &mut keys)?;
        } else if follow(&mut keys, changes) {
            self.write(&keys)?;
        }
        if is_known(&keys) {
            return Ok(keys);
        }
        Err(refused(
            Refusal::Signer,
            format!(
                "this node does not know the key {} that signed the job; if the server's key was replaced, enrol the node again",
                signature.key().fingerprint()
            ),
        ))
    }

    fn learn(
        &self,
        signature: &SshSignature,
        envelope: &str,
        keys: &mut Signers,
    ) -> Result<(), Denial> {
        if !self.may_learn {
            return Err(refused(
                Refusal::Signer,
                format!(
                    "this agent knows no key of its server, and learns none over plain http: enrol the node again, or write the key to {}",
                    self.path.display()
                ),
            ));
        }
        let made = signature.verify(JOB_NAMESPACE, envelope.as_bytes());
        made.map_err(|error| refused(Refusal::Signature, error.to_string()))?;
        keys.push(Signer::of_key(signature.key().clone(), "learned"));
        self.write(keys)?;
        tracing::info!(
            "from now on this agent runs only jobs that its server has signed with the key {}, which is in {}",
            signature.key().fingerprint(),
            self.path.display()
        );
        Ok(())
    }
}

/// Adds keys that a trusted key has named as its successor. Returns whether there were any.
fn follow(keys: &mut Signers, changes: &[SignKeyChange]) -> bool {
    let mut has_news = false;
    for change in changes {
        let signed = SignedKeyChange {
            statement: change.statement.clone(),
            signature: change.signature.clone(),
        };
        let Some((from, to, at)) = signed.verify() else {
            continue;
        };
        // A key that was replaced before names nobody.
        let mut may_name = false;
        for known in keys.of_key_mut(&from) {
            if known.valid_before.is_none() {
                known.valid_before = Some(at);
                may_name = true;
            }
        }
        if may_name {
            tracing::info!(
                "the server's key {} is replaced by {}",
                from.fingerprint(),
                to.fingerprint()
            );
            keys.push(Signer::of_key(to, "rotated"));
            has_news = true;
        }
    }
    has_news
}
