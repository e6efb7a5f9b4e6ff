//! `/nodes`: every node, and the form that adds one.

use axum::extract::State;
use maud::{Markup, html};

use super::form::{Faults, Input};
use super::layout::{self, Page};
use super::overview::load;
use super::{Site, parts, words};
use crate::auth::{Role, User, Viewer};
use crate::http::ApiError;
use crate::jobs::Scope;
use crate::nodes::NodeView;

/// The page.
pub(super) async fn show(
    State(site): State<Site>,
    Viewer(user): Viewer,
) -> Result<Markup, ApiError> {
    page(&site, &user, "", None).await
}

/// The page, with a form that was not accepted.
pub(super) async fn page(
    site: &Site,
    user: &User,
    id: &str,
    error: Option<&ApiError>,
) -> Result<Markup, ApiError> {
    let nodes = site.jobs.all_nodes().await?;
    let body = html! {
        h1 { "Nodes" }
        @if user.role == Role::Admin { (add_form(id, nodes.is_empty(), error)) }
        div #nodes data-region data-shows="nodes" { (table(&nodes)) }
    };
    let page = Page::new("Nodes", body)
        .for_user(Some(user))
        .under("/nodes");
    Ok(layout::draw(&page.live(parts::events(Scope::Mine))))
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

fn table(nodes: &[NodeView]) -> Markup {
    html! {
        @if nodes.is_empty() { p.none { "No nodes yet." } }
        @else {
            table.nodes {
                thead { tr {
                    th scope="col" { "State" } th scope="col" { "Node" } th scope="col" { "Last seen" }
                    th scope="col" { "System" } th scope="col" { "Agent" } th scope="col" { "Jobs" }
                } }
                tbody { @for node in nodes { (row(node)) } }
            }
        }
    }
}

fn row(node: &NodeView) -> Markup {
    html! {
        tr {
            td { (parts::node_state(node)) }
            td.main { a href=(format!("/nodes/{}", node.id)) { (node.id) } }
            td data-label="Last seen" { (parts::last_seen(node)) }
            td data-label="System" { (or_dash(node.os.pretty_name.as_deref())) }
            td data-label="Agent" { (or_dash(node.agent_version.as_deref())) }
            td data-label="Jobs" { (load(node)) }
        }
    }
}

/// What an agent has told, or a dash.
pub(super) fn or_dash(text: Option<&str>) -> Markup {
    html! { bdi { (words::visible(text.filter(|text| !text.is_empty()).unwrap_or("–"))) } }
}
