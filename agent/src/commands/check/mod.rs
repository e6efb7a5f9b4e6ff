//! `hyprbox-agent check`: tries what the agent needs, and reports each problem with its fix.

mod clock;
mod connection;
mod folder;
mod server;
mod spool;
mod supervisor;
mod tls;

use std::fmt;
use std::process::Command;

use crate::config::Config;

/// The result of one check.
pub struct Finding {
    /// `bash`, `supervisor`, `state folder`, `spool`, `proxy`, `dns`, `connection`, `tls`,
    /// `server`, `clock` or `token`.
    pub subject: &'static str,
    pub message: String,
    /// How to fix the problem; `None` if the check succeeded.
    pub fix: Option<String>,
}

impl Finding {
    fn good(subject: &'static str, message: impl Into<String>) -> Self {
        Self {
            subject,
            message: message.into(),
            fix: None,
        }
    }

    fn wrong(subject: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            subject,
            message: message.into(),
            fix: Some(fix.into()),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            subject,
            message,
            fix,
        } = self;
        match fix {
            None => write!(f, "ok     {subject}: {message}"),
            Some(fix) => write!(f, "wrong  {subject}: {message}\n       fix: {fix}"),
        }
    }
}

/// Checks bash, the supervisor, the state folder and its room for output, and then the connection
/// to the server step by step, up to the first step that fails.
pub async fn check(config: &Config) -> Vec<Finding> {
    let mut findings = vec![
        check_bash(),
        supervisor::check(),
        folder::check(&config.state_dir),
        spool::check(config),
    ];
    findings.extend(server::check(config).await);
    findings
}

fn check_bash() -> Finding {
    let output = Command::new("/bin/bash")
        .args(["-c", "echo \"$BASH_VERSION\""])
        .env_clear()
        .output();
    match output {
        Ok(output) if output.status.success() => {
            let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            Finding::good("bash", format!("/bin/bash {version}"))
        }
        Ok(output) => Finding::wrong(
            "bash",
            format!("/bin/bash doesn't work: {}", output.status),
            "reinstall the package bash",
        ),
        Err(e) => Finding::wrong(
            "bash",
            format!("/bin/bash can't be started: {e}"),
            "install the package bash",
        ),
    }
}
