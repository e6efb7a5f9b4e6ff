//! `/`: the nodes, the queued and running jobs, and the latest finished ones.

use std::collections::HashSet;

use axum::extract::State;
use axum::http::request::Parts;
use maud::{Markup, html};

use super::first_run::FirstSteps;
use super::layout::{self, Page};
use super::{Site, parts, words};
use crate::auth::{Role, User, Viewer};
use crate::http::{ApiError, Query};
use crate::jobs::{JobView, Scope};
use crate::nodes::{NodeStatus, NodeView};
use crate::store::job::{JobFilter, JobStatus};

/// Maximum number of unfinished jobs shown.
const NOW_MAX: u64 = 50;
/// Number of finished jobs shown.
const LATEST: u64 = 10;
/// Maximum number of nodes shown; the nodes page has all of them.
const NODES_MAX: usize = 24;

/// The page.
pub(super) async fn show(
    State(site): State<Site>,
    Viewer(user): Viewer,
    query: Query,
    asked: Parts,
) -> Result<Markup, ApiError> {
    let scope = parts::scope_of(&site, &user, &query)?;
    let of = |statuses: &[JobStatus]| JobFilter {
        created_by: (scope == Scope::Mine).then(|| user.id.clone()),
        statuses: statuses.to_vec(),
        ..JobFilter::default()
    };
    let nodes = most_relevant_nodes(&site).await?;
    let counts = site.jobs.nodes.presence.count_online();
    let now = of(&[JobStatus::Running, JobStatus::Queued]);
    let now = site.jobs.page(now, NOW_MAX).await?.jobs;
    let ended = of(&[
        JobStatus::Succeeded,
        JobStatus::Failed,
        JobStatus::Cancelled,
    ]);
    let latest = site.jobs.page(ended, LATEST).await?.jobs;
    let in_the_clear = user.role == Role::Admin && site.auth.is_in_the_clear(&asked);
    let first = FirstSteps::load(&site, &user).await?;
    let body = body(
        &site,
        (&user, scope, in_the_clear),
        first.as_ref(),
        &node_cards(&nodes, counts),
        (&now, &site.jobs.paused_nodes().await?),
        &latest,
    );
    let page = Page::new("Overview", body).for_user(Some(&user));
    Ok(layout::draw(&page.under("/").live(parts::events(scope))))
}

/// The nodes to show, offline ones first.
async fn most_relevant_nodes(site: &Site) -> Result<Vec<NodeView>, ApiError> {
    let presence = &site.jobs.nodes.presence;
    let mut found = site.jobs.search_nodes("").await?;
    found.sort_by_cached_key(|node| presence.status_of(&node.id).0 == NodeStatus::Online);
    let ids = found.into_iter().take(NODES_MAX).map(|node| node.id);
    Ok(site.jobs.nodes_of(ids.collect()).await?)
}

fn body(
    site: &Site,
    (user, scope, in_the_clear): (&User, Scope, bool),
    first: Option<&FirstSteps>,
    nodes: &Markup,
    (now, paused): (&[JobView], &HashSet<String>),
    latest: &[JobView],
) -> Markup {
    let all = format!("/jobs{}", parts::scope_query(scope));
    html! {
        @if in_the_clear {
            p.alert {
                strong { "You reached this server over plain http. " }
                "Anyone who can read the network traffic can read passwords, tokens and output. Set HYPRBOX_TLS_CERT and "
                "HYPRBOX_TLS_KEY, or put the server behind a proxy with https and set HYPRBOX_PUBLIC_URL."
            }
        }
        div.head {
            h1 { "Overview" }
            (parts::scope_switch(site, user, scope, "/", &[]))
        }
        div #first data-region data-shows="nodes jobs" { @if let Some(first) = first { (first.draw()) } }
        section aria-labelledby="nodes-h" {
            h2 #nodes-h { "Nodes" }
            div #nodes data-region data-shows="nodes" { (nodes) }
        }
        section aria-labelledby="now-h" {
            h2 #now-h { "Now" }
            div #now data-region data-shows="jobs" { (parts::job_table(now, paused, scope, "Nothing running or queued.")) }
        }
        section aria-labelledby="latest-h" {
            div.head {
                h2 #latest-h { "Latest" }
                a href=(all) { "All jobs" }
            }
            div #latest data-region data-shows="jobs" {
                (parts::job_table(latest, paused, scope, "No finished jobs yet."))
                @if latest.is_empty() && user.role >= Role::Operator {
                    p { a.button href="/presets" { "Choose a preset to run" } }
                }
            }
        }
    }
}

fn node_cards(nodes: &[NodeView], (online, all): (usize, usize)) -> Markup {
    html! {
        @if nodes.is_empty() {
            p.none { "No nodes yet." }
        } @else {
            @if all > nodes.len() {
                p { (online) " of " (all) " online. " a href="/nodes" { "All nodes" } }
            }
            ul.cards { @for node in nodes { (node_card(node)) } }
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

/// A node's running and queued jobs in words.
pub(super) fn load(node: &NodeView) -> Markup {
    html! {
        @match (&node.running_job_id, node.queued_jobs) {
            (None, 0) => { "Idle" }
            (Some(_), 0) => { "Running a job" }
            (None, waiting) => { (words::count(waiting, "job queued", "jobs queued")) }
            (Some(_), waiting) => { "Running a job, " (waiting) " queued" }
        }
    }
}
