//! Markup that several pages share: states, tables of jobs, the switch between the user's own jobs
//! and everybody's.

use std::collections::HashSet;

use maud::{Markup, html};

use super::{Site, local, words};
use crate::auth::{Role, User};
use crate::http::{ApiError, Query};
use crate::jobs::{JobView, Scope};
use crate::nodes::{NodeStatus, NodeView};
use crate::store::job::JobStatus;

/// A job's state: icon, word and colour.
pub(super) fn state(status: JobStatus, is_stopping: bool) -> Markup {
    let (name, word) = state_words(status, is_stopping);
    html! { span.state data-state=(name) { (word) } }
}

fn state_words(status: JobStatus, is_stopping: bool) -> (&'static str, &'static str) {
    match (status, is_stopping) {
        (JobStatus::Queued, _) => ("queued", "Queued"),
        (JobStatus::Running, false) => ("running", "Running"),
        (JobStatus::Running, true) => ("stopping", "Stopping"),
        (JobStatus::Succeeded, _) => ("succeeded", "Succeeded"),
        (JobStatus::Failed, _) => ("failed", "Failed"),
        (JobStatus::Cancelled, _) => ("cancelled", "Cancelled"),
    }
}

/// How a browser tab shows a job's state: a mark before the title, and an icon. `job.js` has the
/// same marks.
pub(super) fn tab(job: &JobView) -> (&'static str, String) {
    let (name, _) = state_words(job.status, job.cancel_requested_at.is_some());
    let mark = match name {
        "queued" => "…",
        "running" => "▶",
        "stopping" => "■",
        "succeeded" => "✓",
        "failed" => "✗",
        _ => "⊘",
    };
    (mark, format!("icons/tab-{name}.svg"))
}

/// The state of this job.
pub(super) fn job_state(job: &JobView) -> Markup {
    state(job.status, job.cancel_requested_at.is_some())
}

/// A node's state: icon, word and colour.
pub(super) fn node_state(node: &NodeView) -> Markup {
    let (name, word) = match node.status {
        NodeStatus::Online => ("online", "Online"),
        NodeStatus::Offline => ("offline", "Offline"),
    };
    html! {
        span.state data-state=(name) { (word) }
        @if node.paused { " " span.state data-state="paused" { "Paused" } }
    }
}

/// When a node was last seen.
pub(super) fn last_seen(node: &NodeView) -> Markup {
    html! {
        @match node.last_seen_at {
            Some(at) => { (words::since(at)) }
            None => { "never" }
        }
    }
}

/// A value that the agent reported, or a dash.
pub(super) fn or_dash(text: Option<&str>) -> Markup {
    html! { bdi { (words::visible(text.filter(|text| !text.is_empty()).unwrap_or("–"))) } }
}

/// Whose jobs a page shows. A VIEWER, who has none, sees everybody's unless told otherwise.
pub(super) fn scope_of(site: &Site, user: &User, query: &Query) -> Result<Scope, ApiError> {
    match query.get("scope") {
        None if user.role == Role::Viewer => Ok(Scope::All),
        _ => Scope::of(&site.jobs, user, query),
    }
}

/// `?scope=all` or nothing, for links that go on under this scope.
pub(super) fn scope_query(scope: Scope) -> &'static str {
    match scope {
        Scope::All => "?scope=all",
        Scope::Mine => "",
    }
}

/// The stream of events under this scope.
pub(super) fn events(scope: Scope) -> String {
    format!("/api/events{}", scope_query(scope))
}

/// The address of a job's page under this scope.
pub(super) fn job_address(id: &str, scope: Scope) -> String {
    format!("/jobs/{id}{}", scope_query(scope))
}

/// The switch between the user's own jobs and everybody's, for users who may see those. `rest` are
/// query parameters to keep.
pub(super) fn scope_switch(
    site: &Site,
    user: &User,
    scope: Scope,
    page: &str,
    rest: &[(&str, &str)],
) -> Markup {
    let address = |scope: &str| {
        let mut pairs = vec![("scope", scope)];
        pairs.extend(rest.iter().filter(|(name, _)| *name != "scope"));
        format!("{page}?{}", local::query(&pairs))
    };
    let current = |this: Scope| (this == scope).then_some("true");
    html! {
        @if user.role >= Role::Operator && site.jobs.reads_all(user) {
            div.switch role="group" aria-label="Whose jobs" {
                a href=(address("mine")) aria-current=[current(Scope::Mine)] { "Mine" }
                a href=(address("all")) aria-current=[current(Scope::All)] { "Everybody's" }
            }
        }
    }
}

/// Jobs as a table; the text `none` if there are none.
///
/// `paused` are the paused nodes, which keep their jobs waiting.
pub(super) fn job_table(
    jobs: &[JobView],
    paused: &HashSet<String>,
    scope: Scope,
    none: &str,
) -> Markup {
    html! {
        @if jobs.is_empty() { p.none { (none) } }
        @else {
            table.jobs {
                thead { tr {
                    th scope="col" { "State" } th scope="col" { "Preset" } th scope="col" { "Node" }
                    @if scope == Scope::All { th scope="col" { "By" } }
                    th scope="col" { "Queued" } th scope="col" { "Took" }
                } }
                tbody { @for job in jobs { (job_row(job, paused, scope)) } }
            }
        }
    }
}

fn job_row(job: &JobView, paused: &HashSet<String>, scope: Scope) -> Markup {
    html! {
        tr {
            td { (job_state(job))
                @if !job.holds.is_empty() { " " span.dim { "held" } }
                @else if job.status == JobStatus::Queued && paused.contains(&job.node_id) { " " span.dim { "node paused" } }
            }
            td.main { a href=(job_address(&job.id, scope)) { bdi { (words::visible(words::preset(&job.preset))) } } }
            td data-label="Node" { a href=(format!("/nodes/{}", job.node_id)) { (job.node_id) } }
            @if scope == Scope::All { td data-label="By" { bdi { (job.created_by_email) } } }
            td data-label="Queued" { (words::since(job.created_at)) }
            td.num data-label="Took" { (took(job)) }
        }
    }
}

/// How long a job ran, or has been running.
pub(super) fn took(job: &JobView) -> Markup {
    html! {
        @match (job.started_at, job.finished_at) {
            (Some(start), Some(end)) => { (words::span(end.millis_since(start))) }
            (Some(start), None) => { (words::running_since(start)) }
            _ => { "–" }
        }
    }
}

/// Text with a button that copies it.
pub(super) fn copyable(text: &str, what: &str) -> Markup {
    html! {
        div.copyable {
            pre.code tabindex="0" { (text) }
            button.quiet type="button" data-copy hidden aria-label=(format!("Copy {what}")) { "Copy" }
        }
    }
}
