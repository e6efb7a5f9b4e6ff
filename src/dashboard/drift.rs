//! `/drift`: a matrix of nodes and presets that shows which nodes are still as the presets have
//! left them, and what applies a preset again.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::response::Redirect;
use maud::{Markup, html};

use super::form::Form;
use super::layout::{self, Page};
use super::{Site, local, parts, words};
use crate::auth::{Operator, Role, User, Viewer};
use crate::http::{ApiError, Query};
use crate::jobs::{DriftState, DriftStepState, Scope};
use crate::nodes::Selector;
use crate::runs::{AgainGroup, AgainTarget, DriftCheckRequest, DriftView};

/// Nodes on a page.
const PAGE: usize = 100;
/// Matches every node.
const EVERY_NODE: &str = "node";

/// The filter of the page.
struct Filter<'q> {
    selector: &'q str,
    preset: &'q str,
}

impl Filter<'_> {
    fn pairs(&self) -> Vec<(&str, &str)> {
        let mut pairs = vec![("selector", self.selector), ("preset", self.preset)];
        pairs.retain(|(_, value)| !value.is_empty());
        pairs
    }
}

/// The rows of the page's nodes, by node and preset.
struct Matrix {
    cells: BTreeMap<String, BTreeMap<String, DriftView>>,
    presets: BTreeSet<String>,
    /// The last node of this page, if there are more.
    next: Option<String>,
}

/// Everybody's jobs, for those who may read them.
fn widest(site: &Site, user: &User) -> Scope {
    match site.jobs.reads_all(user) {
        true => Scope::All,
        false => Scope::Mine,
    }
}

fn address(page: &str, pairs: &[(&str, &str)]) -> String {
    match pairs {
        [] => page.to_owned(),
        pairs => format!("{page}?{}", local::query(pairs)),
    }
}

/// The page of drift on one node.
pub(super) fn address_of_node(id: &str) -> String {
    address("/drift", &[("selector", &format!("node={id}"))])
}

/// The page of drift from one preset.
pub(super) fn address_of_preset(name: &str) -> String {
    address("/drift", &[("preset", name)])
}

/// The page.
pub(super) async fn show(
    State(site): State<Site>,
    Viewer(user): Viewer,
    query: Query,
) -> Result<Markup, ApiError> {
    let filter = Filter {
        selector: query.get("selector").unwrap_or_default().trim(),
        preset: query.get("preset").unwrap_or_default(),
    };
    let selector = Some(filter.selector).filter(|text| !text.is_empty());
    let (selector, fault) = match selector.map(Selector::parse).transpose() {
        Ok(selector) => (selector, None),
        Err(error) => (None, Some(ApiError::from(error))),
    };
    let after = query.get("after").unwrap_or_default();
    let matrix = read(&site, selector, &filter, after).await?;
    let body = html! {
        div.head {
            h1 { "Drift" }
            @if user.role >= Role::Operator && fault.is_none() && !matrix.cells.is_empty() {
                form.actions method="post" action="/drift" {
                    input type="hidden" name="selector" value=(filter.selector);
                    input type="hidden" name="preset" value=(filter.preset);
                    button.primary { "Check now" }
                }
            }
        }
        p.prose.dim {
            "Whether each node is still as its presets have left it: a check with the params of the last success asks which "
            "steps would run. "
            @if user.role >= Role::Operator { a href="/schedules/new" { "Schedule a check" } " to know each morning." }
        }
        (filters(&filter, fault.as_ref()))
        div #drift data-region data-shows="jobs" {
            (table(&site, &user, &matrix))
            @if let Some(next) = &matrix.next {
                @let pairs = [filter.pairs(), vec![("after", next.as_str())]].concat();
                nav.pager aria-label="Pages" { a.button rel="next" href=(address("/drift", &pairs)) { "More nodes" } }
            }
        }
    };
    let page = Page::new("Drift", body)
        .for_user(Some(&user))
        .under("/drift")
        .with_style("drift.css");
    Ok(layout::draw(
        &page.live(parts::events(widest(&site, &user))),
    ))
}

async fn read(
    site: &Site,
    selector: Option<Selector>,
    filter: &Filter<'_>,
    after: &str,
) -> Result<Matrix, ApiError> {
    let nodes = site.jobs.all_nodes(selector).await?;
    let mut ids: Vec<String> = nodes.into_iter().map(|node| node.id).collect();
    ids.sort_unstable();
    let preset = Some(filter.preset.to_owned()).filter(|preset| !preset.is_empty());
    let rows = site.runs.drift_of(ids, preset).await?;
    let presets = rows.iter().map(|row| row.preset.clone()).collect();
    let mut cells: BTreeMap<String, BTreeMap<String, DriftView>> = BTreeMap::new();
    for row in rows {
        let of_node = cells.entry(row.node_id.clone()).or_default();
        of_node.insert(row.preset.clone(), row);
    }
    cells.retain(|id, _| id.as_str() > after);
    let next = (cells.len() > PAGE).then(|| cells.keys().nth(PAGE - 1).cloned());
    let next = next.flatten();
    if let Some(last) = &next {
        cells.retain(|id, _| id <= last);
    }
    Ok(Matrix {
        cells,
        presets,
        next,
    })
}

