//! `hyprbox-agent check`: tries what the agent needs, and says how to mend what is missing.

mod clock;
mod folder;
mod server;
mod supervisor;
mod tls;
mod way;

use std::fmt;
use std::process::Command;

use crate::config::Config;

/// What one try found.
pub struct Finding {
    /// What was tried: `bash`, `supervisor`, `state folder`, `proxy`, `name`, `line`, `tls`,
    /// `server`, `clock`, `token`.
    pub what: &'static str,
    /// What was seen.
    pub seen: String,
    /// How to mend it, where it is wrong.
    pub mend: Option<String>,
}

impl Finding {
    fn good(what: &'static str, seen: impl Into<String>) -> Self {
        Self {
            what,
            seen: seen.into(),
            mend: None,
        }
    }

    fn wrong(what: &'static str, seen: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            what,
            seen: seen.into(),
            mend: Some(mend.into()),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.mend {
            None => write!(f, "ok     {}: {}", self.what, self.seen),
            Some(mend) => write!(
                f,
                "wrong  {}: {}\n       mend: {mend}",
                self.what, self.seen
            ),
        }
    }
}

/// Tries bash, the state folder, and the way to the server step by step, up to the first step that
/// nothing leads on from.
pub async fn check(config: &Config) -> Vec<Finding> {
    let mut findings = vec![bash(), supervisor::look(), folder::look(&config.state_dir)];
    findings.extend(server::look(config).await);
    findings
}

fn bash() -> Finding {
    let asked = Command::new("/bin/bash")
        .args(["-c", "echo \"$BASH_VERSION\""])
        .env_clear()
        .output();
    match asked {
        Ok(answer) if answer.status.success() => {
            let version = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
            Finding::good("bash", format!("/bin/bash {version}"))
        }
        Ok(answer) => Finding::wrong(
            "bash",
            format!("/bin/bash doesn't work: {}", answer.status),
            "reinstall the package bash",
        ),
        Err(e) => Finding::wrong(
            "bash",
            format!("/bin/bash can't be started: {e}"),
            "install the package bash",
        ),
    }
}
