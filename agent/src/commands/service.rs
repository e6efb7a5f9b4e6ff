//! The service's environment for what a person, or a script, runs beside it: they mean the same
//! server, by the same way.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use hyprbox_protocol::parse_environment;

use crate::commands::agent_process::{Running, state_dir_of_this_job};

/// Where the unit reads its environment from.
pub(crate) const ENV_FILE: &str = "/etc/hyprbox/agent.env";

/// Variables beside our own that decide how the server is reached.
const WAYS: [&str; 10] = [
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

/// What the service on this machine has in its environment; nothing where there is no service, or
/// it is not ours to read.
pub fn environment() -> HashMap<String, String> {
    std::fs::read_to_string(ENV_FILE)
        .map_or_else(|_| HashMap::new(), |text| parse_environment(&text))
}

/// What to say where the service's environment is there, but not for this user.
pub fn hidden() -> Option<&'static str> {
    let read = std::fs::File::open(ENV_FILE);
    let is_hidden = read.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
    is_hidden.then_some("the service's settings are in /etc/hyprbox/agent.env, which root alone may read: run this with sudo")
}

/// The environment of the agent whose job this process is part of, or of the one that runs as a
/// service; without its token.
pub fn environment_of_the_agent() -> HashMap<String, String> {
    let mut variables = environment();
    let own = |name| std::env::var_os(name).map(std::path::PathBuf::from);
    if let Some(dir) = own("HYPRBOX_STATE_DIR").or_else(state_dir_of_this_job) {
        if let Some(agent) = Running::find(&dir) {
            variables.extend(agent.environment());
        }
        let dir = dir.to_string_lossy().into_owned();
        variables.insert("HYPRBOX_STATE_DIR".to_owned(), dir);
    }
    variables.remove("HYPRBOX_NODE_TOKEN");
    variables
}

/// Goes on as the same program, with the token in the environment and these flags. `own` is the
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

/// Goes on as the same program with those of these variables that this process lacks; returns where
/// it lacks none. For good, and not for our own settings alone: libraries read the proxies by
/// themselves.
pub fn adopt(variables: HashMap<String, String>) -> Result<(), String> {
    let lacks = |name: &str| std::env::var_os(name).is_none_or(|value| value.is_empty());
    let is_meant = |name: &str| name.starts_with("HYPRBOX_") || WAYS.contains(&name);
    let mut missing = variables;
    missing.retain(|name, value| is_meant(name) && !value.is_empty() && lacks(name));
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
