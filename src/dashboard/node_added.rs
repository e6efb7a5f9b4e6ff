//! Adding a node or a token: shows the token, only this once, with the command that starts an
//! agent.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::form::RestorableForm;
use super::layout::{self, Page};
use super::{Site, node, nodes, parts, saved_form};
use crate::auth::{Admin, ServerAddress, User};
use crate::http::{ApiError, Path};
use crate::jobs::Scope;
use crate::nodes::{AddNode, NodeView, is_in_the_clear};

/// Adds a node.
pub(super) async fn submit(
    State(site): State<Site>,
    Admin(user): Admin,
    server: ServerAddress,
    RestorableForm { form, is_restored }: RestorableForm,
) -> Result<Response, ApiError> {
    let id = form.text("id").trim().to_owned();
    if is_restored {
        let page = nodes::page(&site, &user, &id, Some(&saved_form::restored_notice())).await?;
        return Ok(page.into_response());
    }
    let request = AddNode {
        id: id.clone(),
        name: None,
        labels: None,
    };
    match site.jobs.nodes.add(user.clone(), request).await {
        Ok(added) => Ok((
            StatusCode::CREATED,
            page(&site, &user, &server, &added.node, &added.token).await?,
        )
            .into_response()),
        Err(error) if error.status.is_server_error() => Err(error),
        Err(mut error) => {
            if error.code == "node_exists" {
                error = error.with_field("id", "is taken by another node");
            }
            let again = nodes::page(&site, &user, &id, Some(&error)).await?;
            Ok((error.status, again).into_response())
        }
    }
}

/// Creates another token for a node.
pub(super) async fn add_token(
    State(site): State<Site>,
    Admin(user): Admin,
    Path(id): Path<String>,
    server: ServerAddress,
) -> Result<Response, ApiError> {
    let minted = site.jobs.nodes.add_token(user.clone(), id.clone()).await?;
    let node = site.jobs.one_node(id).await?;
    let page = page(&site, &user, &server, &node, &minted.token).await?;
    Ok((StatusCode::CREATED, page).into_response())
}

/// The line that installs the agent on a new machine, with a one-time code; `None` if the server
/// has no agent to install.
async fn install_line(
    site: &Site,
    user: &User,
    server: &ServerAddress,
    node_id: &str,
) -> Result<Option<String>, ApiError> {
    let url = server.url.clone();
    let nodes = &site.jobs.nodes;
    let enrolment = nodes
        .add_enrolment(user.clone(), node_id.to_owned())
        .await?;
    let install = nodes.install.clone();
    tokio::task::spawn_blocking(move || install.command(&url, &enrolment.code))
        .await
        .map_err(ApiError::internal)
}

async fn page(
    site: &Site,
    user: &User,
    server: &ServerAddress,
    node: &NodeView,
    token: &str,
) -> Result<Markup, ApiError> {
    let line = install_line(site, user, server, &node.id).await?;
    let address = format!("/nodes/{}", node.id);
    let body = html! {
        h1 { "Connect " span.id { (node.id) } }
        // The same region as on the node's own page, from which it is updated.
        (node::banner(node, Some(&address)))
        // Gives way to the node page's `#node-ready` once the agent is connected.
        div #node-ready data-region data-shows=(format!("node:{}", node.id)) data-from=(address) {
            @if server.is_local { (only_here(server)) }
            section.card.paste {
                @if let Some(line) = &line {
                    h2 { "Paste this on " span.id { (node.id) } }
                    (parts::copyable(line, "the line"))
                    p.dim { "Installs the agent from this server and starts it as a service. Works once, within an hour." }
                } @else {
                    p { "This server has no agent to install. Put a static build into " code { (site.jobs.nodes.install.agent_dir()) }
                        " as " code { "hyprbox-agent-x86_64" } ", or install the package hyprbox-agent on the machine and start it by hand." }
                }
                @if is_in_the_clear(&server.url) { (in_the_clear()) }
            }
            details open[line.is_none()] {
                summary { "By hand, with a token" }
                p { "On " span.id { (node.id) } ", run this as root, or as the user that jobs should run as:" }
                (parts::copyable(&command(&server.url, &node.id, token), "the command"))
                p { "The token is shown only once. The server keeps only its fingerprint." }
                (parts::copyable(token, "the token"))
            }
        }
        p { a href=(address) { "Go to the node" } }
    };
    let page = Page::new("Connect a node", body).for_user(Some(user));
    Ok(layout::draw(
        &page.under("/nodes").live(parts::events(Scope::Mine)),
    ))
}

/// What to do if the address in the commands works only on the server's own machine.
fn only_here(server: &ServerAddress) -> Markup {
    html! {
        p.alert {
            strong { "The address " (server.url) " works only on the server's own machine. " }
            "For a node on another machine, open this page at an address that the other machine can reach (the server must "
            "listen on it: HYPRBOX_LISTEN), or set HYPRBOX_PUBLIC_URL."
        }
    }
}

fn in_the_clear() -> Markup {
    html! {
        p.alert {
            strong { "The address of this server is plain http. " }
            "Anyone who can read the traffic between the node and the server can read the node's token and every job's "
            "output, and run commands on the node. Use it only in a network that you trust, or put the server "
            "behind https and set HYPRBOX_PUBLIC_URL."
        }
    }
}

/// The command that starts an agent. Its values need no quoting: a URL that the configuration
/// checked, a slug, and a token of letters, digits, `-` and `_`.
fn command(public_url: &str, node_id: &str, token: &str) -> String {
    let insecure = if is_in_the_clear(public_url) {
        "HYPRBOX_INSECURE_HTTP=1 "
    } else {
        ""
    };
    format!(
        "{insecure}HYPRBOX_API_URL={public_url} HYPRBOX_NODE_ID={node_id} HYPRBOX_NODE_TOKEN={token} hyprbox-agent run"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_pointed_out_if_it_is_a_danger() {
        assert_eq!(
            command("https://jobs.example.org", "prod-1", "hbn_x"),
            "HYPRBOX_API_URL=https://jobs.example.org HYPRBOX_NODE_ID=prod-1 \
             HYPRBOX_NODE_TOKEN=hbn_x hyprbox-agent run"
        );
        assert_eq!(
            command("http://10.0.0.7:4000", "prod-1", "hbn_x"),
            "HYPRBOX_INSECURE_HTTP=1 HYPRBOX_API_URL=http://10.0.0.7:4000 HYPRBOX_NODE_ID=prod-1 \
             HYPRBOX_NODE_TOKEN=hbn_x hyprbox-agent run"
        );
    }
}
