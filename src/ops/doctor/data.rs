//! The database and its backups.

use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use hyprbox_protocol::is_older;

use super::Finding;
use crate::clock;
use crate::config::{Config, DatabaseUrl};
use crate::nodes::Agents;
use crate::ops::{restore, schedule};
use crate::store::SCHEMA_VERSION;
#[cfg(feature = "postgres")]
use crate::store::diagnosis::diagnose_postgres;
use crate::store::diagnosis::{Content, Diagnosis, diagnose};

/// A clock that is behind the database by more was set back.
const CLOCK_SLACK_MS: i64 = 60_000;
/// How long a server may take to accept.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Names that are told of many.
const TOLD: usize = 5;

/// Whether there is a database already.
pub(super) fn exists(config: &Config) -> bool {
    match &config.database {
        DatabaseUrl::Sqlite(path) => path.exists(),
        #[cfg(feature = "postgres")]
        DatabaseUrl::Postgres(_) => true,
    }
}

/// The server that has it open, what is in it, and what that says of the rest.
pub(super) fn database(path: &Path, config: &Config) -> Vec<Finding> {
    let shown = path.display();
    if !path.exists() {
        return vec![Finding::warn(
            "database",
            format!("{shown} is not there yet"),
            "start the server, which makes it; or set HYPRBOX_DATA_DIR to the server's",
        )];
    }
    let mut findings = vec![server(path, config)];
    match diagnose(path) {
        Ok(found) => findings.extend(of(path, &found, config)),
        Err(error) => findings.push(Finding::fail(
            "database",
            format!("{shown}: {error}"),
            "run this as the server's user, or with sudo; of a damaged one, `hyprbox restore` brings back a backup",
        )),
    }
    findings
}

fn server(database: &Path, config: &Config) -> Finding {
    let Some(holder) = restore::holder(database) else {
        let seen = "no program has the database open";
        return Finding::warn("server", seen, "start it, where it is meant to run");
    };
    match TcpStream::connect_timeout(&config.listen, CONNECT_WITHIN) {
        Ok(_) => Finding::ok("server", format!("{holder}, {} answers", config.listen)),
        Err(error) => Finding::warn(
            "server",
            format!("{holder}, but {} does not answer: {error}", config.listen),
            "give this the server's HYPRBOX_LISTEN; if it is that, restart the server",
        ),
    }
}

fn of(path: &Path, found: &Diagnosis, config: &Config) -> Vec<Finding> {
    let mut findings = vec![soundness(path, found), clock(found)];
    findings.extend(content(&found.content, config));
    findings
}

fn content(content: &Content, config: &Config) -> Vec<Finding> {
    vec![
        schema(content.version),
        agents(&content.agents, config),
        nodes(content),
        jobs(content),
    ]
}

/// A database that several servers may share; how sound its files are, its own tools know.
#[cfg(feature = "postgres")]
pub(super) fn postgres(url: &str, config: &Config) -> Vec<Finding> {
    let found = match diagnose_postgres(url) {
        Ok(found) => found,
        Err(error) => {
            return vec![
                answers(config),
                Finding::fail(
                    "database",
                    error,
                    "look at HYPRBOX_DATABASE_URL, that PostgreSQL runs there (pg_isready), and at its pg_hba.conf",
                ),
            ];
        }
    };
    let seen = format!(
        "{} answers, PostgreSQL {}; its files are for pg_amcheck to look at",
        found.shown, found.server
    );
    let own = clock::now();
    let apart = own.millis_since(found.now);
    let mut findings = vec![answers(config), Finding::ok("database", seen)];
    findings.push(if apart.abs() > CLOCK_SLACK_MS {
        Finding::warn(
            "clock",
            format!(
                "it is {own} here and {} there, where leases are counted",
                found.now
            ),
            "set whichever clock is wrong (timedatectl), and keep it so by NTP",
        )
    } else {
        Finding::ok("clock", format!("{own}, as the database's"))
    });
    match &found.content {
        Some(found) => findings.extend(content(found, config)),
        None => findings.push(Finding::warn(
            "schema",
            "there are no tables yet",
            "start the server, which makes them",
        )),
    }
    findings
}

/// Whether a server takes connections where this one's settings say.
#[cfg(feature = "postgres")]
fn answers(config: &Config) -> Finding {
    match TcpStream::connect_timeout(&config.listen, CONNECT_WITHIN) {
        Ok(_) => Finding::ok("server", format!("{} answers", config.listen)),
        Err(error) => Finding::warn(
            "server",
            format!("{} does not answer: {error}", config.listen),
            "start it, or give this the server's HYPRBOX_LISTEN",
        ),
    }
}

fn soundness(path: &Path, found: &Diagnosis) -> Finding {
    if found.faults.is_empty() {
        return Finding::ok("database", format!("{} is sound", path.display()));
    }
    Finding::fail(
        "database",
        format!("{} is damaged: {}", path.display(), found.faults.join("; ")),
        "look at the disk (dmesg, smartctl); stop the server, and `hyprbox restore --replace` the newest backup",
    )
}

