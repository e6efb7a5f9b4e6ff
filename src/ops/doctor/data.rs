//! Checks of the database and its backups.

use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use hyprbox_protocol::is_older;

use super::Finding;
use super::signing::signing;
use crate::clock;
use crate::config::{Config, DatabaseUrl};
use crate::nodes::Agents;
use crate::ops::{restore, schedule};
use crate::store::SCHEMA_VERSION;
#[cfg(feature = "postgres")]
use crate::store::diagnosis::diagnose_postgres;
use crate::store::diagnosis::{Content, Diagnosis, diagnose};

/// A clock that is further behind the database was set back.
const CLOCK_SLACK_MS: i64 = 60_000;
/// How long a server may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Items of a list that are printed.
const LISTED_MAX: usize = 5;

/// Whether the database exists.
pub(super) fn exists(config: &Config) -> bool {
    match &config.database {
        DatabaseUrl::Sqlite(path) => path.exists(),
        #[cfg(feature = "postgres")]
        DatabaseUrl::Postgres(_) => true,
    }
}

/// Checks of a SQLite database: the server that has it open, its files and its content.
pub(super) fn database(path: &Path, config: &Config) -> Vec<Finding> {
    let shown = path.display();
    if !path.exists() {
        return vec![Finding::warn(
            "database",
            format!("{shown} does not exist yet"),
            "start the server, which creates it, or set HYPRBOX_DATA_DIR to the server's data directory",
        )];
    }
    let mut findings = vec![server(path, config)];
    match diagnose(path) {
        Ok(found) => findings.extend(diagnosed(path, &found, config)),
        Err(error) => findings.push(Finding::fail(
            "database",
            format!("{shown}: {error}"),
            "run this as the server's user, or with sudo; if the database is damaged, `hyprbox restore` a backup",
        )),
    }
    findings
}

fn server(database: &Path, config: &Config) -> Finding {
    let Some(holder) = restore::holder(database) else {
        let seen = "no program has the database open";
        return Finding::warn("server", seen, "start the server if it should be running");
    };
    match TcpStream::connect_timeout(&config.listen, CONNECT_WITHIN) {
        Ok(_) => Finding::ok("server", format!("{holder}; {} answers", config.listen)),
        Err(error) => Finding::warn(
            "server",
            format!("{holder}, but {} does not answer: {error}", config.listen),
            "set HYPRBOX_LISTEN to the server's; if it already is, restart the server",
        ),
    }
}

fn diagnosed(path: &Path, found: &Diagnosis, config: &Config) -> Vec<Finding> {
    let mut findings = vec![soundness(path, found), clock(found)];
    findings.extend(content(&found.content, config));
    findings
}

fn content(content: &Content, config: &Config) -> Vec<Finding> {
    let mut findings = vec![
        schema(content.version),
        agents(&content.agents, config),
        nodes(content),
        jobs(content),
    ];
    findings.extend(signing(content));
    findings
}

/// Checks of a PostgreSQL database. Its files are left to PostgreSQL's own tools.
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
                    "check HYPRBOX_DATABASE_URL, whether PostgreSQL runs there (pg_isready), and its pg_hba.conf",
                ),
            ];
        }
    };
    let seen = format!(
        "{} answers, PostgreSQL {}; check its files with pg_amcheck",
        found.shown, found.server
    );
    let own = clock::now();
    let apart = own.millis_since(found.now);
    let mut findings = vec![answers(config), Finding::ok("database", seen)];
    findings.push(if apart.abs() > CLOCK_SLACK_MS {
        Finding::warn(
            "clock",
            format!(
                "it is {own} here and {} on the database server, which counts leases",
                found.now
            ),
            "set the wrong clock (timedatectl) and keep it in sync with NTP",
        )
    } else {
        Finding::ok("clock", format!("{own}, in sync with the database"))
    });
    match &found.content {
        Some(found) => findings.extend(content(found, config)),
        None => findings.push(Finding::warn(
            "schema",
            "there are no tables yet",
            "start the server, which creates them",
        )),
    }
    findings
}

