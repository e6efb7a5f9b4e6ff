//! A job's state in a sentence, and what to do next.

use hyprbox_protocol::FailureReason;
use maud::{Markup, html};

use super::job_content::Content;
use super::{job_confirm, parts, plain, words};
use crate::clock::Timestamp;
use crate::jobs::{ErrorLine, HoldView, JobView, RunStep, StepState};
use crate::nodes::{NodeStatus, NodeView};
use crate::store::job::{HoldKind, JobStatus};

/// Characters of the last line of stderr that are shown.
const ERROR_CHARS: usize = 300;

/// Why the job is in its state; empty if the state says it all. `node` is `None` if the node was
/// deleted. With `has_log`, the last line of stderr is a link to its place in the log.
pub(super) fn draw(shown: &Content, node: Option<&NodeView>, has_log: bool) -> Markup {
    let job = &shown.job;
    let advice = advice(job);
    html! {
        (sentence(shown, node))
        (job_confirm::draw(shown))
        @if let Some(line) = &shown.last_error { (last_error(line, has_log)) }
        @if job.recovered_at.is_some() {
            p { "The agent reported this result late, after the server had given up on the job." }
        }
        @if !advice.is_empty() { p { (advice) } }
        @if job.holds.iter().any(|hold| hold.kind == HoldKind::Signature) {
            p { "To read and sign it, on your own machine:" }
            (parts::copyable(&format!("hyprbox jobs sign {}", job.id), "the command"))
        }
    }
}

fn sentence(shown: &Content, node: Option<&NodeView>) -> Markup {
    let job = &shown.job;
    let why = match (job.status, job.cancel_requested_at) {
        (JobStatus::Queued, _) => waiting(job, node),
        (JobStatus::Running, Some(at)) => stopping(job, at),
        (JobStatus::Running, None) | (JobStatus::Succeeded, _) => return html! {},
        (JobStatus::Failed, _) => {
            let is_verify = shown
                .steps
                .last()
                .is_some_and(|step| step.state == StepState::VerifyFailed);
            html! { (failure(job, shown.step.as_ref(), is_verify)) }
        }
        (JobStatus::Cancelled, _) => html! {
            @match (&job.error_msg, job.started_at) {
                (Some(why), _) => { "Cancelled: " (words::visible(why)) "." }
                (None, None) => { "Cancelled before it started." }
                (None, Some(_)) => { "Cancelled " @if let Some(step) = &shown.step { (in_step(step)) " " } "after " (parts::took(job)) "." }
            }
        },
    };
    let state = match (job.status, job.cancel_requested_at) {
        (JobStatus::Queued, _) => "queued",
        (JobStatus::Failed, _) => "failed",
        (JobStatus::Cancelled, _) => "cancelled",
        (JobStatus::Running | JobStatus::Succeeded, _) => "stopping",
    };
    html! { p.sentence data-state=(state) { (why) } }
}

/// The last line of stderr as text.
fn last_error(line: &ErrorLine, has_log: bool) -> Markup {
    let text = plain::whole(&line.bytes);
    let text: String = text.trim().chars().take(ERROR_CHARS).collect();
    let shown = html! { code { (words::visible(&text)) } };
    html! {
        p.last-error {
            @match line.number.filter(|_| has_log) {
                Some(number) => { a href=(format!("#L{number}")) { (shown) } }
                None => { (shown) }
            }
        }
    }
}

fn waiting(job: &JobView, node: Option<&NodeView>) -> Markup {
    html! {
        @if job.holds.is_empty() { (waiting_for_node(job, node)) }
        @else { "Waiting: " @for (index, hold) in job.holds.iter().enumerate() {
            @if index > 0 { ", and " }
            (held(job, hold))
        } "." }
        @if let Some(at) = job.expires_at { " Expires " (words::moment(at)) "." }
    }
}

/// A hold in words.
fn held(job: &JobView, hold: &HoldView) -> Markup {
    html! {
        @match (hold.kind, job.not_before) {
            (HoldKind::NotBefore, Some(at)) => { "not before " (words::moment(at)) }
            _ => { (hold.detail) }
        }
    }
}

fn waiting_for_node(job: &JobView, node: Option<&NodeView>) -> Markup {
    let id = &job.node_id;
    html! {
        @match node.map(|node| (node, node.status)) {
            None => { "Waiting for " (id) ", which no longer exists." }
            Some((node, _)) if node.paused => {
                "Waiting: " (id) " is paused. The job can start once an ADMIN resumes the node."
            }
            Some((node, NodeStatus::Offline)) => {
                "Waiting for " (id) ", "
                @match node.last_seen_at {
                    Some(at) => { "last seen " (words::since(at)) ". The job starts when its agent reconnects." }
                    None => { "which has never connected. The job starts when its agent does." }
                }
            }
            Some((node, NodeStatus::Online)) if let Some(other) = &node.still_running_job_id => {
                "Waiting: " (id) " is still running job " a href=(format!("/jobs/{other}")) { (other) }
                ", which was reported lost or ended by hand. Cancel that job to stop its script."
            }
            Some((node, NodeStatus::Online)) if let Some(problem) = &node.problem => {
                "Waiting: " (id) " can't run jobs: " (words::visible(problem)) "."
            }
            Some((node, NodeStatus::Online)) if node.running_job_id.is_some() => {
                "Waiting for " (id) " to finish another job."
            }
            Some((_, NodeStatus::Online)) => { "Waiting for " (id) " to start it." }
        }
    }
}

