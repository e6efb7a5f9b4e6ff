//! `/runs/{id}`: one run, as a table of its nodes and their steps.
//!
//! `run.js` fetches the head, and the rows of the jobs that have changed: a page of 1,000 rows is
//! never drawn again as a whole.

use std::collections::{BTreeSet, HashSet};

use axum::extract::State;
use axum::response::Redirect;
use maud::{Markup, html};

use super::layout::{self, Page};
use super::{Site, form, job, parts, run_words, runs, schedules, words, would_change};
use crate::auth::{Operator, Role, User, Viewer};
use crate::http::{ApiError, Path, Query};
use crate::jobs::{RunView, Scope};
use crate::presets::script_steps;
use crate::runs::{RetryRequest, RunAction, RunDetail, RunError, RunJobView};
use crate::store::job::{JobKind, JobStatus};
use crate::store::run::RunStatus;

/// How often the page of an unfinished run reloads without JavaScript, in seconds.
const RELOAD_SECONDS: u32 = 5;
/// Rows that one call returns.
const ROWS_MAX: usize = 100;

/// The page.
pub(super) async fn show(
    State(site): State<Site>,
    Viewer(user): Viewer,
    Path(id): Path<String>,
    query: Query,
) -> Result<Markup, ApiError> {
    let scope = parts::scope_of(&site, &user, &query)?;
    let RunDetail { run, jobs } = site.runs.detail(&user, scope, id, true).await?;
    let jobs = jobs.unwrap_or_default();
    let steps = match jobs.first() {
        Some(job) => script_steps(&site.jobs.script(job.id.clone()).await?),
        None => Vec::new(),
    };
    let schedule = match &run.schedule_id {
        Some(id) => Some(schedules::link_of_run(&site, id).await?),
        None => None,
    };
    let state = query.get("state").unwrap_or_default();
    let is_over = run.status.is_final();
    let (mark, icon) = run_words::tab(&run);
    let nodes = words::count(run.node_count, "node", "nodes");
    let presets = site.jobs.presets().await?;
    let what = words::visible(runs::title(&run, &presets));
    let title = format!("{mark} {} on {nodes}", words::preset(&run.preset));
    let would_change = match run.kind {
        JobKind::Check => {
            let nodes = jobs.iter().map(|job| job.node_id.clone()).collect();
            let what = (run.preset.as_str(), &run.params);
            would_change::draw(&site, &user, scope, what, nodes).await?
        }
        JobKind::Apply => html! {},
    };
    let body = html! {
        p.crumbs { a href=(format!("/runs{}", parts::scope_query(scope))) { "Runs" } }
        div.head {
            h1 { bdi { (what) } span.dim { " on " (nodes) } }
            (actions(&run, &user, scope))
        }
        (head(&run, scope, state))
        (facts(&run, schedule))
        (job::params(&run.params))
        (table(&jobs, &site.jobs.paused_nodes().await?, &steps, scope, state))
        (would_change)
    };
    let page = Page::new(&title, body)
        .with_style("run.css")
        .with_icon(&icon)
        .for_user(Some(&user))
        .under("/runs")
        .live(parts::events(scope))
        .with_module("run.js");
    Ok(layout::draw(&match query.get("view") {
        Some("plain") if is_over => page,
        Some("plain") => page.refreshed_every(RELOAD_SECONDS),
        _ => page.without_script(plain_address(&run.id, scope, state)),
    }))
}

fn plain_address(id: &str, scope: Scope, state: &str) -> String {
    let scope = if scope == Scope::All {
        "&scope=all"
    } else {
        ""
    };
    let state = if state.is_empty() {
        String::new()
    } else {
        format!("&state={state}")
    };
    format!("/runs/{id}?view=plain{scope}{state}")
}

/// The head and the rows that `run.js` asks for.
pub(super) async fn show_rows(
    State(site): State<Site>,
    Viewer(user): Viewer,
    Path(id): Path<String>,
    query: Query,
) -> Result<Markup, ApiError> {
    let scope = parts::scope_of(&site, &user, &query)?;
    let wanted: BTreeSet<&str> = query.all("job").take(ROWS_MAX).collect();
    let RunDetail { run, jobs } = site.runs.peek(&user, scope, id).await?;
    let jobs = jobs.unwrap_or_default();
    let steps = match jobs.first() {
        Some(job) => script_steps(&site.jobs.script(job.id.clone()).await?).len(),
        None => 0,
    };
    let paused = site.jobs.paused_nodes().await?;
    let rows = jobs.iter().filter(|job| wanted.contains(job.id.as_str()));
    let state = query.get("state").unwrap_or_default();
    Ok(html! {
        (actions(&run, &user, scope))
        (head(&run, scope, state))
        table { tbody { @for job in rows { (row(job, &paused, steps, scope, state)) } } }
    })
}

