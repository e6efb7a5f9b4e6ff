//! The environment of the agent's service. Commands that a person or a script runs next to it adopt
//! it, so that they reach the same server over the same path.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use hyprbox_protocol::parse_environment;

use crate::commands::agent_process::{AgentProcess, state_dir_of_this_job};

/// The file from which the unit reads its environment.
pub(crate) const ENV_FILE: &str = "/etc/hyprbox/agent.env";

/// Variables other than `HYPRBOX_…` that decide how the server is reached.
const CONNECTION_VARIABLES: [&str; 10] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Returns the environment of the service on this machine. It is empty if no service is installed,
/// or if this user may not read the file.
pub fn environment() -> HashMap<String, String> {
    std::fs::read_to_string(ENV_FILE)
        .map_or_else(|_| HashMap::new(), |text| parse_environment(&text))
}

/// A hint for a user who may not read the service's environment.
pub fn hint_to_use_sudo() -> Option<&'static str> {
    let read = std::fs::File::open(ENV_FILE);
    let is_forbidden =
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
    is_forbidden.then_some("the service's settings are in /etc/hyprbox/agent.env, which only root may read: run this with sudo")
}

/// Returns the environment of the agent whose job this process is part of, or of the service,
/// without the token.
pub fn environment_of_the_agent() -> HashMap<String, String> {
    let mut variables = environment();
    let own = |name| std::env::var_os(name).map(std::path::PathBuf::from);
    if let Some(dir) = own("HYPRBOX_STATE_DIR").or_else(state_dir_of_this_job) {
        if let Some(agent) = AgentProcess::find(&dir) {
            variables.extend(agent.environment());
        }
        let dir = dir.to_string_lossy().into_owned();
        variables.insert("HYPRBOX_STATE_DIR".to_owned(), dir);
    }
    variables.remove("HYPRBOX_NODE_TOKEN");
    variables
}

/// Executes this program again, with the token in the environment and these flags. `own` is the
/// program's name and command.
pub fn start_over(own: &[OsString], flags: &[String], token: &str) -> Result<(), String> {
    let [name, command] = own else {
        return Ok(());
    };
    let error = Command::new("/proc/self/exe")
        .arg0(name)
        .arg(command)
        .args(flags)
        .env("HYPRBOX_NODE_TOKEN", token)
        .exec();
    Err(format!("this program can't be started again: {error}"))
}

/// Executes this program again with those of these variables that it lacks, and returns only if it
/// lacks none. Setting them inside the process would not do: libraries read the proxies'
/// variables themselves.
pub fn adopt(variables: HashMap<String, String>) -> Result<(), String> {
    let lacks = |name: &str| std::env::var_os(name).is_none_or(|value| value.is_empty());
    let is_relevant =
        |name: &str| name.starts_with("HYPRBOX_") || CONNECTION_VARIABLES.contains(&name);
    let mut missing = variables;
    missing.retain(|name, value| is_relevant(name) && !value.is_empty() && lacks(name));
    if missing.is_empty() {
        return Ok(());
    }
    let error = Command::new("/proc/self/exe")
        .arg0("hyprbox-agent")
        .args(std::env::args_os().skip(1))
        .envs(missing)
        .exec();
    Err(format!("this program can't be started again: {error}"))
}
