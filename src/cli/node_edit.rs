//! `hyprbox nodes edit`, `label`, `pause` and `resume`

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Answer, Client, segment};
use super::error::CliError;
use super::queue::explain_node;
use super::screen::{Screen, print_note};
use super::short_id::node_to_change;
use crate::nodes::NodeView;

/// Changes a node's display name.
pub(super) async fn rename(
    client: &Client,
    screen: Screen,
    id: &str,
    name: &str,
) -> Result<u8, CliError> {
    let edited = edit(client, id, &json!({"name": name})).await?;
    if screen.json {
        screen.value(&edited.json)?;
    } else {
        print_note(&format!("{id} is now called {}.", edited.value.name));
    }
    Ok(0)
}

/// Sets and removes labels, and keeps the others.
pub(super) async fn label(
    client: &Client,
    screen: Screen,
    id: &str,
    changes: &[String],
) -> Result<u8, CliError> {
    let changes: Vec<Change<'_>> = changes.iter().map(|text| Change::of(text)).collect();
    let path = format!("/api/nodes/{}", segment(id));
    let mut labels = match client.get::<NodeView>(&path).await {
        Ok(node) => node.value.labels,
        Err(error) => return Err(explain_node(client, id, error).await),
    };
    for change in changes {
        change.apply(&mut labels);
    }
    let edited = edit(client, id, &json!({"labels": labels})).await?;
    if screen.json {
        screen.value(&edited.json)?;
        return Ok(0);
    }
    let pairs: Vec<String> = edited
        .value
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    print_note(&match pairs.as_slice() {
        [] => format!("{id} has no labels."),
        pairs => format!("Labels of {id}: {}", pairs.join(", ")),
    });
    Ok(0)
}

/// `KEY=VALUE`, or `KEY-` to remove the label.
enum Change<'t> {
    Set(&'t str, &'t str),
    Remove(&'t str),
}

impl<'t> Change<'t> {
    /// The command line has checked the form.
    fn of(text: &'t str) -> Self {
        match text.split_once('=') {
            Some((key, value)) => Self::Set(key, value),
            None => Self::Remove(text.strip_suffix('-').unwrap_or(text)),
        }
    }

    fn apply(self, labels: &mut BTreeMap<String, String>) {
        match self {
            Self::Set(key, value) => {
                labels.insert(key.to_owned(), value.to_owned());
            }
            Self::Remove(key) => {
                labels.remove(key);
            }
        }
    }
}

/// Pauses or resumes nodes, in the given order.
pub(super) async fn pause(
    client: &Client,
    screen: Screen,
    ids: &[String],
    paused: bool,
) -> Result<u8, CliError> {
    for id in ids {
        let id = &node_to_change(client, &screen, id).await?;
        let edited = edit(client, id, &json!({"paused": paused})).await?;
        if screen.json {
            screen.json_line(&edited.json)?;
        } else if paused {
            let queued = edited.value.queued_jobs;
            print_note(&format!(
                "Paused {id}: its agent gets no jobs. {queued} queued. `hyprbox nodes resume {id}` resumes it."
            ));
        } else {
            print_note(&format!("Resumed {id}."));
        }
    }
    Ok(0)
}

async fn edit(client: &Client, id: &str, body: &Value) -> Result<Answer<NodeView>, CliError> {
    let path = format!("/api/nodes/{}", segment(id));
    match client.call(Method::PATCH, &path, Some(body)).await {
        Ok(edited) => Ok(edited),
        Err(error) => Err(explain_node(client, id, error).await),
    }
}
