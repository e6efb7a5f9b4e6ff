//! Names for shell completions, read from the server. Quick, and silent if anything fails.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::CompletionCandidate;

use super::answers::{Presets, RunAnswer};
use super::client::{Answer, Client};
use super::contexts::ContextsFile;
use super::error::CliError;
use super::safe;
use super::settings::{self, Named, variable};
use crate::jobs::{JobView, StoredSecretView};
use crate::nodes::NodeView;
use crate::notify::ChannelView;
use crate::schedules::ScheduleView;

/// Nobody waits longer for completions.
const WITHIN: Duration = Duration::from_secs(1);

/// Ids of nodes.
pub(super) fn nodes(typed: &OsStr) -> Vec<CompletionCandidate> {
    let nodes = ask(async |client| client.list::<NodeView>("/api/nodes", "nodes").await);
    let pairs = nodes.into_iter().flatten();
    beginning_with(typed, pairs.map(|node| (node.id, node.name)))
}

/// Names of the saved servers.
pub(super) fn contexts(typed: &OsStr) -> Vec<CompletionCandidate> {
    let saved = ContextsFile::at_home(&variable).and_then(|file| file.read());
    let logins = saved.map_or_else(|_| BTreeMap::new(), |saved| saved.logins);
    beginning_with(
        typed,
        logins.into_iter().map(|(name, login)| (name, login.url)),
    )
}

/// What has a page of its own.
pub(super) fn pages(typed: &OsStr) -> Vec<CompletionCandidate> {
    let mut all = nodes(typed);
    all.extend(presets(typed));
    all.extend(jobs(typed));
    all
}

/// Names of presets.
pub(super) fn presets(typed: &OsStr) -> Vec<CompletionCandidate> {
    let presets = ask(async |client| client.get::<Presets>("/api/presets").await)
        .map(|answer| answer.presets);
    let pairs = presets.into_iter().flatten();
    beginning_with(typed, pairs.map(|preset| (preset.name, preset.title)))
}

/// Ids of the newest jobs.
pub(super) fn jobs(typed: &OsStr) -> Vec<CompletionCandidate> {
    let jobs = ask(async |client| client.list::<JobView>("/api/jobs?limit=50", "jobs").await);
    let words = |preset: &str, node: &str, status: &dyn std::fmt::Display| {
        format!("{preset} on {node}, {status}")
    };
    let pairs = jobs.into_iter().flatten().map(|job| {
        let words = words(&job.preset, &job.node_id, &job.status);
        (job.id, words)
    });
    beginning_with(typed, pairs)
}

/// Ids of the newest runs.
pub(super) fn runs(typed: &OsStr) -> Vec<CompletionCandidate> {
    let runs = ask(async |client| client.list::<RunAnswer>("/api/runs?limit=50", "runs").await);
    let pairs = runs.into_iter().flatten().map(|run| {
        let words = format!("{} on {} nodes, {}", run.preset, run.node_count, run.status);
        (run.id.clone(), words)
    });
    beginning_with(typed, pairs)
}

/// Names of schedules.
pub(super) fn schedules(typed: &OsStr) -> Vec<CompletionCandidate> {
    let schedules = ask(async |client| {
        client
            .list::<ScheduleView>("/api/schedules", "schedules")
            .await
    });
    let pairs = schedules.into_iter().flatten().map(|schedule| {
        let words = format!("{} at {}", schedule.preset, schedule.cron);
        // A shell would split a name with blanks.
        match schedule.name.contains(char::is_whitespace) {
            true => (schedule.id, format!("{}: {words}", schedule.name)),
            false => (schedule.name, words),
        }
    });
    beginning_with(typed, pairs)
}

/// Names of channels.
pub(super) fn channels(typed: &OsStr) -> Vec<CompletionCandidate> {
    let channels = ask(async |client| {
        client
            .list::<ChannelView>("/api/channels", "channels")
            .await
    });
    let pairs = channels.into_iter().flatten();
    beginning_with(
        typed,
        pairs.map(|channel| (channel.name, channel.kind.as_str().to_owned())),
    )
}

/// Names of stored secrets.
pub(super) fn secrets(typed: &OsStr) -> Vec<CompletionCandidate> {
    let secrets = ask(async |client| {
        client
            .list::<StoredSecretView>("/api/secrets", "secrets")
            .await
    });
    let pairs = secrets.into_iter().flatten();
    beginning_with(
        typed,
        pairs.map(|secret| (secret.name, secret.presets.join(", "))),
    )
}

/// IANA names of time zones.
pub(super) fn time_zones(typed: &OsStr) -> Vec<CompletionCandidate> {
    let names = jiff::tz::db().available();
    beginning_with(typed, names.map(|name| (name.to_string(), String::new())))
}

fn beginning_with(
    typed: &OsStr,
    pairs: impl Iterator<Item = (String, String)>,
) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    pairs
        // A shell would split other names.
        .filter(|(name, _)| {
            (name.starts_with(&*typed) || typed.len() >= 4 && name.ends_with(&*typed))
                && !name.contains(|c: char| c.is_control() || c.is_whitespace())
        })
        .map(|(name, words)| CompletionCandidate::new(name).help(Some(safe::line(&words).into())))
        .collect()
}

fn ask<T>(call: impl AsyncFnOnce(&Client) -> Result<Answer<T>, CliError>) -> Option<T> {
    let access = settings::access(Named::default()).ok()?;
    let runtime = super::runtime().ok()?;
    runtime.block_on(async {
        let client = Client::new(&access).ok()?;
        let asked = tokio::time::timeout(WITHIN, call(&client));
        asked.await.ok()?.ok().map(|answer| answer.value)
    })
}
