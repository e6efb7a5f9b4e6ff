//! `/nodes/{id}`: one node, its jobs, its machine and its tokens.

use axum::extract::State;
use axum::response::Redirect;
use maud::{Markup, html};

use super::job_rows::JobRows;
use super::layout::{self, Page};
use super::node_form::{self, NodeForm};
use super::parts::or_dash;
use super::{Site, drift, first_run, form, history, node_facts, online, parts, words};
use crate::auth::{Admin, Role, User, Viewer};
use crate::http::{ApiError, Path, Query};
use crate::jobs::{JobView, Scope};
use crate::nodes::{NodeStatus, NodeView, ServerKeys, SigningState};
use crate::store::id::{NodeId, TokenId};
use crate::store::job::JobFilter;
use crate::store::node_token::NodeToken;

/// Number of jobs shown; the jobs page has all of them.
const LATEST: u64 = 20;

/// The page.
pub(super) async fn show(
    State(site): State<Site>,
    Viewer(user): Viewer,
    Path(id): Path<String>,
    query: Query,
) -> Result<Markup, ApiError> {
    let scope = parts::list_scope_of(&site, &user, &query)?;
    draw(&site, &user, scope, id, None).await
}

/// The page with a form that was refused.
pub(super) async fn page_with_form(
    site: &Site,
    user: &User,
    id: String,
    form: &NodeForm,
    error: &ApiError,
) -> Result<Markup, ApiError> {
    draw(
        site,
        user,
        parts::default_scope(user),
        id,
        Some((form, error)),
    )
    .await
}

async fn draw(
    site: &Site,
    user: &User,
    scope: Scope,
    id: String,
    refused: Option<(&NodeForm, &ApiError)>,
) -> Result<Markup, ApiError> {
    let node = site.jobs.one_node(id).await?;
    let filter = JobFilter {
        created_by: (scope == Scope::Mine).then(|| user.id.clone()),
        node_id: Some(node.id.clone()),
        ..JobFilter::default()
    };
    let jobs = site.jobs.page(filter, LATEST).await?.jobs;
    let any_job = JobFilter {
        node_id: Some(node.id.clone()),
        ..JobFilter::default()
    };
    let has_job = !site.jobs.page(any_job, 1).await?.jobs.is_empty();
    let tokens = match user.role {
        Role::Admin => Some(site.jobs.nodes.tokens(&site.auth, node.id.clone()).await?),
        Role::Pending | Role::Viewer | Role::Operator => None,
    };
    let edit = match refused {
        _ if user.role != Role::Admin => html! {},
        Some((form, error)) => form.draw(&node.id, Some(error)),
        None => NodeForm::of_node(&node).draw(&node.id, None),
    };
    let start = start(user, &node, has_job);
    let pictures = Pictures {
        history: history::of_node(site, user, scope, &node.id).await?,
        online: online::draw(&site.jobs.node_status_changes(node.id.clone()).await?),
        jobs: JobRows::read(site, user, scope, &jobs)
            .await?
            .table(false, "No jobs on this node."),
    };
    let body = body(
        (site, user, scope),
        &node,
        &jobs,
        &pictures,
        (&start, &edit, tokens.as_deref()),
    );
    let page = Page::new(&node.id, body)
        .for_user(Some(user))
        .under("/nodes")
        .with_style("lists.css")
        .with_style("history.css");
    Ok(layout::draw(&page.live(parts::events(scope))))
}

/// Deletes the node.
pub(super) async fn delete(
    State(site): State<Site>,
    Admin(user): Admin,
    Path(id): Path<String>,
) -> Result<Redirect, ApiError> {
    site.jobs.delete_node(user, id).await?;
    Ok(Redirect::to("/nodes"))
}

/// Revokes a token.
pub(super) async fn revoke_token(
    State(site): State<Site>,
    Admin(user): Admin,
    Path((id, token_id)): Path<(NodeId, TokenId)>,
) -> Result<Redirect, ApiError> {
    let back = format!("/nodes/{id}");
    site.jobs.nodes.revoke_token(user, id, token_id).await?;
    Ok(Redirect::to(&back))
}

