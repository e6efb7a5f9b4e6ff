//! `/nodes`: searched and paged, and the form that adds one.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::form::{Faults, Input};
use super::layout::{self, Page};
use super::overview::load;
use super::{Site, history, local, node_facts, parts, words};
use crate::auth::{Role, User, Viewer};
use crate::http::{ApiError, Query};
use crate::jobs::{History, Scope};
use crate::nodes::{NodeStatus, NodeView, Selector};
use crate::store::job::PastFilter;

/// Nodes on a page.
const PAGE: usize = 50;

/// The filter's states: name, label and status.
const STATES: [(&str, &str, NodeStatus); 2] = [
    ("online", "Online", NodeStatus::Online),
    ("offline", "Offline", NodeStatus::Offline),
];

/// The page's query, which its links keep.
#[derive(Default)]
struct PageQuery {
    sought: String,
    selector: String,
    state: String,
    /// The last node of the previous page.
    after: String,
}

/// One page of the nodes that match.
struct SearchResult {
    nodes: Vec<NodeView>,
    /// Of these nodes, in the same order.
    histories: Vec<History>,
    /// Number of matches on all pages.
    count: usize,
    has_more: bool,
    online: usize,
    all: usize,
    /// Why the selector can't be read. Then nothing matches.
    selector_fault: Option<String>,
}

/// The page.
pub(super) async fn show(
    State(site): State<Site>,
    Viewer(user): Viewer,
    query: Query,
) -> Result<Response, ApiError> {
    let text = |name| query.get(name).unwrap_or_default().trim().to_owned();
    let asked = PageQuery {
        sought: text("q"),
        selector: text("selector"),
        state: text("state"),
        after: text("after"),
    };
    let page = draw(&site, &user, &asked, "", None).await?;
    let is_selector = asked.selector.is_empty() || Selector::parse(&asked.selector).is_ok();
    let status = if is_selector {
        StatusCode::OK
    } else {
        StatusCode::BAD_REQUEST
    };
    Ok((status, page).into_response())
}

/// The page with a form that was refused.
pub(super) async fn page(
    site: &Site,
    user: &User,
    id: &str,
    error: Option<&ApiError>,
) -> Result<Markup, ApiError> {
    draw(site, user, &PageQuery::default(), id, error).await
}

async fn draw(
    site: &Site,
    user: &User,
    asked: &PageQuery,
    id: &str,
    error: Option<&ApiError>,
) -> Result<Markup, ApiError> {
    let found = find(site, user, asked).await?;
    let body = html! {
        div.head { h1 { "Nodes" } @if found.all > 0 { (search(asked, found.selector_fault.is_some())) } }
        @if let Some(fault) = &found.selector_fault { p.alert role="alert" { "The selector is malformed: " (words::visible(fault)) "." } }
        @if user.role == Role::Admin { (add_form(id, found.all == 0, error)) }
        div #nodes data-region data-shows="nodes" { (list(user, asked, &found)) }
    };
    let page = Page::new("Nodes", body)
        .for_user(Some(user))
        .under("/nodes")
        .with_style("history.css");
    Ok(layout::draw(&page.live(parts::events(Scope::Mine))))
}

async fn find(site: &Site, user: &User, asked: &PageQuery) -> Result<SearchResult, ApiError> {
    let presence = &site.jobs.nodes.presence;
    let (online, all) = presence.count_online();
    let state = STATES.iter().find(|(name, _, _)| *name == asked.state);
    let mut found = site.jobs.search_nodes(&asked.sought).await?;
    if let Some((_, _, wanted)) = state {
        found.retain(|node| presence.status_of(&node.id).0 == *wanted);
    }
    let selector = match asked.selector.as_str() {
        "" => Ok(None),
        text => Selector::parse(text).map(Some),
    };
    let (selector, selector_fault) = match selector {
        Ok(selector) => (selector, None),
        Err(error) => (None, Some(error.to_string())),
    };
    if let Some(selector) = selector {
        let selected = site.jobs.selected_nodes(selector).await?;
        found.retain(|node| selected.contains(&node.id));
    }
    if selector_fault.is_some() {
        found.clear();
    }
    let count = found.len();
    let ids = found.into_iter().map(|node| node.id);
    let mut ids: Vec<_> = ids.filter(|id| *id > asked.after).collect();
    let has_more = ids.len() > PAGE;
    ids.truncate(PAGE);
    let nodes = site.jobs.nodes_of(ids).await?;
    let owner = (!site.jobs.reads_all(user)).then(|| user.id.clone());
    let of_node = |node: &NodeView| PastFilter {
        node_id: Some(node.id.clone()),
        created_by: owner.clone(),
        ..PastFilter::default()
    };
    let filters = nodes.iter().map(of_node).collect();
    Ok(SearchResult {
        histories: site.jobs.histories(filters).await?,
        nodes,
        count,
        has_more,
        online,
        all,
        selector_fault,
    })
}

