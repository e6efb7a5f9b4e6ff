//! The environment of a script: the same on every node, whatever started the agent.

use std::collections::BTreeMap;

use nix::unistd::{User, geteuid};

use crate::config::Config;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The complete environment for the script of the job `id`.
pub(crate) fn script_env(config: &Config, id: &str) -> BTreeMap<String, String> {
    let own = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = geteuid();
    // A user without an entry in passwd is named by its number.
    let account = User::from_uid(user).ok().flatten();
    let name = account
        .as_ref()
        .map_or_else(|| user.to_string(), |account| account.name.clone());
    let home = own("HOME").unwrap_or_else(|| match &account {
        Some(account) => account.dir.to_string_lossy().into_owned(),
        None if user.is_root() => "/root".to_owned(),
        None => "/".to_owned(),
    });
    let mut env: BTreeMap<String, String> = [
        ("PATH", own("PATH").unwrap_or_else(|| PATH.to_owned())),
        ("HOME", home),
        ("USER", name.clone()),
        ("LOGNAME", name),
        ("SHELL", "/bin/bash".to_owned()),
        ("LANG", own("LANG").unwrap_or_else(|| "C.UTF-8".to_owned())),
        ("TERM", "dumb".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    for name in &config.job_env {
        if let Ok(value) = std::env::var(name) {
            // What every job has stays as it is on every node.
            env.entry(name.clone()).or_insert(value);
        }
    }
    // Last, so that HYPRBOX_JOB_ENV can't override them.
    env.insert("HYPRBOX_JOB_ID".to_owned(), id.to_owned());
    env.insert("HYPRBOX_NODE_ID".to_owned(), config.node_id.clone());
    env.remove("HYPRBOX_FORCE");
    if config.force {
        env.insert("HYPRBOX_FORCE".to_owned(), "1".to_owned());
    }
    env
}
