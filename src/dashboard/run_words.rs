//! A run's state in words, and how far it has got.

use maud::{Markup, html};

use super::{parts, words};
use crate::jobs::RunView;
use crate::store::run::{RunCounts, RunStatus};

/// A run's state: icon, word and colour.
pub(super) fn state(run: &RunView) -> Markup {
    let (name, word) = state_words(run);
    html! { span.state data-state=(name) { (word) } }
}

/// A run's state in a word.
pub(super) fn word(run: &RunView) -> &'static str {
    state_words(run).1
}

fn state_words(run: &RunView) -> (&'static str, &'static str) {
    match run.status {
        RunStatus::Running if run.stopped_because.is_some() => ("stopping", "Stopping"),
        RunStatus::Running => ("running", "Running"),
        RunStatus::Paused => ("queued", "Paused"),
        RunStatus::Succeeded => ("succeeded", "Succeeded"),
        RunStatus::Failed => ("failed", "Failed"),
        RunStatus::Cancelled => ("cancelled", "Cancelled"),
    }
}

/// How a browser tab shows a run's state: a mark before the title, and an icon.
pub(super) fn tab(run: &RunView) -> (&'static str, String) {
    parts::tab_of(state_words(run).0)
}

/// The state with its reason.
pub(super) fn sentence(run: &RunView) -> Markup {
    let counts = &run.counts;
    let failures = words::count(counts.failed, "failure", "failures");
    html! {
        (state(run)) " "
        @match run.status {
            RunStatus::Succeeded if counts.failed > 0 => { "The run succeeded with " (failures) "." }
            RunStatus::Succeeded => { "on " (words::count(counts.succeeded, "node", "nodes")) "." }
            RunStatus::Failed | RunStatus::Running | RunStatus::Cancelled if run.stopped_because.is_some() => {
                (words::visible(run.stopped_because.as_deref().unwrap_or_default())) "."
            }
            RunStatus::Failed if counts.failed == 0 => { "No job succeeded." }
            RunStatus::Failed => { (failures) ", and no job succeeded." }
            RunStatus::Paused => { "No further batch is released. Jobs of released batches continue." }
            RunStatus::Running | RunStatus::Cancelled => {}
        }
    }
}

/// The names, labels and numbers of the states of a run's jobs.
pub(super) fn counted(counts: &RunCounts) -> [(&'static str, &'static str, u64); 7] {
    [
        ("running", "Running", counts.running),
        ("queued", "Queued", counts.queued),
        ("held", "Held", counts.held),
        ("failed", "Failed", counts.failed),
        ("succeeded", "Succeeded", counts.succeeded),
        ("skipped", "Skipped", counts.skipped),
        ("cancelled", "Cancelled", counts.cancelled),
    ]
}

/// How many of the run's jobs have ended, as a bar by outcome.
pub(super) fn bar(run: &RunView) -> Markup {
    let counts = &run.counts;
    let all = run.node_count.max(1);
    let ended = counts.succeeded + counts.failed + counts.cancelled + counts.skipped;
    let parts = [
        ("succeeded", counts.succeeded),
        ("failed", counts.failed),
        ("skipped", counts.skipped + counts.cancelled),
        ("running", counts.running),
    ];
    html! {
        svg.progress viewBox="0 0 1000 10" preserveAspectRatio="none" role="img"
            aria-label=(format!("{ended} of {} ended", run.node_count)) {
            @for (at, (name, share)) in starts(&parts, all).into_iter().zip(parts) {
                @if share > 0 { rect data-part=(name) x=(at) width=(share * 1000 / all) height="10" {} }
            }
        }
    }
}

fn starts(parts: &[(&str, u64)], all: u64) -> Vec<u64> {
    let mut before = 0;
    let start = |(_, share): &(&str, u64)| {
        let start = before * 1000 / all;
        before += share;
        start
    };
    parts.iter().map(start).collect()
}
