//! `hyprbox doctor`: looks at what the server stands on, and says of each thing how it is and how
//! to mend it.

mod data;
mod machine;

use std::fmt;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde::Serialize;

use crate::config::{self, Config, DatabaseUrl};

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Ok,
    /// It works, but somebody should know.
    Warn,
    /// It doesn't work, or soon won't.
    Fail,
}

/// What one look found.
#[derive(Debug, Serialize)]
struct Finding {
    /// What was looked at: `settings`, `database`, `disk` …
    what: &'static str,
    health: Health,
    seen: String,
    /// How to mend it, where it is not well.
    mend: Option<String>,
}

impl Finding {
    fn ok(what: &'static str, seen: impl Into<String>) -> Self {
        Self {
            what,
            health: Health::Ok,
            seen: seen.into(),
            mend: None,
        }
    }

    fn warn(what: &'static str, seen: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            health: Health::Warn,
            mend: Some(mend.into()),
            ..Self::ok(what, seen)
        }
    }

    fn fail(what: &'static str, seen: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            health: Health::Fail,
            mend: Some(mend.into()),
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
        match &self.mend {
            Some(mend) => write!(f, "\n       mend: {mend}"),
            None => Ok(()),
        }
    }
}

/// The command's words.
pub fn command() -> Command {
    config::with_every_flag(
        Command::new("doctor")
            .about("Look at what the server stands on, and say how to mend what is wrong")
            .long_about(
                "Looks at what the server stands on, and says how to mend what is wrong: settings, data folder, key, disk, \
                 database, address, certificate, clock, backups, agents. It changes nothing, and the server may run. It ends with 1 where \
                 something fails. Settings are read as the server reads them, and from /etc/hyprbox/server.env.",
            )
            .arg(
                Arg::new("json")
                    .long("json")
                    .action(ArgAction::SetTrue)
                    .help("Print the findings as one JSON object"),
            ),
    )
}

/// What was found, ready to print, and whether nothing fails.
pub fn run(arguments: &ArgMatches) -> (String, bool) {
    let findings = match config::operators_config(arguments) {
        Ok(config) => look(&config),
        Err(error) => vec![Finding::fail(
            "settings",
            error,
            "set it to what is allowed; the server does not start with it",
        )],
    };
    let is_well = findings
        .iter()
        .all(|finding| finding.health != Health::Fail);
    let printed = if arguments.get_flag("json") {
        serde_json::json!({"ok": is_well, "findings": findings}).to_string()
    } else {
        let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
        lines.join("\n")
    };
    (printed, is_well)
}

fn look(config: &Config) -> Vec<Finding> {
    let mut findings = vec![Finding::ok("settings", "every value can be used")];
    findings.extend(addresses(config));
    findings.push(machine::folder(&config.data_dir));
    findings.push(machine::disk(&config.data_dir));
    match &config.database {
        DatabaseUrl::Sqlite(path) => findings.extend(data::database(path, config)),
        #[cfg(feature = "postgres")]
        DatabaseUrl::Postgres(url) => findings.extend(data::postgres(url, config)),
    }
    findings.extend(config.tls.as_ref().map(machine::certificate));
    findings.push(machine::key(&config.secret_key_file, data::exists(config)));
    findings.push(data::backups(config));
    findings
}

/// Where the server is reached, and whether others on the network can listen in.
fn addresses(config: &Config) -> Vec<Finding> {
    let listen = config.listen;
    let mut findings = Vec::new();
    if config.has_no_address() {
        findings.push(Finding::warn(
            "address",
            format!("{listen} is every address of this machine, and no setting says which one people and nodes use"),
            "set HYPRBOX_PUBLIC_URL to the URL that people and nodes reach the server at",
        ));
    }
    if config.serves_in_the_clear() {
        findings.push(Finding::warn(
            "encryption",
            format!(
                "{listen} serves plain http to other machines: whoever reads the network traffic can read passwords, tokens \
                 and output"
            ),
            "set HYPRBOX_TLS_CERT and HYPRBOX_TLS_KEY, or listen on 127.0.0.1 behind a proxy with https",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("address", listen.to_string()));
    }
    findings
}
