//! `/runs`: filtered and paged.

use axum::extract::State;
use maud::{Markup, html};

use super::job_rows::chosen_params;
use super::layout::{self, Page};
use super::{Site, parts, run_words, schedules, words};
use crate::auth::{User, Viewer};
use crate::http::{ApiError, Query};
use crate::jobs::{RunView, Scope};
use crate::presets::Snapshot;
use crate::runs::RunPage;
use crate::store::run::{RunFilter, RunStatus};

/// Runs on a page.
const PAGE: u64 = 50;

/// The filter's states: name and label.
const STATES: [(&str, &str, RunStatus); 5] = [
    ("running", "Running", RunStatus::Running),
    ("paused", "Paused", RunStatus::Paused),
    ("succeeded", "Succeeded", RunStatus::Succeeded),
    ("failed", "Failed", RunStatus::Failed),
    ("cancelled", "Cancelled", RunStatus::Cancelled),
];

/// The page.
pub(super) async fn show(
    State(site): State<Site>,
    Viewer(user): Viewer,
    query: Query,
) -> Result<Markup, ApiError> {
    let scope = parts::list_scope_of(&site, &user, &query)?;
    let state = query.get("state").unwrap_or_default();
    let preset = query.get("preset").unwrap_or_default();
    let known = STATES.iter().find(|(name, _, _)| *name == state);
    if !state.is_empty() && known.is_none() {
        return Err(query.wrong("state", "running, paused, succeeded, failed or cancelled"));
    }
    let filter = RunFilter {
        created_by: (scope == Scope::Mine).then(|| user.id.clone()),
        statuses: known.map(|(_, _, status)| *status).into_iter().collect(),
        preset: Some(preset.to_owned()).filter(|preset| !preset.is_empty()),
        schedule_id: query.get("schedule").map(str::to_owned),
        before: crate::jobs::cursor_of(&query)?,
        ..RunFilter::default()
    };
    let page = site.runs.page(filter, PAGE).await?;
    let presets = site.jobs.presets().await?;
    let schedule = query.get("schedule").unwrap_or_default();
    let name = match schedule {
        "" => None,
        id => Some(schedules::link_of_run(&site, id).await?),
    };
    let mut pairs = vec![("state", state), ("preset", preset), ("schedule", schedule)];
    pairs.retain(|(_, value)| !value.is_empty());
    let body = body((&site, &user, scope), &page, &presets, &pairs, name);
    let drawn = Page::new("Runs", body)
        .for_user(Some(&user))
        .under("/runs")
        .with_style("lists.css");
    Ok(layout::draw(&drawn.live(parts::events(scope))))
}

fn body(
    (site, user, scope): (&Site, &User, Scope),
    page: &RunPage,
    presets: &Snapshot,
    pairs: &[(&str, &str)],
    schedule: Option<Markup>,
) -> Markup {
    let chosen = |name: &str| {
        let pair = pairs.iter().find(|(known, _)| *known == name);
        pair.map_or("", |(_, value)| *value)
    };
    let older = page.next_cursor.as_deref().map(|cursor| {
        let mut pairs = pairs.to_vec();
        pairs.push(("cursor", cursor));
        parts::list_address(user, scope, "/runs", &pairs)
    });
    let names = presets.entries().map(|entry| entry.preset.name.as_str());
    let mut names: Vec<&str> = names.collect();
    if !chosen("preset").is_empty() && !names.contains(&chosen("preset")) {
        names.insert(0, chosen("preset"));
    }
    html! {
        div.head { h1 { "Runs" } (parts::scope_switch(site, user, scope, "/runs", pairs)) }
        @if let Some(schedule) = schedule { p { "Runs of the schedule " (schedule) } }
        form.filters action="/runs" {
            @if !chosen("schedule").is_empty() { input type="hidden" name="schedule" value=(chosen("schedule")); }
            @if let Some((name, value)) = parts::list_scope(user, scope) { input type="hidden" name=(name) value=(value); }
            label.unseen for="by-state" { "State" }
            select #by-state name="state" {
                option value="" { "Any state" }
                @for (name, label, _) in STATES { option value=(name) selected[chosen("state") == name] { (label) } }
            }
            label.unseen for="by-preset" { "Preset" }
            select #by-preset name="preset" {
                option value="" { "Any preset" }
                @for name in names { option value=(name) selected[chosen("preset") == name] { (name) } }
            }
            button { "Filter" }
            @if !pairs.is_empty() { a.button.quiet href=(parts::list_address(user, scope, "/runs", &[])) { "Clear" } }
        }
        div #runs data-region data-shows="jobs" {
            (table(&page.runs, user, scope, presets))
            nav.pager aria-label="Pages" {
                @if let Some(older) = older { a.button rel="next" href=(older) { "Older" } }
            }
        }
    }
}

