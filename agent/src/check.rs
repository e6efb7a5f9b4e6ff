//! `hyprbox-agent check`: tries what the agent needs, and says how to mend what is missing.

use std::fmt;
use std::path::Path;
use std::process::Command;

use crate::client::{CallError, Client, PollRequest};
use crate::config::Config;

/// What one try found.
pub struct Finding {
    /// What was tried: `bash`, `state folder`, `server`, `token`.
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

/// Tries bash, the state folder, the server and the token, in that order.
pub async fn check(config: &Config) -> Vec<Finding> {
    let mut findings = vec![bash(), state_folder(&config.state_dir)];
    findings.extend(server(config).await);
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

fn state_folder(dir: &Path) -> Finding {
    let shown = dir.display();
    // A folder that isn't there yet is judged by where it would be made.
    let nearest = dir.ancestors().find(|d| d.exists()).unwrap_or(dir);
    let access = nix::unistd::access(nearest, nix::unistd::AccessFlags::W_OK);
    let mend = "give this user a folder that it may write, with HYPRBOX_STATE_DIR or --state-dir";
    match access {
        Err(e) => Finding::wrong(
            "state folder",
            format!("{shown} can't be written: {}", e.desc()),
            mend,
        ),
        Ok(()) if !nearest.is_dir() => {
            Finding::wrong("state folder", format!("{shown} is no folder"), mend)
        }
        Ok(()) if nearest == dir => {
            Finding::good("state folder", format!("{shown} can be written"))
        }
        Ok(()) => Finding::good("state folder", format!("{shown} will be made")),
    }
}

/// One poll that takes no job tells of the server and of the token.
async fn server(config: &Config) -> Vec<Finding> {
    let url = &config.api_url;
    let client = match Client::new(config) {
        Ok(client) => client,
        Err(e) => return vec![Finding::wrong("server", e.to_string(), "see above")],
    };
    let poll = PollRequest {
        instance: None,
        wait_seconds: 0,
        capacity: 0,
        running: &[],
    };
    let reached = || Finding::good("server", format!("{url} answers"));
    match client.pending(&poll).await {
        Ok(_) => vec![
            reached(),
            Finding::good("token", format!("it is that of node {}", config.node_id)),
        ],
        Err(CallError::Unauthorized { status: 403 }) => vec![
            reached(),
            Finding::wrong(
                "token",
                format!("it is not that of node {}", config.node_id),
                "set HYPRBOX_NODE_ID to the token's node, or make this node a token of its own and set \
                 HYPRBOX_NODE_TOKEN",
            ),
        ],
        Err(CallError::Unauthorized { .. }) => vec![
            reached(),
            Finding::wrong(
                "token",
                "the server doesn't know it, or it was revoked",
                "make a new token for this node on the server and set HYPRBOX_NODE_TOKEN",
            ),
        ],
        Err(e @ CallError::Network(_)) => vec![Finding::wrong(
            "server",
            format!("{url} can't be reached: {e}"),
            "check HYPRBOX_API_URL, that the server runs, and the firewalls on the way",
        )],
        Err(e @ (CallError::Status { .. } | CallError::Answer(_))) => vec![Finding::wrong(
            "server",
            format!("{url} doesn't answer as a HyprBox server: {e}"),
            "check HYPRBOX_API_URL, and any proxy on the way",
        )],
    }
}
