//! Names for shell completions, read from the server. Quick, and silent if anything fails.

use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::CompletionCandidate;

use super::answers::{Presets, RunAnswer};
use super::client::{Answer, Client};
use super::error::CliError;
use super::safe;
use super::settings;
use crate::jobs::JobView;
use crate::nodes::NodeView;

/// Nobody waits longer for completions.
const WITHIN: Duration = Duration::from_secs(1);

/// Ids of nodes.
pub(super) fn nodes(typed: &OsStr) -> Vec<CompletionCandidate> {
    let nodes = ask(async |client| client.list::<NodeView>("/api/nodes", "nodes").await);
    let pairs = nodes.into_iter().flatten();
    beginning_with(typed, pairs.map(|node| (node.id, node.name)))
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
        (run.id, words)
    });
    beginning_with(typed, pairs)
}

fn beginning_with(
    typed: &OsStr,
    pairs: impl Iterator<Item = (String, String)>,
) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    pairs
        // A shell would split other names.
        .filter(|(name, _)| {
            name.starts_with(&*typed)
                && !name.contains(|c: char| c.is_control() || c.is_whitespace())
        })
        .map(|(name, words)| CompletionCandidate::new(name).help(Some(safe::line(&words).into())))
        .collect()
}

fn ask<T>(call: impl AsyncFnOnce(&Client) -> Result<Answer<T>, CliError>) -> Option<T> {
    let access = settings::access(None).ok()?;
    let runtime = super::runtime().ok()?;
    runtime.block_on(async {
        let client = Client::new(&access).ok()?;
        let asked = tokio::time::timeout(WITHIN, call(&client));
        asked.await.ok()?.ok().map(|answer| answer.value)
    })
}