/// A node's state in a sentence. The counting time is outside the region that screen readers
/// announce. `from` is the page from which the banner is updated, if that is another one.
pub(super) fn banner(node: &NodeView, from: Option<&str>) -> Markup {
    let shows = format!("node:{}", node.id);
    let words = match (node.status, node.last_seen_at) {
        _ if node.paused => "It gets no jobs. Queued jobs wait until an ADMIN resumes it.",
        (NodeStatus::Online, _) => "The agent is connected.",
        (NodeStatus::Offline, None) => {
            "Waiting for the agent to connect. This page updates by itself."
        }
        (NodeStatus::Offline, Some(_)) => "Queued jobs start when it reconnects.",
    };
    html! {
        div.banner {
            span #node-state data-region data-shows=(shows) data-from=[from] role="status" {
                (parts::node_state(node)) " " (words)
            }
            span #node-seen data-region data-shows=(shows) data-from=[from] {
                @if node.last_seen_at.is_some() { " Last seen " (parts::last_seen(node)) "." }
            }
        }
    }
}

/// The parts of the page that show what has happened on the node.
struct Pictures {
    history: Markup,
    online: Markup,
    jobs: Markup,
}

fn body(
    (site, user, scope): (&Site, &User, Scope),
    node: &NodeView,
    jobs: &[JobView],
    pictures: &Pictures,
    (start, edit, tokens): (&Markup, &Markup, Option<&[NodeToken]>),
) -> Markup {
    let address = format!("/nodes/{}", node.id);
    let queue = format!("/presets?node={}", node.id);
    let shows = format!("node:{}", node.id);
    html! {
        p.crumbs { a href="/nodes" { "Nodes" } }
        div.head {
            h1 { (node.id) @if node.name != node.id { " " span.dim { bdi { (words::visible(&node.name)) } } } }
            div.actions {
                @if user.role >= Role::Operator { a.button.primary href=(queue) { "Run a preset here" } }
                @if user.role == Role::Admin { div #node-pause data-region data-shows=(shows) { (node_form::pause_button(node)) } }
            }
        }
        (banner(node, None))
        div #node-start data-region data-shows=(shows) { (start) }
        div #node-facts data-region data-shows=(shows) { (facts(user, node, &ServerKeys::from(&*site.jobs.nodes.signer.known()), jobs, scope)) }
        (edit)
        div #node-history data-region data-shows=(shows) { (pictures.history) (pictures.online) }
        section aria-labelledby="jobs-h" {
            div.head { h2 #jobs-h { "Jobs" } (parts::scope_switch(site, user, scope, &address, &[])) }
            div #jobs data-region data-shows=(shows) { (pictures.jobs) }
            p {
                a href=(parts::list_address(user, scope, "/jobs", &[("node", &node.id)])) { "All jobs of this node" }
                " · " a href=(drift::address_of_node(&node.id)) { "Drift of this node" }
            }
        }
        div #node-machine data-region data-shows=(shows) { (node_facts::draw(node)) }
        @if let Some(tokens) = tokens { (token_section(&address, node, tokens)) }
    }
}

/// What to do on a node that is new: connect its agent, then run the report. The page with the line
/// to paste takes `#node-ready` from here once the agent is connected.
fn start(user: &User, node: &NodeView, has_job: bool) -> Markup {
    let is_online = node.status == NodeStatus::Online;
    html! {
        @if is_online && !has_job && user.role >= Role::Operator {
            div #node-ready { (first_run::report_button(&node.id, "")) }
        } @else if node.last_seen_at.is_none() && user.role == Role::Admin {
            (form::button(&format!("/nodes/{}/tokens", node.id), "primary", "Show the line to paste", None))
        }
    }
}

fn facts(
    user: &User,
    node: &NodeView,
    keys: &ServerKeys,
    jobs: &[JobView],
    scope: Scope,
) -> Markup {
    let is_shown = |id: &String| jobs.iter().any(|job| job.id == *id);
    html! {
        @if node.live_instances > 1 {
            p.alert role="alert" {
                (node.live_instances) " agents are using this node's tokens at the same time. A node is one machine: add another node "
                "for the other machine, or revoke its token below."
            }
        }
        @if let Some(problem) = &node.problem {
            p.alert role="alert" { "This node can't run jobs properly: " (words::visible(problem)) "." }
        }
        @if let Some(id) = &node.still_running_job_id {
            p.alert role="alert" {
                "The node is still running job " a href=(parts::job_address(id, scope)) { (id) }
                ", which was reported lost or ended by hand. Other jobs wait until it stops. Cancel it to stop its script."
            }
        }
        @if let Some(at) = node.copied_agent_at {
            p.alert role="alert" {
                "A second machine started with a copy of this node's agent state " (words::since(at))
                ". A node is one machine: add another node for the copy, or remove its agent."
            }
        }
        dl.facts {
            div { dt { "Hostname" } dd { (or_dash(node.hostname.as_deref())) } }
            div { dt { "System" } dd { (or_dash(node.os.pretty_name.as_deref())) } }
            div { dt { "Agent" } dd { (agent(user, node)) } }
            div { dt { "Running" } dd {
                @match &node.running_job_id {
                    Some(id) if is_shown(id) => { a href=(parts::job_address(id, scope)) { "a job" } }
                    Some(_) => { "somebody else's job" }
                    None => { "nothing" }
                }
            } }
            div { dt { "Queued" } dd { (words::count(node.queued_jobs, "job", "jobs")) } }
            @if node.agent_version.is_some() { div.wide { dt { "Jobs" } dd { (signing(node, keys)) } } }
            @if let Some(refused) = &node.refused {
                div { dt { "Refused" } dd {
                    (words::count(refused.count, "job", "jobs")) ", the last one because of: "
                    a href={ "/jobs/" (refused.job_id) } { bdi { (words::visible(&refused.because)) } }
                } }
            }
            @if !node.labels.is_empty() { div.wide { dt { "Labels" } dd { (node_facts::labels(node)) } } }
        }
    }
}

/// Whether jobs are signed, and what somebody with the database could still do.
fn signing(node: &NodeView, keys: &ServerKeys) -> Markup {
    let trusted = node.trusted_keys.as_deref();
    let state = SigningState::of(node.requires_signatures, trusted, keys);
    html! {
        (state.signed(keys)) ". " span.dim { (state.remaining_risk()) }
        @if let Some(fix) = state.fix() { " To fix it, " (fix) "." }
    }
}

/// The agent's version, with a link to upgrade it if the server has a newer one.
fn agent(user: &User, node: &NodeView) -> Markup {
    html! {
        (or_dash(node.agent_version.as_deref()))
        @if let Some(newer) = &node.agent_upgrade {
            "; the server ships " (newer) ". "
            @if user.role >= Role::Operator {
                a href=(format!("/presets/agent-upgrade?node={}", node.id)) { "Upgrade it" }
            }
        }
    }
}

fn token_section(address: &str, node: &NodeView, tokens: &[NodeToken]) -> Markup {
    let delete = format!(
        "Delete {}? Its tokens stop working, and its queued jobs are cancelled.",
        node.id
    );
    html! {
        section aria-labelledby="tokens-h" {
            h2 #tokens-h { "Tokens" }
            table.tokens {
                thead { tr {
                    th scope="col" { "Token" } th scope="col" { "Created" } th scope="col" { "Last used" } th scope="col" { span.unseen { "Revoke" } }
                } }
                tbody { @for token in tokens { (token_row(address, token)) } }
            }
            div.actions {
                (form::button(&format!("{address}/tokens"), "", "Create a token", None))
                (form::button(&format!("{address}/delete"), "danger", "Delete the node", Some(&delete)))
            }
        }
    }
}

fn token_row(address: &str, token: &NodeToken) -> Markup {
    let revoke = format!("{address}/tokens/{}/revoke", token.id);
    let ask = "Revoke this token? An agent that uses it loses access at once.";
    html! {
        tr {
            td.main { code { (token.prefix) "…" } }
            td data-label="Created" { (words::since(token.created_at)) }
            td data-label="Last used" {
                @match token.last_used_at { Some(at) => { (words::since(at)) } None => { "never" } }
            }
            td.num {
                @match token.revoked_at {
                    Some(at) => { "revoked " (words::since(at)) }
                    None => { (form::button(&revoke, "danger", "Revoke", Some(ask))) }
                }
            }
        }
    }
}
