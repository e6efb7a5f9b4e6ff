//! `/jobs`: filtered, searched and paged. The address has all of it.

use axum::extract::State;
use maud::{Markup, html};

use super::job_filters::{PageQuery, STATES, TIMES};
use super::job_rows::JobRows;
use super::layout::{self, Page};
use super::node_picker::LISTED_MAX;
use super::{Site, parts, words};
use crate::auth::{User, Viewer};
use crate::http::{ApiError, Query};
use crate::jobs::{Scope, SearchPage};
use crate::presets::Snapshot;
use crate::store::node::NodeMatch;

/// Jobs on a page.
const PAGE: u64 = 50;
/// Maximum number of similar nodes that are suggested.
const LIKE_MAX: usize = 8;

/// The page.
pub(super) async fn show(
    State(site): State<Site>,
    Viewer(user): Viewer,
    query: Query,
) -> Result<Markup, ApiError> {
    let scope = parts::list_scope_of(&site, &user, &query)?;
    let asked = PageQuery::of(&query)?;
    let presets = site.jobs.presets().await?;
    let search = asked.search(&user, scope, &presets)?;
    let page = site.jobs.search(search, PAGE).await?;
    let options = Options {
        nodes: NodeFilter::find(&site, &asked, page.jobs.is_empty()).await?,
        people: people(&site, scope).await?,
        presets: &presets,
    };
    let rows = JobRows::read(&site, &user, scope, &page.jobs).await?;
    let body = body((&site, &user, scope), &asked, &page, &rows, &options);
    let drawn = Page::new("Jobs", body)
        .for_user(Some(&user))
        .under("/jobs")
        .with_style("lists.css");
    Ok(layout::draw(&drawn.live(parts::events(scope))))
}

/// What the filters offer.
struct Options<'o> {
    nodes: NodeFilter,
    /// Everybody who has queued a job, if there are few; `None` if the list shows one person's.
    people: Option<Vec<String>>,
    presets: &'o Snapshot,
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

async fn people(site: &Site, scope: Scope) -> Result<Option<Vec<String>>, ApiError> {
    if scope == Scope::Mine {
        return Ok(None);
    }
    let people: Vec<String> = site.jobs.job_owners().await?.into_iter().collect();
    Ok(Some(match people.len() <= LISTED_MAX {
        true => people,
        false => Vec::new(),
    }))
}

fn body(
    (site, user, scope): (&Site, &User, Scope),
    asked: &PageQuery<'_>,
    page: &SearchPage,
    rows: &JobRows<'_>,
    options: &Options<'_>,
) -> Markup {
    let pairs = asked.pairs();
    let none = match (pairs.is_empty(), page.gave_up_after) {
        (true, _) => "No jobs yet.",
        (false, None) => "No job matches.",
        (false, Some(_)) => "No job matches so far.",
    };
    html! {
        div.head { h1 { "Jobs" } (parts::scope_switch(site, user, scope, "/jobs", &pairs)) }
        (filters(user, scope, asked, options))
        (set_by_links(user, scope, asked))
        div #jobs data-region data-shows="jobs" {
            (rows.table(true, none))
            @if let NodeFilter::Typed(like) = &options.nodes { (nodes_like(user, scope, like, asked)) }
            (pager((user, scope), asked, page, &pairs)) }
    }
}

fn pager(
    (user, scope): (&User, Scope),
    asked: &PageQuery<'_>,
    page: &SearchPage,
    pairs: &[(&str, &str)],
) -> Markup {
    let address = |more: Option<&str>| {
        let mut pairs = pairs.to_vec();
        pairs.extend(more.map(|cursor| ("cursor", cursor)));
        parts::list_address(user, scope, "/jobs", &pairs)
    };
    html! {
        @if let Some(count) = page.gave_up_after {
            p.dim { "The newest " (count) " jobs were searched. Select Older to go on." }
        }
        nav.pager aria-label="Pages" {
            @if !asked.cursor.is_empty() { a.button href=(address(None)) { "Newest" } }
            @if let Some(cursor) = &page.next_cursor { a.button rel="next" href=(address(Some(cursor))) { "Older" } }
        }
    }
}

