//! `/jobs`: filtered and paged.

use std::collections::HashSet;

use axum::extract::State;
use maud::{Markup, html};

use super::layout::{self, Page};
use super::node_picker::LISTED_MAX;
use super::{Site, local, parts};
use crate::auth::{User, Viewer};
use crate::http::{ApiError, Query};
use crate::jobs::{JobPage, Scope};
use crate::presets::Snapshot;
use crate::store::job::{JobFilter, JobStatus};
use crate::store::node::NodeMatch;

/// Jobs on a page.
const PAGE: u64 = 50;
/// Maximum number of similar nodes that are suggested.
const LIKE_MAX: usize = 8;

/// The filter's states: name, label and statuses.
const STATES: [(&str, &str, &[JobStatus]); 6] = [
    (
        "open",
        "Queued or running",
        &[JobStatus::Queued, JobStatus::Running],
    ),
    ("queued", "Queued", &[JobStatus::Queued]),
    ("running", "Running", &[JobStatus::Running]),
    ("succeeded", "Succeeded", &[JobStatus::Succeeded]),
    ("failed", "Failed", &[JobStatus::Failed]),
    ("cancelled", "Cancelled", &[JobStatus::Cancelled]),
];

/// The page's query, which its links keep.
struct PageQuery<'q> {
    node: &'q str,
    preset: &'q str,
    state: &'q str,
    cursor: &'q str,
}

/// The page.
pub(super) async fn show(
    State(site): State<Site>,
    Viewer(user): Viewer,
    query: Query,
) -> Result<Markup, ApiError> {
    let scope = parts::scope_of(&site, &user, &query)?;
    let asked = PageQuery::of(&query)?;
    let page = site.jobs.page(asked.filter(&user, scope)?, PAGE).await?;
    let paused = site.jobs.paused_nodes().await?;
    let nodes = NodeFilter::find(&site, &asked, page.jobs.is_empty()).await?;
    let presets = site.jobs.presets().await?;
    let body = body(
        &site,
        &user,
        scope,
        &asked,
        (&page, &paused),
        &nodes,
        &presets,
    );
    let drawn = Page::new("Jobs", body).for_user(Some(&user)).under("/jobs");
    Ok(layout::draw(&drawn.live(parts::events(scope))))
}

/// The filter for nodes: a list if there are few nodes, a text field otherwise.
enum NodeFilter {
    Listed(Vec<String>),
    /// Suggestions for a name that was typed and has no jobs.
    Typed(Vec<String>),
}

impl NodeFilter {
    async fn find(site: &Site, asked: &PageQuery<'_>, has_no_job: bool) -> Result<Self, ApiError> {
        let ids = |found: Vec<NodeMatch>| found.into_iter().map(|node| node.id);
        let (_, all) = site.jobs.nodes.presence.count_online();
        if all <= LISTED_MAX {
            let found = site.jobs.search_nodes("").await?;
            return Ok(Self::Listed(ids(found).collect()));
        }
        if asked.node.is_empty() || !has_no_job {
            return Ok(Self::Typed(Vec::new()));
        }
        let found = site.jobs.search_nodes(asked.node).await?;
        Ok(Self::Typed(ids(found).take(LIKE_MAX).collect()))
    }
}

impl<'q> PageQuery<'q> {
    fn of(query: &'q Query) -> Result<Self, ApiError> {
        let text = |name| query.get(name).unwrap_or_default();
        // The API's name and values for the same filter.
        let state = match query.get("status") {
            Some(status) => {
                let state = STATES
                    .iter()
                    .find(|(name, _, _)| name.eq_ignore_ascii_case(status));
                state.map(|(name, _, _)| *name).ok_or_else(|| {
                    query.wrong("status", "QUEUED, RUNNING, SUCCEEDED, FAILED or CANCELLED")
                })?
            }
            None => text("state"),
        };
        if !state.is_empty() && !STATES.iter().any(|(name, _, _)| *name == state) {
            return Err(query.wrong(
                "state",
                "open, queued, running, succeeded, failed or cancelled",
            ));
        }
        Ok(Self {
            node: text("node"),
            preset: text("preset"),
            state,
            cursor: text("cursor"),
        })
    }

    fn filter(&self, user: &User, scope: Scope) -> Result<JobFilter, ApiError> {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let state = STATES.iter().find(|(name, _, _)| *name == self.state);
        let before = match self.cursor {
            "" => None,
            cursor => Some(uuid::Uuid::parse_str(cursor).map_err(|_| {
                ApiError::bad_request("bad_input", "This link to older jobs is incomplete")
            })?),
        };
        Ok(JobFilter {
            created_by: (scope == Scope::Mine).then(|| user.id.clone()),
            node_id: given(self.node),
            statuses: state
                .map(|(_, _, statuses)| statuses.to_vec())
                .unwrap_or_default(),
            preset: given(self.preset),
            before: before.map(|id| id.to_string()),
            ..JobFilter::default()
        })
    }

