//! `hyprbox doctor`: checks everything that the server depends on and reports problems with a fix.

mod data;
mod history;
mod machine;
mod signing;

use std::fmt;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde::Serialize;

use crate::auth::is_local;
use crate::config::{self, Config, DatabaseUrl};

/// Result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Ok,
    /// It works, but somebody should know.
    Warn,
    /// It doesn't work, or soon won't.
    Fail,
}

/// One check and its result.
#[derive(Debug, Serialize)]
struct Finding {
    /// The subject: `settings`, `database`, `disk` …
    what: &'static str,
    health: Health,
    seen: String,
    /// How to fix the problem.
    fix: Option<String>,
}

impl Finding {
    fn ok(what: &'static str, seen: impl Into<String>) -> Self {
        Self {
            what,
            health: Health::Ok,
            seen: seen.into(),
            fix: None,
        }
    }

    fn warn(what: &'static str, seen: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            health: Health::Warn,
            fix: Some(fix.into()),
            ..Self::ok(what, seen)
        }
    }

    fn fail(what: &'static str, seen: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            health: Health::Fail,
            fix: Some(fix.into()),
            ..Self::ok(what, seen)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.health {
            Health::Ok => "ok",
            Health::Warn => "warn",
            Health::Fail => "fail",
        };
        write!(f, "{word:<5}  {}: {}", self.what, self.seen)?;
        match &self.fix {
            Some(fix) => write!(f, "\n       fix: {fix}"),
            None => Ok(()),
        }
    }
}

/// Defines the command.
pub fn command() -> Command {
    config::with_every_flag(
        Command::new("doctor")
            .about("Check what the server depends on, and report how to fix problems")
            .long_about(
                "Checks what the server depends on, and reports how to fix problems: settings, data directory, key, disk, database, \
                 address, certificate, clock, backups, agents. Changes nothing; the server may be running. Exits with 1 if a check \
                 fails. Reads the same settings as the server, and /etc/hyprbox/server.env.",
            )
            .arg(
                Arg::new("json")
                    .long("json")
                    .action(ArgAction::SetTrue)
                    .help("Print the findings as one JSON object"),
            ),
    )
}

/// Runs the command. Returns the text to print and whether no check failed.
pub fn run(arguments: &ArgMatches) -> (String, bool) {
    let findings = match config::operators_config(arguments) {
        Ok(config) => check(&config),
        Err(error) => vec![Finding::fail(
            "settings",
            error,
            "set an allowed value; the server does not start with this one",
        )],
    };
    let is_ok = findings
        .iter()
        .all(|finding| finding.health != Health::Fail);
    let printed = if arguments.get_flag("json") {
        serde_json::json!({"ok": is_ok, "findings": findings}).to_string()
    } else {
        let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
        lines.join("\n")
    };
    (printed, is_ok)
}

fn check(config: &Config) -> Vec<Finding> {
    let mut findings = vec![Finding::ok("settings", "every value is valid")];
    findings.extend(addresses(config));
    findings.push(machine::folder(&config.data_dir));
    findings.push(machine::disk(&config.data_dir));
    match &config.database {
        DatabaseUrl::Sqlite(path) => findings.extend(data::database(path, config)),
        #[cfg(feature = "postgres")]
        DatabaseUrl::Postgres(url) => findings.extend(data::postgres(url, config)),
    }
    findings.extend(history::findings(config));
    findings.extend(config.tls.as_ref().map(machine::certificate));
    findings.push(machine::key(&config.secret_key_file, data::exists(config)));
    findings.push(data::backups(config));
    findings
}

/// Whether the server's address is known and its traffic is encrypted.
fn addresses(config: &Config) -> Vec<Finding> {
    let listen = config.listen;
    let mut findings = Vec::new();
    if config.has_no_address() {
        findings.push(Finding::warn(
            "address",
            format!("{listen} means every address of this machine, and no setting names the one that people and nodes use"),
            "set HYPRBOX_PUBLIC_URL to the URL at which people and nodes reach the server",
        ));
    }
    let own = config.public_url.as_deref();
    let own = own.map_or_else(|| format!("http://{listen}"), str::to_owned);
    if !config.has_no_address() && is_local(&own) {
        findings.push(Finding::warn(
            "address",
            format!("{own} works only on this machine: nodes and people on other machines can't reach it"),
            "set HYPRBOX_LISTEN to an address that they reach, such as 0.0.0.0:4000, and HYPRBOX_PUBLIC_URL to the URL \
             with it; or put a proxy in front, and set HYPRBOX_PUBLIC_URL to the proxy's URL",
        ));
    }
    if config.serves_in_the_clear() {
        findings.push(Finding::warn(
            "encryption",
            format!(
                "{listen} serves plain http to other machines: anybody who can read the network traffic can read passwords, \
                 tokens and output"
            ),
            "set HYPRBOX_TLS_CERT and HYPRBOX_TLS_KEY, or listen on 127.0.0.1 behind a proxy with https",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("address", listen.to_string()));
    }
    findings
}