/// Pauses, resumes, cancels or retries the run.
pub(super) async fn act(
    State(site): State<Site>,
    Operator(user): Operator,
    Path((id, action)): Path<(String, String)>,
    query: Query,
) -> Result<Redirect, ApiError> {
    let scope = Scope::to_change(&user, &query)?;
    let back = runs::address(&id, scope);
    let done = match action.as_str() {
        "pause" => site.runs.act(&user, scope, id, RunAction::Pause).await,
        "resume" => site.runs.act(&user, scope, id, RunAction::Resume).await,
        "cancel" => site.runs.act(&user, scope, id, RunAction::Cancel).await,
        "retry" => {
            let made = site
                .runs
                .retry(&user, scope, id, RetryRequest::default())
                .await?;
            return Ok(Redirect::to(&runs::address(&made.run.id, Scope::Mine)));
        }
        _ => return Err(ApiError::not_found("not_found", "Page not found")),
    };
    match done {
        // The run ended before the click: its page shows how.
        Ok(_) | Err(RunError::WrongState(_) | RunError::Stopping) => Ok(Redirect::to(&back)),
        Err(error) => Err(error.into()),
    }
}

fn actions(run: &RunView, user: &User, scope: Scope) -> Markup {
    let is_own = run.created_by == user.id;
    let may_change = user.role >= (if is_own { Role::Operator } else { Role::Admin });
    let query = match user.role {
        Role::Admin => parts::scope_query(scope),
        Role::Pending | Role::Viewer | Role::Operator => "",
    };
    let action = |name: &str| format!("/runs/{}/{name}{query}", run.id);
    let is_stopping = run.stopped_because.is_some();
    let rest = run.node_count - run.counts.succeeded.min(run.node_count);
    let stop = "Cancel the run? Waiting jobs are cancelled, and running scripts are stopped. Changes that they have already made are not undone.";
    html! {
        div #run-actions .actions {
            @if may_change {
                @if run.status == RunStatus::Running && !is_stopping { (form::button(&action("pause"), "", "Pause", None)) }
                @if run.status == RunStatus::Paused { (form::button(&action("resume"), "primary", "Resume", None)) }
                @if !run.status.is_final() { (form::button(&action("cancel"), "danger", "Cancel", Some(stop))) }
                @if run.status.is_final() && rest > 0 {
                    (form::button(&action("retry"), "", &format!("Retry {}", words::count(rest, "node", "nodes")), None))
                }
            }
        }
    }
}

/// The state and the numbers of jobs, each a link that filters the table.
fn head(run: &RunView, scope: Scope, chosen: &str) -> Markup {
    let address = |state: &str| {
        let mut pairs = vec![("state", state)];
        if scope == Scope::All {
            pairs.push(("scope", "all"));
        }
        pairs.retain(|(_, value)| !value.is_empty());
        format!("/runs/{}?{}", run.id, super::local::query(&pairs))
    };
    let current = |state: &str| (state == chosen).then_some("true");
    html! {
        div #run-head {
            div.banner { (run_words::sentence(run)) }
            (run_words::bar(run))
            nav.counts aria-label="Jobs by state" {
                a href=(address("")) aria-current=[current("")] data-filter="" { "All " b { (run.node_count) } }
                @for (name, label, count) in run_words::counted(&run.counts) {
                    @if count > 0 || name == chosen {
                        a href=(address(name)) aria-current=[current(name)] data-filter=(name) {
                            span.state data-state=(icon(name)) { (label) } " " b { (count) }
                        }
                    }
                }
            }
        }
    }
}

fn icon(state: &str) -> &str {
    match state {
        "held" => "queued",
        "skipped" => "cancelled",
        state => state,
    }
}

fn facts(run: &RunView, schedule: Option<Markup>) -> Markup {
    let plan = &run.plan;
    html! {
        dl.facts {
            div { dt { "Queued" } dd { (words::moment(run.created_at)) } }
            div { dt { "By" } dd { bdi { (run.created_by_email) } } }
            @if let Some(schedule) = schedule { div { dt { "By the schedule" } dd { (schedule) } } }
            @if let Some(selector) = &run.selector { div { dt { "Selector" } dd { code { (words::visible(selector)) } } } }
            @if plan.canary > 0 { div { dt { "Canary" } dd { (words::count(plan.canary, "node", "nodes")) } } }
            div { dt { "Batch" } dd { (plan.batch.words()) } }
            @if plan.pause_seconds > 0 {
                div { dt { "Pause" } dd { (words::span(i64::try_from(plan.pause_seconds * 1_000).unwrap_or(i64::MAX))) } }
            }
            div { dt { "Failures allowed" } dd { (plan.max_failures) } }
            @if let Some(before) = &run.retry_of { div { dt { "Retry of" } dd { a href=(format!("/runs/{before}")) { code { (before) } } } } }
            div { dt { "Run" } dd { code { (run.id) } } }
        }
    }
}