fn stopping(job: &JobView, requested_at: Timestamp) -> Markup {
    html! {
        "Cancelling, requested " (words::since(requested_at)) ". The script keeps running until " (job.node_id) " confirms that it has stopped."
    }
}

/// `in step 2 of 5, Migrate the database`
fn in_step(step: &RunStep) -> String {
    let name = words::visible(&step.name);
    format!("in step {} of {}, {name}", step.index, step.count)
}

/// `Failed in step 2 of 5, Migrate the database: exit code 3`
fn failure(job: &JobView, step: Option<&RunStep>, is_verify: bool) -> String {
    let verify = if is_verify { "verify failed, " } else { "" };
    let why = match (&job.error_msg, job.exit_code, &job.signal) {
        (Some(why), Some(code), _) if code != 0 => {
            format!("{}, exit code {code}", words::visible(why))
        }
        (Some(why), _, _) => words::visible(why).into_owned(),
        (None, Some(code), _) => format!("exit code {code}"),
        (None, None, Some(signal)) => format!("killed by {signal}"),
        (None, None, None) => "unknown reason".to_owned(),
    };
    match step {
        Some(step) => format!("Failed {}: {verify}{why}", in_step(step)),
        None => format!("Failed: {why}"),
    }
}

/// What to do next about a failure; empty if there is no advice.
fn advice(job: &JobView) -> &'static str {
    if job.status != JobStatus::Failed {
        return "";
    }
    match job.error_msg.as_deref().and_then(FailureReason::parse) {
        Some(FailureReason::AgentDisappeared) => {
            "The node sent nothing for too long: it may be down or offline, or its agent was stopped. The script may have \
             ended or not; check the node before you run it again."
        }
        Some(FailureReason::TimedOut) => {
            "The job exceeded its timeout and was stopped. Check the output for where it hung, or set a longer timeout \
             under More."
        }
        Some(FailureReason::NodeRestarted) => {
            "The machine restarted while the script ran. Check its state before you run the script again."
        }
        Some(FailureReason::SecretsSealed) => {
            "The server's key file has changed since the job was queued. Queue the job again and enter its secrets again."
        }
        Some(FailureReason::Refused) => {
            "Nothing of it ran. Unless a key was just replaced, find out who changed the job or the connection, then queue \
             it again."
        }
        Some(FailureReason::NotConfirmed) => {
            "Nobody confirmed the job in time, so its steps were undone: the node is as it was before. If you could not \
             sign in any more, find out why before you run it again."
        }
        Some(FailureReason::UndoFailed) => {
            "The steps were undone as far as possible, and the undo of at least one failed: the node is not as it was \
             before. The last lines of stderr say what failed."
        }
        Some(FailureReason::Killed) | None => advice_on_code(job.exit_code, job.signal.as_deref()),
    }
}

fn advice_on_code(code: Option<i64>, signal: Option<&str>) -> &'static str {
    match (code, signal) {
        (_, Some("SIGKILL")) | (Some(137), _) => {
            "Something killed the script, most often the kernel because memory ran out. Check dmesg on the node."
        }
        (_, Some("SIGTERM")) | (Some(143), _) => {
            "A process on the node asked the script to stop (SIGTERM)."
        }
        (Some(2), _) => {
            "Exit code 2 is the distro guard's: if the output says so, the preset targets another system. Otherwise the \
             script ended with it: check the last lines."
        }
        (_, Some("SIGINT")) | (Some(130), _) => {
            "A process on the node interrupted the script (SIGINT), as Ctrl+C does."
        }
        (Some(126), _) => "A command in the script exists but can't be executed.",
        (Some(127), _) => "A command in the script is not installed on the node.",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_have_a_meaning_are_explained() {
        for (code, signal, word) in [
            (Some(2), None, "guard"),
            (Some(126), None, "executed"),
            (Some(127), None, "installed"),
            (Some(130), None, "interrupted"),
            (Some(137), None, "memory"),
            (None, Some("SIGKILL"), "memory"),
            (None, Some("SIGTERM"), "SIGTERM"),
        ] {
            assert!(
                advice_on_code(code, signal).contains(word),
                "{code:?} {signal:?}"
            );
        }
        assert_eq!(advice_on_code(Some(1), None), "");
    }
}
