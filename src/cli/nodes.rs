//! `hyprbox nodes …`

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::args::{NodeTokenCommand, NodesCommand};
use super::client::{Client, segment};
use super::error::CliError;
use super::queue::{explain_node, no_such};
use super::screen::{Paint, Screen, print_note};
use super::short_id::{self, node_to_change};
use super::table::{Cell, Table, facts};
use super::{ask, node_edit, node_facts, times};
use crate::nodes::{AddedNode, MintedToken, NodeStatus, NodeView, TokenView};

pub(super) async fn run(
    client: Client,
    screen: Screen,
    command: NodesCommand,
) -> Result<u8, CliError> {
    match command {
        NodesCommand::List { selector, output } => {
            list(&client, screen.formatted(output), selector.as_deref()).await
        }
        NodesCommand::Show { id, output } => {
            let id = short_id::node(&client, &id).await?;
            show(&client, screen.formatted(output), &id).await
        }
        NodesCommand::Add { id, name, label } => {
            add(&client, screen, &id, name, &labels(&label)?).await
        }
        NodesCommand::Edit { id, name } => {
            let id = node_to_change(&client, &screen, &id).await?;
            node_edit::rename(&client, screen, &id, &name).await
        }
        NodesCommand::Label { id, labels } => {
            let id = node_to_change(&client, &screen, &id).await?;
            node_edit::label(&client, screen, &id, &labels).await
        }
        NodesCommand::Pause { ids } => node_edit::pause(&client, screen, &ids, true).await,
        NodesCommand::Resume { ids } => node_edit::pause(&client, screen, &ids, false).await,
        NodesCommand::Remove { id, sure } => {
            let id = node_to_change(&client, &screen, &id).await?;
            let question = format!("Remove node {id} with its tokens, and cancel its queued jobs?");
            ask::confirm(&screen, &sure, &question, "nothing was removed")?;
            remove(&client, &id).await?;
            print_note(&format!("Removed node {id}. Its tokens no longer work."));
            Ok(0)
        }
        NodesCommand::Token(command) => token(&client, screen, command).await,
    }
}

async fn list(client: &Client, screen: Screen, selector: Option<&str>) -> Result<u8, CliError> {
    let path = match selector {
        Some(selector) => format!("/api/nodes?selector={}", segment(selector)),
        None => "/api/nodes".to_owned(),
    };
    let nodes = client.list::<NodeView>(&path, "nodes").await?;
    let ids = nodes.value.iter().map(|node| node.id.as_str());
    if screen.is_done_with(&nodes.json, ids)? {
        return Ok(0);
    }
    let nodes = nodes.value;
    if nodes.is_empty() {
        print_note(match selector {
            Some(_) => "No node matches.",
            None => "No nodes yet. `hyprbox nodes add NODE` adds one (ADMIN).",
        });
        return Ok(0);
    }
    let mut table = Table::new(&[
        "ID",
        "STATUS",
        "LAST SEEN",
        "SYSTEM",
        "LABELS",
        "AGENT",
        "QUEUED",
        "RUNNING",
    ])
    .optional(&[
        "AGENT",
        "SYSTEM",
        "QUEUED",
        "LAST SEEN",
        "RUNNING",
        "LABELS",
    ]);
    for node in &nodes {
        table.row([
            node.id.as_str().into(),
            status(node),
            node.last_seen_at
                .map_or_else(|| "never".to_owned(), times::ago)
                .into(),
            node.os.pretty_name.clone().unwrap_or_default().into(),
            label_pairs(node).into(),
            agent(node),
            node.queued_jobs.to_string().into(),
            screen
                .id(node.running_job_id.as_deref().unwrap_or_default())
                .into(),
        ]);
    }
    screen.table(&table)?;
    if let Some(behind) = nodes.iter().find(|node| node.agent_upgrade.is_some()) {
        print_note(&upgrade_hint(&behind.id));
    }
    Ok(0)
}

