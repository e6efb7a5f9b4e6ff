//! Markup that several pages share: states, and the switch between the user's own jobs and
//! everybody's.

use maud::{Markup, html};
use serde_json::Value;

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

/// A state's name in the stylesheet, and its word.
pub(super) fn state_words(status: JobStatus, is_stopping: bool) -> (&'static str, &'static str) {
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
    tab_of(state_words(job.status, job.cancel_requested_at.is_some()).0)
}

/// The same for a state's name.
pub(super) fn tab_of(name: &str) -> (&'static str, String) {
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

/// Whose jobs a list shows if its address does not say. A VIEWER has none, and an ADMIN is
/// responsible for everybody's.
pub(super) fn default_scope(user: &User) -> Scope {
    match user.role {
        Role::Viewer | Role::Admin => Scope::All,
        Role::Pending | Role::Operator => Scope::Mine,
    }
}

/// Whose jobs a list shows.
pub(super) fn list_scope_of(site: &Site, user: &User, query: &Query) -> Result<Scope, ApiError> {
    match query.get("scope") {
        None => Ok(default_scope(user)),
        Some(_) => Scope::of(&site.jobs, user, query),
    }
}

/// The query parameter of a link to a list under this scope.
pub(super) fn list_scope(user: &User, scope: Scope) -> Option<(&'static str, &'static str)> {
    let name = match scope {
        Scope::All => "all",
        Scope::Mine => "mine",
    };
    (scope != default_scope(user)).then_some(("scope", name))
}

/// The address of a list under this scope.
pub(super) fn list_address(
    user: &User,
    scope: Scope,
    page: &str,
    pairs: &[(&str, &str)],
) -> String {
    let mut pairs = pairs.to_vec();
    pairs.extend(list_scope(user, scope));
    match pairs.is_empty() {
        true => page.to_owned(),
        false => format!("{page}?{}", local::query(&pairs)),
    }
}

/// The scope under which a link from a list leads to a job or a run: the user's own ones need none,
/// and reading them is not recorded in the audit log.
pub(super) fn scope_of_job(user: &User, scope: Scope, created_by: &str) -> Scope {
    if user.id == created_by {
        Scope::Mine
    } else {
        scope
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

/// A param's value.
pub(super) fn param_value(value: &Value) -> Markup {
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    html! { @if text.is_empty() { span.dim { "empty" } } @else { code.value { (words::visible(&text)) } } }
}
