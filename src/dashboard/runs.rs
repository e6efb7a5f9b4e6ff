//! `/runs`: filtered and paged.

use axum::extract::State;
use maud::{Markup, html};

use super::layout::{self, Page};
use super::{Site, local, parts, run_words, words};
use crate::auth::{User, Viewer};
use crate::http::{ApiError, Query};
use crate::jobs::{RunView, Scope};
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
    let scope = parts::scope_of(&site, &user, &query)?;
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
        before: crate::jobs::cursor_of(&query)?,
    };
    let page = site.runs.page(filter, PAGE).await?;
    let mut pairs = vec![("state", state), ("preset", preset)];
    if scope == Scope::All {
        pairs.push(("scope", "all"));
    }
    pairs.retain(|(_, value)| !value.is_empty());
    let body = body(&site, &user, scope, &page, &pairs);
    let drawn = Page::new("Runs", body).for_user(Some(&user)).under("/runs");
    Ok(layout::draw(&drawn.live(parts::events(scope))))
}

fn body(site: &Site, user: &User, scope: Scope, page: &RunPage, pairs: &[(&str, &str)]) -> Markup {
    let chosen = |name: &str| {
        let pair = pairs.iter().find(|(known, _)| *known == name);
        pair.map_or("", |(_, value)| *value)
    };
    let older = page.next_cursor.as_deref().map(|cursor| {
        let mut pairs = pairs.to_vec();
        pairs.push(("cursor", cursor));
        format!("/runs?{}", local::query(&pairs))
    });
    html! {
        div.head { h1 { "Runs" } (parts::scope_switch(site, user, scope, "/runs", pairs)) }
        form.filters action="/runs" {
            @if scope == Scope::All { input type="hidden" name="scope" value="all"; }
            @if !chosen("preset").is_empty() { input type="hidden" name="preset" value=(chosen("preset")); }
            label.unseen for="by-state" { "State" }
            select #by-state name="state" {
                option value="" { "Any state" }
                @for (name, label, _) in STATES { option value=(name) selected[chosen("state") == name] { (label) } }
            }
            button { "Filter" }
        }
        div #runs data-region data-shows="jobs" {
            (table(&page.runs, scope))
            nav.pager aria-label="Pages" {
                @if let Some(older) = older { a.button rel="next" href=(older) { "Older" } }
            }
        }
    }
}

/// Runs as a table.
pub(super) fn table(runs: &[RunView], scope: Scope) -> Markup {
    html! {
        @if runs.is_empty() {
            p.none { "No runs. A run queues one preset on several nodes: choose a preset, then " em { "Several nodes" } "." }
        } @else {
            table.runs {
                thead { tr {
                    th scope="col" { "State" } th scope="col" { "Preset" } th scope="col" { "Nodes" } th scope="col" { "Ended" }
                    @if scope == Scope::All { th scope="col" { "By" } }
                    th scope="col" { "Queued" }
                } }
                tbody { @for run in runs { (row(run, scope)) } }
            }
        }
    }
}

fn row(run: &RunView, scope: Scope) -> Markup {
    let counts = &run.counts;
    let ended = counts.succeeded + counts.failed + counts.cancelled + counts.skipped;
    html! {
        tr {
            td { (run_words::state(run)) }
            td.main { a href=(address(&run.id, scope)) { bdi { (words::visible(words::preset(&run.preset))) } } }
            td data-label="Nodes" {
                (run.node_count)
                @if let Some(selector) = &run.selector { " " code { (words::visible(selector)) } }
            }
            td data-label="Ended" {
                (ended)
                @if counts.failed > 0 { ", " (words::count(counts.failed, "failure", "failures")) }
            }
            @if scope == Scope::All { td data-label="By" { bdi { (run.created_by_email) } } }
            td data-label="Queued" { (words::since(run.created_at)) }
        }
    }
}

/// The address of a run's page under this scope.
pub(super) fn address(id: &str, scope: Scope) -> String {
    format!("/runs/{id}{}", parts::scope_query(scope))
}