/// The agent's version, marked if the server has a newer one.
fn agent(node: &NodeView) -> Cell {
    let version = node.agent_version.clone().unwrap_or_default();
    match &node.agent_upgrade {
        Some(newer) => Cell::painted(format!("{version} < {newer}"), Paint::Yellow),
        None => version.into(),
    }
}

fn upgrade_hint(node: &str) -> String {
    format!("The server ships a newer agent. To upgrade: hyprbox run agent-upgrade --node {node}")
}

fn status(node: &NodeView) -> Cell {
    match node.status {
        NodeStatus::Online if node.paused => Cell::painted("ONLINE, paused", Paint::Yellow),
        NodeStatus::Offline if node.paused => Cell::painted("OFFLINE, paused", Paint::Yellow),
        NodeStatus::Online => Cell::painted("ONLINE", Paint::Green),
        NodeStatus::Offline => Cell::painted("OFFLINE", Paint::Dim),
    }
}

async fn show(client: &Client, screen: Screen, id: &str) -> Result<u8, CliError> {
    let path = format!("/api/nodes/{}", segment(id));
    let node = match client.get::<NodeView>(&path).await {
        Ok(node) => node,
        Err(error) => return Err(explain_node(client, id, error).await),
    };
    if screen.is_done_with(&node.json, [node.value.id.as_str()])? {
        return Ok(0);
    }
    let node = node.value;
    let text = |text: &Option<String>| Cell::from(text.clone().unwrap_or_default());
    let mut pairs: Vec<(&str, Cell)> = vec![
        ("id", node.id.as_str().into()),
        ("name", node.name.as_str().into()),
        ("status", status(&node)),
        ("last seen", times::moment(node.last_seen_at).into()),
        ("hostname", text(&node.hostname)),
        ("system", text(&node.os.pretty_name)),
        ("agent", agent(&node)),
        ("labels", label_pairs(&node).into()),
        ("running", text(&node.running_job_id)),
        ("queued", node.queued_jobs.to_string().into()),
    ];
    if let Some(facts) = &node.facts {
        pairs.extend(node_facts::lines(facts, node.facts_at));
    }
    if let Some(problem) = &node.problem {
        pairs.push(("problem", Cell::painted(problem.clone(), Paint::Yellow)));
    }
    if let Some(id) = &node.still_running_job_id {
        let words = format!("{id}, which was reported lost; `hyprbox jobs cancel {id}` stops it");
        pairs.push(("still running", Cell::painted(words, Paint::Yellow)));
    }
    if node.live_instances > 1 {
        let words = format!(
            "{} agents use this node's tokens; there should be only one",
            node.live_instances
        );
        pairs.push(("agents", Cell::painted(words, Paint::Yellow)));
    }
    screen.data(&facts(&pairs, screen.colors))?;
    if node.agent_upgrade.is_some() {
        print_note(&upgrade_hint(&node.id));
    }
    Ok(0)
}

fn label_pairs(node: &NodeView) -> String {
    let pairs = node.labels.iter();
    let pairs: Vec<String> = pairs.map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(", ")
}

fn labels(pairs: &[String]) -> Result<BTreeMap<&str, &str>, CliError> {
    let split = |pair: &'_ String| -> Result<(usize, usize), CliError> {
        pair.find('=')
            .map(|at| (at, at + 1))
            .ok_or_else(|| CliError::usage(format!("--label {pair}: must be KEY=VALUE")))
    };
    pairs
        .iter()
        .map(|pair| split(pair).map(|(end, start)| (&pair[..end], &pair[start..])))
        .collect()
}

async fn add(
    client: &Client,
    screen: Screen,
    id: &str,
    name: Option<String>,
    labels: &BTreeMap<&str, &str>,
) -> Result<u8, CliError> {
    let body = json!({"id": id, "name": name, "labels": labels});
    let added = client.post::<AddedNode>("/api/nodes", &body).await?;
    if screen.json {
        screen.value(&added.json)?;
        return Ok(0);
    }
    print_token(client, screen, id, &added.value.token)?;
    Ok(0)
}