fn schema(version: i64) -> Finding {
    let seen = format!("version {version}, this program's is {SCHEMA_VERSION}");
    if version > SCHEMA_VERSION {
        Finding::fail("schema", seen, "install the newer hyprbox that made it")
    } else if version < SCHEMA_VERSION {
        Finding::warn("schema", seen, "restart the server, which upgrades it")
    } else {
        Finding::ok("schema", seen)
    }
}

fn clock(found: &Diagnosis) -> Finding {
    let now = clock::now();
    match found.newest {
        Some(newest) if newest.millis_since(now) > CLOCK_SLACK_MS => Finding::fail(
            "clock",
            format!("it is {now}, but the database has a time of {newest}"),
            "set this machine's clock (timedatectl), and keep it so by NTP",
        ),
        _ => Finding::ok(
            "clock",
            format!("{now}, not before the database's last time"),
        ),
    }
}

/// Agents that are older than the one that the server ships.
fn agents(agents: &[(String, String)], config: &Config) -> Finding {
    let Some(shipped) = Agents::new(config.agent_dir.clone()).version() else {
        return Finding::warn(
            "agents",
            "the server has no agent to give, or one that doesn't tell its version",
            "put static builds of this version into HYPRBOX_AGENT_DIR, named hyprbox-agent-x86_64 after `uname -m`",
        );
    };
    let behind: Vec<String> = agents
        .iter()
        .filter(|(_, version)| is_older(version, &shipped))
        .map(|(node, version)| format!("{node} has {version}"))
        .collect();
    if behind.is_empty() {
        let seen = format!("{} known, none older than {shipped}", agents.len());
        return Finding::ok("agents", seen);
    }
    Finding::warn(
        "agents",
        format!("the server ships {shipped}, but {}", few(&behind)),
        "queue the preset agent-upgrade for them; running jobs go on meanwhile",
    )
}

/// Nodes that can't run jobs, and those of whose agent somebody uses a copy.
fn nodes(found: &Content) -> Finding {
    let copied = found.copied.iter().map(|(node, at)| {
        format!(
            "two machines used one agent instance of {node} at {at}: one is a copy of the other"
        )
    });
    let problems = found
        .problems
        .iter()
        .map(|(node, problem)| format!("{node} can't run jobs as it should: {problem}"));
    let all: Vec<String> = problems.chain(copied).collect();
    if all.is_empty() {
        return Finding::ok("nodes", "none reports a problem");
    }
    Finding::warn(
        "nodes",
        few(&all),
        "run `hyprbox-agent check` on the node; make another node for a copied machine, or remove its agent",
    )
}

fn jobs(found: &Content) -> Finding {
    let overdue = found.overdue.iter();
    let waiting = found.waiting.iter();
    let stuck: Vec<String> = overdue
        .map(|(job, node)| format!("{job} on {node} runs far past its timeout"))
        .chain(
            waiting.map(|(node, count)| format!("{count} have waited for {node} for over a day")),
        )
        .chain(found.still_running.iter().map(|(job, node)| {
            format!("{node} still runs job {job}, which counted as lost or was ended by hand")
        }))
        .collect();
    if stuck.is_empty() {
        return Finding::ok("jobs", "none is stuck");
    }
    Finding::warn(
        "jobs",
        few(&stuck),
        "look whether the node is ONLINE, and run `hyprbox-agent check` there; cancelling a lost job stops its script",
    )
}

/// The scheduled backups.
pub(super) fn backups(config: &Config) -> Finding {
    #[cfg(feature = "postgres")]
    if let DatabaseUrl::Postgres(_) = &config.database {
        return Finding::ok(
            "backups",
            "those of PostgreSQL are for its own tools: pg_dump, or a copy of its log",
        );
    }
    let Some(plan) = &config.backups else {
        return Finding::warn(
            "backups",
            "the server takes none by itself",
            "set HYPRBOX_BACKUP_DIR, unless something else backs the database up",
        );
    };
    let shown = plan.dir.display();
    let Some(newest) = schedule::newest(&plan.dir) else {
        let mend = "look for `the backup failed` in the server's log";
        return Finding::fail("backups", format!("{shown} has none"), mend);
    };
    let seen = format!("the newest in {shown} is of {newest}");
    let age = u128::try_from(clock::now().millis_since(newest)).unwrap_or(0);
    if age > plan.every.as_millis().saturating_mul(2) {
        let mend = "look for `the backup failed` in the server's log";
        return Finding::fail("backups", seen, mend);
    }
    Finding::ok("backups", seen)
}

fn few(all: &[String]) -> String {
    let told = all[..all.len().min(TOLD)].join("; ");
    match all.len().saturating_sub(TOLD) {
        0 => told,
        more => format!("{told}; and {more} more"),
    }
}
