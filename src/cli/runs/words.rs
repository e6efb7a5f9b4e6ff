//! Runs and their jobs in words.

use crate::cli::answers::RunAnswer;
use crate::cli::safe;
use crate::cli::screen::{Paint, Screen};
use crate::cli::table::Cell;
use crate::cli::times;
use crate::jobs::{DoneEvent, RunStep};
use crate::nodes::{NodeStatus, NodeView};
use crate::runs::{DryRunNode, RunJobView};
use crate::store::job::{HoldKind, JobStatus};
use crate::store::run::{RunCounts, RunStatus};

/// Failed jobs that a summary lists.
const FAILED_MAX: usize = 20;

/// `1 node`, `12 nodes`
pub(in crate::cli) fn nodes(count: u64) -> String {
    self::count(count, "node", "nodes")
}

pub(super) fn count(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// This program's exit code.
pub(super) fn exit_code(status: RunStatus) -> u8 {
    u8::from(status != RunStatus::Succeeded)
}

/// `FAILED`, or `succeeded with 2 failures`.
pub(super) fn status(run: &RunAnswer) -> String {
    match (run.status, run.counts.failed) {
        (RunStatus::Succeeded, failures @ 1..) => {
            format!("succeeded with {}", count(failures, "failure", "failures"))
        }
        (status, _) => status.to_string(),
    }
}

pub(super) fn paint(status: RunStatus) -> Paint {
    match status {
        RunStatus::Running => Paint::Cyan,
        RunStatus::Succeeded => Paint::Green,
        RunStatus::Failed => Paint::Red,
        RunStatus::Paused | RunStatus::Cancelled => Paint::Yellow,
    }
}

pub(super) fn status_cell(run: &RunAnswer) -> Cell {
    Cell::painted(status(run), paint(run.status))
}

/// `12 succeeded, 1 failed, 3 running`: the states that have jobs.
pub(super) fn counts(counts: &RunCounts) -> String {
    let parts = [
        (counts.succeeded, "succeeded"),
        (counts.failed, "failed"),
        (counts.running, "running"),
        (counts.queued, "queued"),
        (counts.held, "held"),
        (counts.cancelled, "cancelled"),
        (counts.skipped, "skipped"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    parts.join(", ")
}

/// A job's state, with the reason of a failure or a wait.
pub(super) fn outcome(job: &RunJobView) -> String {
    if job.status == JobStatus::Queued {
        return match hold(job) {
            Some(why) => format!("QUEUED, {why}"),
            None => "QUEUED".to_owned(),
        };
    }
    if let (JobStatus::Running, Some(by)) = (job.status, job.confirm_by) {
        let until = times::time_of_day(by);
        let id = &job.id;
        return format!("RUNNING, waits for confirmation until {until}: hyprbox jobs confirm {id}");
    }
    let done = DoneEvent {
        status: job.status,
        exit_code: job.exit_code,
        error_msg: job.error_msg.clone(),
        finished_at: job.finished_at,
    };
    done.describe()
}

/// A job's state, also with what its node keeps it waiting for.
pub(super) fn state(job: &RunJobView, nodes: &[NodeView]) -> String {
    let outcome = outcome(job);
    if job.status != JobStatus::Queued || !job.holds.is_empty() {
        return outcome;
    }
    match waits_for(job, nodes) {
        why if why.is_empty() => outcome,
        why => format!("{outcome}, {why}"),
    }
}

/// Why a queued job can't start yet.
fn hold(job: &RunJobView) -> Option<String> {
    let hold = job.holds.first()?;
    Some(match hold.kind {
        HoldKind::Batch => format!("waits for batch {}", job.batch),
        HoldKind::PausedRun => "the run is paused".to_owned(),
        HoldKind::NotBefore => hold.detail.clone(),
        HoldKind::Signature => format!("signature: {}", hold.detail),
    })
}

/// What a released job waits for.
pub(super) fn waits_for(job: &RunJobView, nodes: &[NodeView]) -> String {
    let node = nodes.binary_search_by(|node| node.id.as_str().cmp(&job.node_id));
    let Some(node) = node.ok().and_then(|place| nodes.get(place)) else {
        return String::new();
    };
    match node.status {
        _ if node.paused => "the node is paused".to_owned(),
        NodeStatus::Offline => "the node is OFFLINE".to_owned(),
        NodeStatus::Online if node.running_job_id.is_some() => "the node is busy".to_owned(),
        NodeStatus::Online => String::new(),
    }
}

/// `step 2 of 5: Set the SSH port`
pub(super) fn step(job: &RunJobView) -> Option<String> {
    job.step.as_ref().map(RunStep::describe)
}

/// A node's state in a plan.
pub(super) fn node_status(node: &DryRunNode) -> Cell {
    match (node.status, node.paused) {
        (NodeStatus::Online, true) => Cell::painted("ONLINE, paused", Paint::Yellow),
        (NodeStatus::Offline, true) => Cell::painted("OFFLINE, paused", Paint::Yellow),
        (NodeStatus::Online, false) => Cell::painted("ONLINE", Paint::Green),
        (NodeStatus::Offline, false) => Cell::painted("OFFLINE", Paint::Dim),
    }
}

/// Whether a preset is for a node's system.
pub(super) fn target(matches: Option<bool>) -> Cell {
    match matches {
        Some(true) => "yes".into(),
        Some(false) => Cell::painted("no, the distro guard will refuse it", Paint::Yellow),
        None => Cell::painted("unknown", Paint::Dim),
    }
}

/// How a run ended, and how to read the logs of its failed jobs.
pub(super) fn summary(run: &RunAnswer, screen: &Screen) -> String {
    let took = times::took(Some(run.created_at), run.finished_at);
    let words = paint(run.status).of(&status(run), screen.colors);
    let mut text = format!(
        "Run {} {words}: {} in {took}\n",
        run.id,
        counts(&run.counts)
    );
    if let Some(why) = &run.stopped_because {
        text.push_str(&format!("It stopped: {}\n", safe::line(why)));
    }
    let failed: Vec<&RunJobView> = run
        .jobs
        .iter()
        .filter(|job| job.status == JobStatus::Failed)
        .collect();
    for job in failed.iter().take(FAILED_MAX) {
        let at = step(job).map(|step| format!(" in {step}"));
        let line = format!(
            "{}: {}{}",
            job.node_id,
            outcome(job),
            at.unwrap_or_default()
        );
        text.push_str(&format!("{}\n", safe::line(&line)));
        text.push_str(&format!("  hyprbox jobs log {}\n", job.id));
    }
    if failed.len() > FAILED_MAX {
        let more = failed.len() - FAILED_MAX;
        text.push_str(&format!(
            "and {more} more: hyprbox jobs list --run {} --status failed\n",
            run.id
        ));
    }
    if !failed.is_empty() {
        text.push_str(&format!(
            "To run it again on the nodes that have not succeeded:\n  hyprbox runs retry {}\n",
            run.id
        ));
    }
    text
}