    fn pairs(&self, scope: Scope) -> Vec<(&'static str, &'q str)> {
        let all = if scope == Scope::All { "all" } else { "" };
        let pairs = [
            ("node", self.node),
            ("preset", self.preset),
            ("state", self.state),
            ("scope", all),
        ];
        pairs
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect()
    }
}

fn body(
    site: &Site,
    user: &User,
    scope: Scope,
    asked: &PageQuery<'_>,
    (page, paused): (&JobPage, &HashSet<String>),
    nodes: &NodeFilter,
    presets: &Snapshot,
) -> Markup {
    let pairs = asked.pairs(scope);
    let none = if pairs.iter().any(|(name, _)| *name != "scope") {
        "No job matches."
    } else {
        "No jobs yet."
    };
    html! {
        div.head { h1 { "Jobs" } (parts::scope_switch(site, user, scope, "/jobs", &pairs)) }
        (filters(scope, asked, nodes, presets))
        div #jobs data-region data-shows="jobs" {
            (parts::job_table(&page.jobs, paused, scope, none))
            @if let NodeFilter::Typed(like) = nodes { (nodes_like(like, asked, &pairs)) }
            (pager(asked, page, pairs)) }
    }
}

fn pager(asked: &PageQuery<'_>, page: &JobPage, pairs: Vec<(&str, &str)>) -> Markup {
    let address = |more: Option<&str>| {
        let mut pairs = pairs.clone();
        pairs.extend(more.map(|cursor| ("cursor", cursor)));
        format!("/jobs?{}", local::query(&pairs))
    };
    html! {
        nav.pager aria-label="Pages" {
            @if !asked.cursor.is_empty() { a.button href=(address(None)) { "Newest" } }
            @if let Some(cursor) = &page.next_cursor { a.button rel="next" href=(address(Some(cursor))) { "Older" } }
        }
    }
}

/// Suggestions of nodes if the given one has no jobs.
fn nodes_like(like: &[String], asked: &PageQuery<'_>, pairs: &[(&str, &str)]) -> Markup {
    let address = |node: &str| {
        let mut pairs = pairs.to_vec();
        pairs.retain(|(name, _)| *name != "node");
        pairs.push(("node", node));
        format!("/jobs?{}", local::query(&pairs))
    };
    html! {
        @if like.iter().any(|node| node != asked.node) {
            p { "Similar nodes: " @for (index, node) in like.iter().enumerate() {
                @if index > 0 { ", " }
                a href=(address(node)) { (node) }
            } }
        }
    }
}

fn filters(scope: Scope, asked: &PageQuery<'_>, nodes: &NodeFilter, presets: &Snapshot) -> Markup {
    let presets = presets
        .entries()
        .map(|entry| (entry.preset.name.as_str(), entry.preset.name.as_str()))
        .collect();
    let states = STATES
        .iter()
        .map(|(name, words, _)| (*name, *words))
        .collect();
    html! {
        form.filters action="/jobs" {
            @if scope == Scope::All { input type="hidden" name="scope" value="all"; }
            (select("state", "State", "Any state", asked.state, states))
            @match nodes {
                NodeFilter::Listed(ids) => {
                    (select("node", "Node", "Any node", asked.node, ids.iter().map(|id| (id.as_str(), id.as_str())).collect()))
                }
                NodeFilter::Typed(_) => {
                    label.unseen for="by-node" { "Node" }
                    input #by-node type="search" name="node" value=(asked.node) placeholder="Node" maxlength="200"
                        autocapitalize="none" spellcheck="false";
                }
            }
            (select("preset", "Preset", "Any preset", asked.preset, presets))
            button { "Filter" }
        }
    }
}

fn select<'o>(
    name: &str,
    label: &str,
    any: &str,
    chosen: &'o str,
    mut options: Vec<(&'o str, &'o str)>,
) -> Markup {
    // The selected node or preset may have been deleted; its jobs are kept.
    if !chosen.is_empty() && !options.iter().any(|(value, _)| *value == chosen) {
        options.insert(0, (chosen, super::words::preset(chosen)));
    }
    html! {
        label.unseen for=(format!("by-{name}")) { (label) }
        select id=(format!("by-{name}")) name=(name) {
            option value="" { (any) }
            @for (value, words) in options { option value=(value) selected[value == chosen] { (words) } }
        }
    }
}
