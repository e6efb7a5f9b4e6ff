//! `/`: the nodes, what runs and waits now, and what came last.

use axum::extract::State;
use maud::{Markup, html};

use super::layout::{self, Page};
use super::{Site, parts, words};
use crate::auth::{Role, User, Viewer};
use crate::http::{ApiError, Query};
use crate::jobs::{JobView, Scope};
use crate::nodes::{NodeStatus, NodeView};
use crate::store::job::{JobFilter, JobStatus};

/// Jobs that have not ended, shown at the most.
const NOW_MAX: u64 = 50;
/// Ended jobs shown.
const LATEST: u64 = 10;
/// Nodes shown; the others are on their own page.
const NODES_MAX: usize = 24;

/// The page.
pub(super) async fn show(
    State(site): State<Site>,
    Viewer(user): Viewer,
    query: Query,
) -> Result<Markup, ApiError> {
    let scope = parts::scope_of(&user, &query)?;
    let of = |statuses: &[JobStatus]| JobFilter {
        created_by: (scope == Scope::Mine).then(|| user.id.clone()),
        statuses: statuses.to_vec(),
        ..JobFilter::default()
    };
    let nodes = site.jobs.all_nodes().await?;
    let now = of(&[JobStatus::Running, JobStatus::Queued]);
    let now = site.jobs.page(now, NOW_MAX).await?.jobs;
    let ended = of(&[
        JobStatus::Succeeded,
        JobStatus::Failed,
        JobStatus::Cancelled,
    ]);
    let latest = site.jobs.page(ended, LATEST).await?.jobs;
    let body = body(&user, scope, &nodes, &now, &latest);
    let page = Page::new("Overview", body).for_user(Some(&user));
    Ok(layout::draw(&page.under("/").live(parts::events(scope))))
}

fn body(
    user: &User,
    scope: Scope,
    nodes: &[NodeView],
    now: &[JobView],
    latest: &[JobView],
) -> Markup {
    let all = format!("/jobs{}", parts::scope_query(scope));
    html! {
        div.head {
            h1 { "Overview" }
            (parts::scope_switch(user, scope, "/", &[]))
        }
        section aria-labelledby="nodes-h" {
            h2 #nodes-h { "Nodes" }
            div #nodes data-region data-shows="nodes" { (node_cards(user, nodes)) }
        }
        section aria-labelledby="now-h" {
            h2 #now-h { "Now" }
            div #now data-region data-shows="jobs" { (parts::job_table(now, scope, "Nothing runs or waits.")) }
        }
        section aria-labelledby="latest-h" {
            div.head {
                h2 #latest-h { "Latest" }
                a href=(all) { "All jobs" }
            }
            div #latest data-region data-shows="jobs" {
                (parts::job_table(latest, scope, "No job has ended yet."))
                @if latest.is_empty() && user.role >= Role::Operator {
                    p { a.button href="/presets" { "Choose a preset to run" } }
                }
            }
        }
    }
}

fn node_cards(user: &User, nodes: &[NodeView]) -> Markup {
    let mut shown: Vec<&NodeView> = nodes.iter().collect();
    // What needs a look comes first.
    shown.sort_by_key(|node| (node.status == NodeStatus::Online, &node.id));
    let online = nodes
        .iter()
        .filter(|node| node.status == NodeStatus::Online)
        .count();
    html! {
        @if nodes.is_empty() {
            p.none { "No nodes yet." }
            @if user.role == Role::Admin { p { a.button href="/nodes" { "Add the first node" } } }
        } @else {
            @if nodes.len() > NODES_MAX {
                p { (online) " of " (nodes.len()) " online. " a href="/nodes" { "All nodes" } }
            }
            ul.cards { @for node in shown.iter().take(NODES_MAX) { (node_card(node)) } }
        }
    }
}

fn node_card(node: &NodeView) -> Markup {
    html! {
        li.card {
            div.head {
                a.strong href=(format!("/nodes/{}", node.id)) { (node.id) }
                (parts::node_state(node))
            }
            p.dim {
                @if node.last_seen_at.is_none() { "Never seen" }
                @else if node.status == NodeStatus::Offline { "Last seen " (parts::last_seen(node)) }
                @else if let Some(system) = &node.os.pretty_name { (words::visible(system)) }
                @else { "Seen " (parts::last_seen(node)) }
            }
            p.dim { (load(node)) }
        }
    }
}

/// What runs and waits on a node, in words.
pub(super) fn load(node: &NodeView) -> Markup {
    html! {
        @match (&node.running_job_id, node.queued_jobs) {
            (None, 0) => { "Idle" }
            (Some(_), 0) => { "Runs a job" }
            (None, waiting) => { (words::count(waiting, "job waits", "jobs wait")) }
            (Some(_), waiting) => { "Runs a job, " (words::count(waiting, "waits", "wait")) }
        }
    }
}