/// Whether a server accepts connections at the configured address.
#[cfg(feature = "postgres")]
fn answers(config: &Config) -> Finding {
    match TcpStream::connect_timeout(&config.listen, CONNECT_WITHIN) {
        Ok(_) => Finding::ok("server", format!("{} answers", config.listen)),
        Err(error) => Finding::warn(
            "server",
            format!("{} does not answer: {error}", config.listen),
            "start the server, or set HYPRBOX_LISTEN to the server's",
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
        "check the disk (dmesg, smartctl), stop the server and `hyprbox restore --replace` the newest backup",
    )
}

fn schema(version: i64) -> Finding {
    let seen = format!("version {version}; this program uses {SCHEMA_VERSION}");
    if version > SCHEMA_VERSION {
        Finding::fail("schema", seen, "install the newer hyprbox that created it")
    } else if version < SCHEMA_VERSION {
        Finding::warn(
            "schema",
            seen,
            "restart the server, which upgrades the schema",
        )
    } else {
        Finding::ok("schema", seen)
    }
}

fn clock(found: &Diagnosis) -> Finding {
    let now = clock::now();
    match found.newest {
        Some(newest) if newest.millis_since(now) > CLOCK_SLACK_MS => Finding::fail(
            "clock",
            format!("it is {now}, but the database has a newer time, {newest}"),
            "set this machine's clock (timedatectl) and keep it in sync with NTP",
        ),
        _ => Finding::ok("clock", format!("{now}, not behind the database")),
    }
}

/// Whether agents are older than the one that the server ships.
fn agents(agents: &[(String, String)], config: &Config) -> Finding {
    let Some(shipped) = Agents::new(config.agent_dir.clone()).version() else {
        return Finding::warn(
            "agents",
            "the server has no agent for nodes to download, or its version is unknown",
            "put static builds of this version into HYPRBOX_AGENT_DIR, named after `uname -m`: hyprbox-agent-x86_64",
        );
    };
    let behind: Vec<String> = agents
        .iter()
        .filter(|(_, version)| is_older(version, &shipped))
        .map(|(node, version)| format!("{node} has {version}"))
        .collect();
    if behind.is_empty() {
        let seen = format!("{} known; none is older than {shipped}", agents.len());
        return Finding::ok("agents", seen);
    }
    Finding::warn(
        "agents",
        format!("the server ships {shipped}, but {}", list_first(&behind)),
        "queue the preset agent-upgrade for these nodes; running jobs continue",
    )
}

/// Whether nodes can't run jobs, or use a copy of another node's agent state.
fn nodes(found: &Content) -> Finding {
    let copied = found.copied.iter().map(|(node, at)| {
        format!(
            "two machines used the same agent instance of {node} at {at}: one is a copy of the other"
        )
    });
    let problems = found
        .problems
        .iter()
        .map(|(node, problem)| format!("{node} reports a problem: {problem}"));
    let all: Vec<String> = problems.chain(copied).collect();
    if all.is_empty() {
        return Finding::ok("nodes", "no node reports a problem");
    }
    Finding::warn(
        "nodes",
        list_first(&all),
        "run `hyprbox-agent check` on the node; add a separate node for a copied machine, or remove its agent",
    )
}

fn jobs(found: &Content) -> Finding {
    let overdue = found.overdue.iter();
    let waiting = found.waiting.iter();
    let stuck: Vec<String> = overdue
        .map(|(job, node)| format!("{job} on {node} is still running long after its timeout"))
        .chain(waiting.map(|(node, count)| format!("{count} queued for {node} for over a day")))
        .chain(
            found
                .paused
                .iter()
                .map(|(node, count)| format!("{count} queued for {node}, which is paused")),
        )
        .chain(found.still_running.iter().map(|(job, node)| {
            format!("{node} still runs job {job}, which was reported lost or was ended by hand")
        }))
        .collect();
    if stuck.is_empty() {
        return Finding::ok("jobs", "no job is stuck");
    }
    Finding::warn(
        "jobs",
        list_first(&stuck),
        "check that the node is ONLINE, resume it if it is paused (`hyprbox nodes resume NODE`), and run `hyprbox-agent check` on it; cancel a lost job to stop its script",
    )
}

/// Whether scheduled backups are recent.
pub(super) fn backups(config: &Config) -> Finding {
    #[cfg(feature = "postgres")]
    if let DatabaseUrl::Postgres(_) = &config.database {
        return Finding::ok(
            "backups",
            "PostgreSQL is backed up with its own tools: pg_dump, or WAL archiving",
        );
    }
    let Some(plan) = &config.backups else {
        return Finding::warn(
            "backups",
            "the server takes no backups",
            "set HYPRBOX_BACKUP_DIR, unless another program backs up the database",
        );
    };
    let shown = plan.dir.display();
    let Some(newest) = schedule::newest(&plan.dir) else {
        let fix = "search the server's log for `the backup failed`";
        return Finding::fail("backups", format!("{shown} has no backup"), fix);
    };
    let seen = format!("the newest backup in {shown} was taken at {newest}");
    let age = u128::try_from(clock::now().millis_since(newest)).unwrap_or(0);
    if age > plan.every.as_millis().saturating_mul(2) {
        let fix = "search the server's log for `the backup failed`";
        return Finding::fail("backups", seen, fix);
    }
    Finding::ok("backups", seen)
}

fn list_first(all: &[String]) -> String {
    let listed = all[..all.len().min(LISTED_MAX)].join("; ");
    match all.len().saturating_sub(LISTED_MAX) {
        0 => listed,
        more => format!("{listed}; and {more} more"),
    }
}