/// Prints the token to standard output, and how to use it to standard error.
fn print_token(client: &Client, screen: Screen, node: &str, token: &str) -> Result<(), CliError> {
    print_note(&format!(
        "The token of {node}, shown only once. To start its agent:\n  HYPRBOX_API_URL={} HYPRBOX_NODE_ID={node} HYPRBOX_NODE_TOKEN=hbn_\u{2026} hyprbox-agent run",
        client.url()
    ));
    screen.data(&format!("{token}\n"))
}

async fn remove(client: &Client, id: &str) -> Result<(), CliError> {
    let path = format!("/api/nodes/{}", segment(id));
    match client.delete(&path).await {
        Ok(()) => Ok(()),
        Err(error) => Err(explain_node(client, id, error).await),
    }
}

async fn token(client: &Client, screen: Screen, command: NodeTokenCommand) -> Result<u8, CliError> {
    match command {
        NodeTokenCommand::List { node, output } => {
            let (node, screen) = (
                short_id::node(client, &node).await?,
                screen.formatted(output),
            );
            let tokens = tokens(client, &node).await?;
            let ids = tokens.0.iter().map(|token| token.id.as_str());
            if screen.is_done_with(&tokens.1, ids)? {
                return Ok(0);
            }
            let mut table = Table::new(&["ID", "PREFIX", "CREATED", "LAST USED", "REVOKED"])
                .optional(&["CREATED", "LAST USED"]);
            for token in &tokens.0 {
                let ago = |at: Option<_>| at.map_or_else(String::new, times::ago);
                table.row([
                    token.id.as_str().into(),
                    token.prefix.as_str().into(),
                    times::ago(token.created_at).into(),
                    ago(token.last_used_at).into(),
                    ago(token.revoked_at).into(),
                ]);
            }
            screen.table(&table)?;
        }
        NodeTokenCommand::Add { node } => {
            let node = node_to_change(client, &screen, &node).await?;
            let path = format!("/api/nodes/{}/tokens", segment(&node));
            let minted = match client.post::<MintedToken>(&path, &Value::Null).await {
                Ok(minted) => minted,
                Err(error) => return Err(explain_node(client, &node, error).await),
            };
            if screen.json {
                screen.value(&minted.json)?;
                return Ok(0);
            }
            print_token(client, screen, &node, &minted.value.token)?;
        }
        NodeTokenCommand::Revoke { node, token, sure } => {
            let node = node_to_change(client, &screen, &node).await?;
            let id = token_id(client, &node, &token).await?;
            let question = format!("Revoke the token {token} of {node}? Its agent is cut off.");
            ask::confirm(&screen, &sure, &question, "nothing was revoked")?;
            let path = format!("/api/nodes/{}/tokens/{}", segment(&node), segment(&id));
            client.delete(&path).await?;
            print_note(&format!(
                "Revoked token {id} of {node}. It no longer works."
            ));
        }
    }
    Ok(0)
}

async fn tokens(client: &Client, node: &str) -> Result<(Vec<TokenView>, Value), CliError> {
    let path = format!("/api/nodes/{}/tokens", segment(node));
    match client.list::<TokenView>(&path, "tokens").await {
        Ok(tokens) => Ok((tokens.value, tokens.json)),
        Err(error) => Err(explain_node(client, node, error).await),
    }
}

/// The id of the token with this id or prefix.
async fn token_id(client: &Client, node: &str, named: &str) -> Result<String, CliError> {
    let (tokens, _) = tokens(client, node).await?;
    let found: Vec<_> = tokens
        .iter()
        .filter(|token| token.id == named || token.prefix == named)
        .collect();
    match found.as_slice() {
        [token] => Ok(token.id.clone()),
        [] => {
            let list = format!("hyprbox nodes token list {node}");
            Err(no_such("token", named, [], &list))
        }
        _ => Err(CliError::usage(format!(
            "{} tokens begin with {named}; use a token's id instead",
            found.len()
        ))
        .hint(format!("`hyprbox nodes token list {node}` lists the ids"))),
    }
}
