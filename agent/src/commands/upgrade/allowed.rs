//! Which program an upgrade may install: on a node with signers, a job installs only the one whose
//! SHA-256 is in the script that a signer has signed. Root at the machine may install any.

use std::ffi::OsString;
use std::path::Path;

use crate::commands::agent_process::{AgentProcess, is_in_job};
use crate::config::ConfigError;
use crate::job_trust::SIGNERS_DEFAULT;

/// The program that may be installed.
pub(super) struct Allowed {
    /// `--sha256`; `None` allows any program.
    sha256: Option<String>,
    has_signers: bool,
}

impl Allowed {
    /// From the value of `--sha256`, and the environment, which is that of the agent.
    pub(super) fn parse(
        given: Option<OsString>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let has_signers = env("HYPRBOX_SIGNERS").is_some_and(|value| !value.is_empty())
            || Path::new(SIGNERS_DEFAULT).symlink_metadata().is_ok();
        let sha256 = given.map(|value| value.to_string_lossy().into_owned());
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match sha256 {
            Some(value) if value.len() != 64 || !value.bytes().all(is_digit) => {
                Err(ConfigError::Bad {
                    name: "--sha256".to_owned(),
                    value,
                    allowed: "the program's SHA-256: 64 hex digits in lower case".to_owned(),
                })
            }
            sha256 => Ok(Self {
                sha256,
                has_signers,
            }),
        }
    }

    /// Refuses a job that names no program, if this node runs only what people have signed.
    pub(super) fn check_call(&self, agent: Option<&AgentProcess>) -> Result<(), String> {
        let has_signers = self.has_signers || agent.is_some_and(AgentProcess::names_signers);
        if self.sha256.is_some() || !has_signers || !is_in_job() {
            return Ok(());
        }
        Err(
            "this node has signers, so a job installs only the program that they have signed, and this job names none: \
             queue agent-upgrade with the param sha256, or run `hyprbox-agent upgrade` at the machine as root; nothing was changed"
                .to_owned(),
        )
    }

    /// Refuses every program but the named one.
    pub(super) fn check_file(&self, sha256: &str) -> Result<(), String> {
        match &self.sha256 {
            Some(named) if named != sha256 => Err(format!(
                "the program's SHA-256 is {sha256} and not {named}, which was named; nothing was changed"
            )),
            _ => Ok(()),
        }
    }
}