fn search(asked: &PageQuery, is_malformed: bool) -> Markup {
    html! {
        form.search role="search" action="/nodes" {
            label.unseen for="q" { "Search nodes" }
            input #q type="search" name="q" value=(asked.sought) placeholder="Name, system, label" maxlength="200";
            label.unseen for="by-selector" { "Selector" }
            input #by-selector type="search" name="selector" value=(asked.selector) placeholder="Selector: role=web,!gpu" maxlength="4096"
                autocapitalize="none" spellcheck="false" autocomplete="off" aria-invalid=[is_malformed.then_some("true")];
            label.unseen for="by-state" { "State" }
            select #by-state name="state" {
                option value="" { "Any state" }
                @for (name, words, _) in STATES { option value=(name) selected[name == asked.state] { (words) } }
            }
            button { "Search" }
        }
    }
}

fn list(user: &User, asked: &PageQuery, found: &SearchResult) -> Markup {
    let is_narrowed = [&asked.sought, &asked.selector, &asked.state]
        .iter()
        .any(|text| !text.is_empty());
    html! {
        @if found.all == 0 {
            p.none {
                "No nodes yet. "
                @if user.role == Role::Admin { "Name the first one above: the next page has the command that connects it." }
                @else { "An ADMIN can add them." }
            }
        } @else {
            p.dim {
                (found.online) " of " (found.all) " online"
                @if is_narrowed { ", " (words::count(found.count as u64, "matches", "match")) }
                "."
            }
            @if found.count == 0 { p.none { "No node matches. " a href="/nodes" { "Show all" } } }
            @else if !found.nodes.is_empty() { (table(found)) }
            (pager(asked, found))
        }
    }
}

fn pager(asked: &PageQuery, found: &SearchResult) -> Markup {
    let address = |after: &str| {
        let mut pairs = vec![
            ("q", asked.sought.as_str()),
            ("selector", &asked.selector),
            ("state", &asked.state),
            ("after", after),
        ];
        pairs.retain(|(_, value)| !value.is_empty());
        format!("/nodes?{}", local::query(&pairs))
    };
    let last = found.nodes.last().map_or("", |node| node.id.as_str());
    html! {
        nav.pager aria-label="Pages" {
            @if !asked.after.is_empty() { a.button href=(address("")) { "First" } }
            @if found.has_more { a.button rel="next" href=(address(last)) { "Next" } }
        }
    }
}

fn add_form(id: &str, is_first: bool, error: Option<&ApiError>) -> Markup {
    let faults = Faults::of(error);
    let input = Input {
        name: "id",
        label: "Name of the node",
        value: id,
        hint: Some("Lower-case letters, digits and dashes, like prod-eu-1"),
        fault: faults.at("id"),
        autocomplete: "off",
        pattern: Some("[a-z0-9]([a-z0-9\\-]{0,61}[a-z0-9])?"),
        max_length: Some(63),
        has_focus: error.is_some(),
        ..Input::default()
    };
    html! {
        details.card.add open[is_first || error.is_some()] {
            summary { "Add a node" }
            (faults.summary(&["id"]))
            form method="post" action="/nodes" {
                (input.draw())
                button.primary { "Add" }
            }
        }
    }
}

fn table(found: &SearchResult) -> Markup {
    html! {
        table.nodes {
            thead { tr {
                th scope="col" { "State" } th scope="col" { "Node" } th scope="col" { "Last seen" }
                th scope="col" { "System" } th scope="col" { "Labels" } th scope="col" { "Agent" } th scope="col" { "Jobs" }
            } }
            tbody { @for (node, history) in found.nodes.iter().zip(&found.histories) { (row(node, history)) } }
        }
    }
}

fn row(node: &NodeView, history: &History) -> Markup {
    html! {
        tr {
            td { (parts::node_state(node)) }
            td.main { a href=(format!("/nodes/{}", node.id)) { (node.id) } }
            td data-label="Last seen" { (parts::last_seen(node)) }
            td data-label="System" { (parts::or_dash(node.os.pretty_name.as_deref())) }
            td data-label="Labels" { @if node.labels.is_empty() { bdi {} } @else { div.labels { (node_facts::labels(node)) } } }
            td data-label="Agent" {
                (parts::or_dash(node.agent_version.as_deref()))
                @if let Some(newer) = &node.agent_upgrade { " " span.dim { "(the server ships " (newer) ")" } }
            }
            td.with-spark data-label="Jobs" { div { span { (load(node)) } (history::spark(history)) } }
        }
    }
}