fn table(runs: &[RunView], user: &User, scope: Scope, presets: &Snapshot) -> Markup {
    html! {
        @if runs.is_empty() {
            p.none { "No runs. A run queues one preset on several nodes: choose a preset, then " em { "Several nodes" } "." }
        } @else {
            table.runs.rows {
                thead { tr {
                    th scope="col" { "State" } th scope="col" { "Run" } th scope="col" { "Nodes" }
                    th scope="col" { "By" } th scope="col" { "Queued" } th.num scope="col" { "Took" }
                } }
                tbody { @for run in runs { (row(run, user, scope, presets)) } }
            }
        }
    }
}

fn row(run: &RunView, user: &User, scope: Scope, presets: &Snapshot) -> Markup {
    let preset = presets.get(&run.preset).map(|entry| &entry.preset);
    let title = title(run, presets);
    html! {
        tr {
            td {
                (run_words::state(run))
                @if let Some(why) = &run.stopped_because { div.reason.dim { (words::visible(why)) } }
            }
            td.main {
                (link(run, title, user, scope))
                div.dim {
                    bdi { (words::visible(words::preset(&run.preset))) }
                    @for param in chosen_params(&run.params, preset) { " · " bdi { (words::visible(&param)) } }
                }
            }
            td data-label="Nodes" {
                (progress(run))
                @if let Some(selector) = &run.selector { div.dim { code { (words::visible(selector)) } } }
            }
            td data-label="By" { bdi { (run.created_by_email) } }
            td data-label="Queued" { (words::since(run.created_at)) }
            td.num data-label="Took" {
                @match run.finished_at {
                    Some(end) => { (words::span(end.millis_since(run.created_at))) }
                    None => { (words::running_since(run.created_at)) }
                }
            }
        }
    }
}

/// The title of the run's preset, or its name if the preset is gone.
pub(super) fn title<'t>(run: &'t RunView, presets: &'t Snapshot) -> &'t str {
    let entry = presets.get(&run.preset);
    entry.map_or_else(|| words::preset(&run.preset), |entry| &entry.preset.title)
}

/// How many of the run's jobs have ended, in words and as a bar.
fn progress(run: &RunView) -> Markup {
    let counts = &run.counts;
    let ended = counts.succeeded + counts.failed + counts.cancelled + counts.skipped;
    html! {
        div { (ended) " of " (run.node_count) " ended"
            @if counts.failed > 0 { ", " (words::count(counts.failed, "failure", "failures")) } }
        (run_words::bar(run))
    }
}

/// The link of a whole row.
fn link(run: &RunView, title: &str, user: &User, scope: Scope) -> Markup {
    let scope = parts::scope_of_job(user, scope, &run.created_by);
    let name = format!(
        "{} on {}, {}, queued {}",
        words::visible(title),
        words::count(run.node_count, "node", "nodes"),
        run_words::word(run).to_lowercase(),
        words::plain_time(run.created_at)
    );
    html! { a.row href=(address(&run.id, scope)) aria-label=(name) { bdi { (words::visible(title)) } } }
}

/// A run in a list without columns.
pub(super) fn short_row(run: &RunView, user: &User, scope: Scope, presets: &Snapshot) -> Markup {
    let title = title(run, presets);
    html! {
        li {
            (run_words::state(run))
            div.what { (link(run, title, user, scope)) span.dim { " on " (words::count(run.node_count, "node", "nodes")) } }
            div.when { (progress(run)) }
        }
    }
}

/// The address of a run's page under this scope.
pub(super) fn address(id: &str, scope: Scope) -> String {
    format!("/runs/{id}{}", parts::scope_query(scope))
}
