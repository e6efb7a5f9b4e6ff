//! The node's list of signers, `/etc/hyprbox/signers`: if it exists, each job needs a signature by
//! one of them. Only root writes it, and it is read at each job.

use std::io;
use std::path::PathBuf;

use hyprbox_signing::Signers;

use super::Denial;
use crate::config::Config;

/// The list, unless a setting names another one.
pub(crate) const SIGNERS_DEFAULT: &str = "/etc/hyprbox/signers";

/// The list's file.
pub(crate) struct SignersFile {
    path: PathBuf,
    /// A setting names the file, so it must exist.
    is_named: bool,
    logged: Vec<String>,
}

impl SignersFile {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            path: config
                .signers
                .clone()
                .unwrap_or_else(|| PathBuf::from(SIGNERS_DEFAULT)),
            is_named: config.signers.is_some(),
            logged: Vec::new(),
        }
    }

    /// Whether this node requires signatures by people.
    pub(crate) fn exists(&self) -> bool {
        self.is_named || self.path.symlink_metadata().is_ok()
    }

    /// The signers; `None` if this node has no list.
    pub(super) fn read(&mut self) -> Result<Option<Signers>, Denial> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound && !self.exists() => return Ok(None),
            Err(e) => {
                let path = self.path.display();
                return Err(Denial::Problem(format!(
                    "the list of signers {path} can't be read: {e}"
                )));
            }
        };
        let (signers, faults) = Signers::parse(&text);
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        if faults != self.logged {
            for fault in &faults {
                tracing::warn!("{}: {fault}", self.path.display());
            }
            self.logged = faults;
        }
        Ok(Some(signers))
    }
}