fn filters(filter: &Filter<'_>, fault: Option<&ApiError>) -> Markup {
    let fault = fault.map(|error| error.fields.get("selector").unwrap_or(&error.message));
    html! {
        form.filters action="/drift" {
            label.unseen for="by-selector" { "Nodes that match" }
            input #by-selector type="search" name="selector" value=(filter.selector) placeholder="Nodes, such as role=web" autocomplete="off"
                autocapitalize="none" spellcheck="false" aria-invalid=[fault.map(|_| "true")] aria-describedby=[fault.map(|_| "selector-fault")];
            @if !filter.preset.is_empty() { input type="hidden" name="preset" value=(filter.preset); }
            button { "Filter" }
            @if !filter.pairs().is_empty() { a.button.quiet href="/drift" { "Clear" } }
        }
        @if let Some(fault) = fault { p.fault #selector-fault { "The selector " (words::visible(fault)) "." } }
        @if !filter.preset.is_empty() { p { "Only the preset " code { (words::visible(filter.preset)) } "." } }
    }
}

fn table(site: &Site, user: &User, matrix: &Matrix) -> Markup {
    let may_apply = user.role >= Role::Operator;
    let has_drift = |row: &DriftView| row.state == DriftState::Drifted;
    let drifts_anywhere = |preset: &str| {
        let mut rows = matrix.cells.values().filter_map(|row| row.get(preset));
        rows.any(has_drift)
    };
    let rows = matrix.cells.values().flat_map(|row| row.values());
    let (drifted, unknown) = rows.fold((0, 0), |(drifted, unknown), row| match row.state {
        DriftState::Drifted => (drifted + 1, unknown),
        DriftState::Unknown => (drifted, unknown + 1),
        DriftState::Ok => (drifted, unknown),
    });
    html! {
        @if matrix.cells.is_empty() {
            p.none { "No preset was applied to these nodes with success yet." }
        } @else {
            p role="status" {
                @match drifted { 0 => { "Nothing has drifted" } 1 => { strong { "1 has drifted" } } n => { strong { (n) " have drifted" } } }
                @if unknown > 0 { ", " (unknown) " not checked since the last apply or unable to tell" }
                "."
            }
            p.legend.dim aria-hidden="true" { "✓ as applied, ≠ drifted, ? not checked or unable to tell, ↻ apply again" }
            div.matrix-box tabindex="0" role="region" aria-label="Nodes and presets" {
                // A narrow screen shows lists, which a table's own roles would not survive.
                table.matrix role="table" {
                    thead role="rowgroup" { tr role="row" {
                        th role="columnheader" scope="col" { "Node" }
                        @for preset in &matrix.presets {
                            th role="columnheader" scope="col" {
                                a href=(format!("/presets/{preset}")) { (preset) }
                                @if may_apply && drifts_anywhere(preset) {
                                    (again(&[("preset", preset)], &format!("Apply {preset} again on every node that has drifted")))
                                }
                            }
                        }
                    } }
                    tbody role="rowgroup" {
                        @for (node, row) in &matrix.cells {
                            tr role="row" {
                                th role="rowheader" scope="row" {
                                    a href=(format!("/nodes/{node}")) { (node) }
                                    @if may_apply && row.values().any(has_drift) {
                                        (again(&[("node", node)], &format!("Apply again what has drifted on {node}")))
                                    }
                                }
                                @for preset in &matrix.presets {
                                    @match row.get(preset) {
                                        Some(cell) => { (draw_cell(site, user, cell)) }
                                        None => { td.never role="cell" { span.unseen { "not applied" } } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The link to the page that applies again.
fn again(pairs: &[(&str, &str)], label: &str) -> Markup {
    html! {
        " " a.again href=(address("/drift/again", pairs)) aria-label=(label) title=(label) { "↻" }
    }
}

/// The mark and the words of a state.
fn state_words(row: &DriftView) -> (&'static str, &'static str, String) {
    let would_run = row
        .steps
        .iter()
        .filter(|step| step.state == DriftStepState::WouldRun)
        .count();
    match row.state {
        DriftState::Ok => ("ok", "✓", "ok".to_owned()),
        DriftState::Drifted => ("drifted", "≠", format!("drifted: {would_run}")),
        DriftState::Unknown if row.check_job_id.is_some() => {
            ("unknown", "?", "can't tell".to_owned())
        }
        DriftState::Unknown => ("unknown", "?", "not checked".to_owned()),
    }
}

fn draw_cell(site: &Site, user: &User, row: &DriftView) -> Markup {
    let (name, mark, words) = state_words(row);
    let job = row.check_job_id.as_ref().unwrap_or(&row.applied_job_id);
    let inner = html! {
        span.of { (row.preset) " " } span.mark aria-hidden="true" { (mark) } span.words { " " (words) }
    };
    let scope = widest(site, user);
    html! {
        td.(name) role="cell" {
            @if scope == Scope::All { a href=(parts::job_address(job, scope)) { (inner) } } @else { span { (inner) } }
            @if row.state == DriftState::Drifted && user.role >= Role::Operator {
                (again(&[("node", &row.node_id), ("preset", &row.preset)], &format!("Apply {} again on {}", row.preset, row.node_id)))
            }
        }
    }
}

/// Checks now what the page shows.
pub(super) async fn check(
    State(site): State<Site>,
    Operator(user): Operator,
    form: Form,
) -> Result<Redirect, ApiError> {
    let request = DriftCheckRequest {
        selector: form.filled("selector").unwrap_or(EVERY_NODE.to_owned()),
        preset: form.filled("preset"),
    };
    let checks = site.runs.check_drift(&user, request).await?;
    if let (Some(left_out), []) = (checks.left_out.first(), checks.runs.as_slice()) {
        let message = format!("{}: {}", left_out.preset, left_out.because);
        return Err(ApiError::bad_request("bad_input", message));
    }
    Ok(Redirect::to(&match checks.runs.as_slice() {
        [run] => format!("/runs/{}", run.id),
        _ => "/runs".to_owned(),
    }))
}

fn target_of(node: Option<&str>, preset: Option<&str>) -> AgainTarget {
    let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    AgainTarget {
        node: given(node),
        preset: given(preset),
    }
}

/// Shows what would be applied again, before anything is queued.
pub(super) async fn show_again(
    State(site): State<Site>,
    Operator(user): Operator,
    query: Query,
) -> Result<Markup, ApiError> {
    let target = target_of(query.get("node"), query.get("preset"));
    let groups = site.runs.plan_again(target.clone()).await?;
    let has_queueable = groups.iter().any(is_queueable);
    let body = html! {
        p.crumbs { a href="/drift" { "Drift" } }
        h1 { "Apply again" }
        @if groups.is_empty() { p.none { "Nothing has drifted here." } }
        @for group in &groups { (draw_group(&site, &user, group)) }
        form method="post" action="/drift/again" {
            @if let Some(node) = &target.node { input type="hidden" name="node" value=(node); }
            @if let Some(preset) = &target.preset { input type="hidden" name="preset" value=(preset); }
            div.actions {
                @if has_queueable { button.primary { "Apply again" } }
                a.button href="/drift" { "Cancel" }
            }
        }
    };
    let page = Page::new("Apply again", body)
        .for_user(Some(&user))
        .under("/drift")
        .with_style("drift.css");
    Ok(layout::draw(&page))
}

fn is_queueable(group: &AgainGroup) -> bool {
    group.exists && !group.needs_secrets
}

fn draw_group(site: &Site, user: &User, group: &AgainGroup) -> Markup {
    let nodes = words::count(group.nodes.len() as u64, "node", "nodes");
    let scope = parts::scope_query(widest(site, user)).trim_start_matches('?');
    let form = format!(
        "/presets/{}?from={}&{scope}",
        group.preset, group.applied_job_id
    );
    html! {
        section.card {
            h2 { (group.preset) " on " (nodes) }
            p { @for node in &group.nodes { a.id href=(format!("/nodes/{node}")) { (node) } " " } }
            @if !group.params.is_empty() {
                dl.facts { @for (name, value) in &group.params { div { dt { (name) } dd { (words::visible(&text_of(value))) } } } }
            }
            @if !group.exists { p.fault { "The preset no longer exists." } }
            @else if group.needs_secrets {
                p { "It takes secrets, which the server has not kept. " a href=(form) { "Fill in the form" } " to apply it again." }
            } @else if group.nodes.len() > 1 { p.dim { "One run: " (group.nodes.first().map_or("", String::as_str)) " goes first, as the canary." } }
        }
    }
}

fn text_of(value: &serde_json::Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Applies again what the page has shown.
pub(super) async fn submit_again(
    State(site): State<Site>,
    Operator(user): Operator,
    form: Form,
) -> Result<Redirect, ApiError> {
    let (node, preset) = (form.filled("node"), form.filled("preset"));
    let target = target_of(node.as_deref(), preset.as_deref());
    let mut made = Vec::new();
    for group in site.runs.plan_again(target).await? {
        if is_queueable(&group) {
            made.push(site.runs.apply_again(&user, group).await?);
        }
    }
    Ok(Redirect::to(&match made.as_slice() {
        [] => "/drift".to_owned(),
        [run] => format!("/runs/{}", run.id),
        _ => "/runs".to_owned(),
    }))
}
