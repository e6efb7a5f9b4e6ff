//! A job that waits for a confirmation: until when, what is undone without one, and how to confirm.

use maud::{Markup, html};

use super::job_content::Content;
use super::{form, parts, words};
use crate::auth::Role;
use crate::clock::{self, Timestamp};
use crate::jobs::{JobView, Scope, Step, StepState};
use crate::store::job::JobStatus;

/// The wait; empty if the job does not wait.
pub(super) fn draw(shown: &Content) -> Markup {
    let job = &shown.job;
    let runs = job.status == JobStatus::Running || shown.still_running;
    let (true, Some(by), None) = (runs, job.confirm_by, job.cancel_requested_at) else {
        return html! {};
    };
    if job.confirm_requested_at.is_some() {
        return html! {
            p.sentence data-state="stopping" { "Confirmed. " (job.node_id) " keeps the changes as soon as it receives this." }
        };
    }
    let (undone, kept) = begun(shown);
    html! {
        p.sentence data-state="stopping" {
            "Waits for your confirmation until " (words::moment(by)) ", " (countdown(by))
            ". Without it, the changes are undone."
        }
        @if !undone.is_empty() {
            p { "Undone, in this order:" }
            ol.undo { @for name in &undone { li { bdi { (words::visible(name)) } } } }
        }
        @if !kept.is_empty() {
            p { "Not undone, because these steps have no undo: " bdi { (words::visible(&kept.join(", "))) } "." }
        }
        p { "Best open a new SSH session to " (job.node_id) " and type this there. It needs no server, and it proves that you can still sign in:" }
        (parts::copyable(&format!("sudo hyprbox-agent confirm {}", job.id), "the command"))
        @if let Some(action) = action(shown) {
            p { "The button proves only that you reach this server." }
            (form::button(&action, "primary", "Confirm", None))
        }
    }
}

/// What is left of the wait. `time.js` keeps it up to date. It is outside every live region, so
/// that a screen reader does not read each second.
fn countdown(by: Timestamp) -> Markup {
    let left = by.millis_since(clock::now());
    html! { span data-left=(by.as_millis()) { (words::span(left.max(0))) } " left" }
}

/// The names of the steps that have begun: those that can be undone, last first, and the others.
fn begun(shown: &Content) -> (Vec<&str>, Vec<&str>) {
    let has_run = |state| state != StepState::AlreadyDone;
    let begun = shown.steps.iter().filter(|step| has_run(step.state));
    let (mut undone, kept): (Vec<_>, Vec<_>) =
        begun.partition(|step| shown.undo_steps.contains(&step.number));
    undone.reverse();
    (names(undone), names(kept))
}

fn names(steps: Vec<&Step>) -> Vec<&str> {
    steps.into_iter().map(|step| step.name.as_str()).collect()
}

/// Where the button leads, if the user may confirm the job.
fn action(shown: &Content) -> Option<String> {
    let Content {
        job, scope, user, ..
    } = shown;
    let is_own = job.created_by == user.id;
    let may_confirm = user.role >= if is_own { Role::Operator } else { Role::Admin };
    may_confirm.then(|| address(job, user.role, *scope))
}

fn address(job: &JobView, role: Role, scope: Scope) -> String {
    match role {
        Role::Admin => format!("/jobs/{}/confirm{}", job.id, parts::scope_query(scope)),
        Role::Pending | Role::Viewer | Role::Operator => format!("/jobs/{}/confirm", job.id),
    }
}