fn table(
    jobs: &[RunJobView],
    paused: &HashSet<String>,
    steps: &[String],
    scope: Scope,
    state: &str,
) -> Markup {
    html! {
        @if jobs.is_empty() { p.none { "The jobs of this run are no longer kept." } }
        @else {
            div.sideways tabindex="0" role="region" aria-label="Nodes and steps" {
                table #run-jobs .steps data-state=(state) {
                    thead { tr {
                        th scope="col" { "Node" } th scope="col" { "State" } th.num scope="col" { "Batch" }
                        @for (index, name) in steps.iter().enumerate() {
                            th.step scope="col" title=(words::visible(name)) { (index + 1) span.unseen { " " (words::visible(name)) } }
                        }
                        th.num scope="col" { "Took" }
                    } }
                    tbody { @for job in jobs { (row(job, paused, steps.len(), scope, state)) } }
                }
            }
            @if !steps.is_empty() {
                ol.legend aria-label="Steps" { @for name in steps { li { (words::visible(name)) } } }
            }
        }
    }
}

/// The state of a job as the filter names it.
fn state_of(job: &RunJobView) -> &'static str {
    let why = job.error_msg.as_deref().unwrap_or_default();
    match job.status {
        JobStatus::Queued if job.holds.is_empty() => "queued",
        JobStatus::Queued => "held",
        JobStatus::Running => "running",
        JobStatus::Succeeded => "succeeded",
        JobStatus::Failed => "failed",
        JobStatus::Cancelled if why.starts_with("expired:") => "failed",
        JobStatus::Cancelled if why.starts_with("skipped:") => "skipped",
        JobStatus::Cancelled => "cancelled",
    }
}

fn row(
    job: &RunJobView,
    paused: &HashSet<String>,
    steps: usize,
    scope: Scope,
    chosen: &str,
) -> Markup {
    let state = state_of(job);
    let address = parts::job_address(&job.id, scope);
    let reached = job.step.as_ref().map_or(0, |step| step.index);
    let steps = u32::try_from(steps).unwrap_or(u32::MAX);
    let why = match (&job.error_msg, job.exit_code) {
        (Some(why), _) => Some(why.clone()),
        (None, Some(code)) if code != 0 => Some(format!("exit code {code}")),
        (None, _) if state == "queued" && paused.contains(&job.node_id) => {
            Some("the node is paused".to_owned())
        }
        (None, _) => job.holds.first().map(|hold| hold.detail.clone()),
    };
    html! {
        tr id=(format!("job-{}", job.id)) data-job=(job.id) data-is=(state) hidden[!chosen.is_empty() && chosen != state] {
            td.main { a href=(address) { (job.node_id) } }
            td data-label="State" {
                span.state data-state=(icon(state)) { (label(state)) }
                @if let Some(why) = why { span.why { (words::visible(&why)) } }
            }
            td.num data-label="Batch" { (job.batch) }
            @for step in 1..=steps { (cell(job, step, reached, &address)) }
            td.num data-label="Took" {
                @match (job.started_at, job.finished_at) {
                    (Some(start), Some(end)) => { (words::span(end.millis_since(start))) }
                    (Some(start), None) => { (words::running_since(start)) }
                    _ => { "–" }
                }
            }
        }
    }
}

fn label(state: &str) -> &'static str {
    match state {
        "queued" => "Queued",
        "held" => "Held",
        "running" => "Running",
        "succeeded" => "Succeeded",
        "failed" => "Failed",
        "skipped" => "Skipped",
        _ => "Cancelled",
    }
}

/// A job's state in one of its steps: a link to that step in its log.
fn cell(job: &RunJobView, step: u32, reached: u32, address: &str) -> Markup {
    let (state, word) = match (step.cmp(&reached), job.status) {
        (std::cmp::Ordering::Less, _) => ("succeeded", "done"),
        (std::cmp::Ordering::Greater, _) => ("waiting", "not started"),
        (std::cmp::Ordering::Equal, JobStatus::Queued | JobStatus::Running) => {
            ("running", "running")
        }
        (std::cmp::Ordering::Equal, JobStatus::Succeeded) => ("succeeded", "done"),
        (std::cmp::Ordering::Equal, JobStatus::Failed) => ("failed", "failed"),
        (std::cmp::Ordering::Equal, JobStatus::Cancelled) => ("cancelled", "cancelled"),
    };
    html! {
        td.step {
            @if state == "waiting" { span.state data-state="waiting" { span.unseen { "Step " (step) ": " (word) } } }
            @else {
                a.state data-state=(state) href=(format!("{address}#step-{step}")) { span.unseen { "Step " (step) ": " (word) } }
            }
        }
    }
}