/// Suggestions of nodes if the given one has no jobs.
fn nodes_like(user: &User, scope: Scope, like: &[String], asked: &PageQuery<'_>) -> Markup {
    let address = |node: &str| {
        let mut pairs = asked.pairs_without(&["node"]);
        pairs.push(("node", node));
        parts::list_address(user, scope, "/jobs", &pairs)
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

/// The filters that only links set, each with a link that drops it.
fn set_by_links(user: &User, scope: Scope, asked: &PageQuery<'_>) -> Markup {
    let without =
        |names: &[&str]| parts::list_address(user, scope, "/jobs", &asked.pairs_without(names));
    html! {
        @if !asked.run.is_empty() {
            p.chosen { "Of the run " a href=(super::runs::address(asked.run, scope)) { code { (words::visible(asked.run)) } } " "
                a href=(without(&["run"])) { "Show jobs of all runs" } }
        }
        @if asked.from.is_some() || asked.to.is_some() {
            p.chosen { "Ended "
                @if let Some(from) = asked.from { "from " (words::moment(from)) " " }
                @if let Some(to) = asked.to { "until " (words::moment(to)) " " }
                a href=(without(&["from", "to"])) { "Show all times" } }
        }
    }
}

fn filters(user: &User, scope: Scope, asked: &PageQuery<'_>, options: &Options<'_>) -> Markup {
    let set = asked
        .pairs_of(&["state", "node", "preset", "by", "time"])
        .len();
    html! {
        form.filters role="search" action="/jobs" {
            @if let Some((name, value)) = parts::list_scope(user, scope) { input type="hidden" name=(name) value=(value); }
            @for (name, value) in asked.pairs_of(&["run", "from", "to"]) { input type="hidden" name=(name) value=(value); }
            label.unseen for="q" { "Search jobs" }
            input #q type="search" name="q" value=(asked.sought) placeholder="Title, params, reason" maxlength="200";
            // On narrow screens, these are shown when the summary is selected.
            details.further {
                summary.button { "Filters" @if set > 0 { " (" (set) " set)" } }
                div { (choices(asked, options)) }
            }
            button { "Filter" }
            @if !asked.pairs().is_empty() { a.button.quiet href=(parts::list_address(user, scope, "/jobs", &[])) { "Clear" } }
        }
    }
}

/// What the list can be narrowed by, besides words.
fn choices(asked: &PageQuery<'_>, options: &Options<'_>) -> Markup {
    let presets = options.presets.entries();
    let presets = presets.map(|entry| (entry.preset.name.as_str(), entry.preset.name.as_str()));
    let states = STATES.iter().map(|(name, words, _)| (*name, *words));
    let times = TIMES.iter().map(|(name, words, _)| (*name, *words));
    html! {
        (select("state", "State", "Any state", asked.state, states.collect()))
        @match &options.nodes {
            NodeFilter::Listed(ids) => {
                (select("node", "Node", "Any node", asked.node, ids.iter().map(|id| (id.as_str(), id.as_str())).collect()))
            }
            NodeFilter::Typed(_) => {
                label.unseen for="by-node" { "Node" }
                input #by-node type="search" name="node" value=(asked.node) placeholder="Node" maxlength="200"
                    autocapitalize="none" spellcheck="false";
            }
        }
        (select("preset", "Preset", "Any preset", asked.preset, presets.collect()))
        @match options.people.as_deref() {
            None => {}
            Some([]) if asked.by.is_empty() => {
                label.unseen for="by-by" { "Queued by" }
                input #by-by type="search" name="by" value="" placeholder="Email" maxlength="254" autocapitalize="none" spellcheck="false";
            }
            Some(people) => {
                (select("by", "Queued by", "Anybody", asked.by, people.iter().map(|email| (email.as_str(), email.as_str())).collect()))
            }
        }
        (select("time", "Time", "Any time", asked.time, times.collect()))
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
