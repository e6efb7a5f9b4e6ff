//! Changing a node: its name, its labels, and whether it is paused.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::labels::{check_labels, check_name};
use crate::audit;
use crate::auth::User;
use crate::http::{ApiError, FieldErrors, some_labels};
use crate::store::node::{self, Node};
use crate::store::{Change, StoreError, Tx};

/// The body of `PATCH /api/nodes/:id`. What is absent stays as it is.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
pub struct EditNode {
    /// Display name; the id if empty.
    #[serde(default)]
    #[schema(max_length = 255, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    pub name: Option<String>,
    /// Replace all labels. At most 32, keys of 63 characters and values of 255.
    #[serde(default, deserialize_with = "some_labels")]
    pub labels: Option<BTreeMap<String, String>>,
    /// While true, the agent gets no jobs. They wait.
    #[serde(default)]
    pub paused: Option<bool>,
}

impl EditNode {
    /// Pauses or resumes a node.
    pub fn pause(paused: bool) -> Self {
        Self {
            paused: Some(paused),
            ..Self::default()
        }
    }

    /// Checks the name and the labels.
    pub fn check(&self) -> Result<(), ApiError> {
        let mut faults = FieldErrors::default();
        if let Some(name) = &self.name {
            check_name(name, &mut faults);
        }
        if let Some(labels) = &self.labels {
            check_labels(labels, &mut faults);
        }
        faults.into_result()
    }

    /// Changes a node that the transaction has locked, and returns it.
    ///
    /// The lock makes a pause exact on PostgreSQL: a claim also locks the node until it is
    /// committed, so this waits for it, and a claim that waits for this sees the pause.
    pub fn apply(self, tx: &mut dyn Tx, user: &User, before: Node) -> Result<Node, StoreError> {
        let name = match self.name {
            Some(name) if name.is_empty() => before.id.clone(),
            Some(name) => name,
            None => before.name.clone(),
        };
        let after = Node {
            name,
            labels: self.labels.unwrap_or_else(|| before.labels.clone()),
            paused: self.paused.unwrap_or(before.paused),
            ..before.clone()
        };
        node::update(tx, &after)?;
        let entry = audit::Entry {
            actor: &user.email,
            action: "node.edit",
            job_id: None,
            node_id: Some(&after.id),
            detail: Some(&describe(&before, &after)),
        };
        audit::record(tx, entry)?;
        tx.publish(Change::Node {
            id: after.id.clone(),
        });
        Ok(after)
    }
}

/// The difference in words: `name: Web one; labels: zone=b, without role; paused`.
fn describe(before: &Node, after: &Node) -> String {
    let mut parts = Vec::new();
    if before.name != after.name {
        parts.push(format!("name: {}", after.name));
    }
    let set = after.labels.iter();
    let set = set.filter(|(key, value)| before.labels.get(*key) != Some(*value));
    let gone = before.labels.keys();
    let gone = gone.filter(|key| !after.labels.contains_key(*key));
    let labels: Vec<String> = set
        .map(|(key, value)| format!("{key}={value}"))
        .chain(gone.map(|key| format!("without {key}")))
        .collect();
    if !labels.is_empty() {
        parts.push(format!("labels: {}", labels.join(", ")));
    }
    match (before.paused, after.paused) {
        (false, true) => parts.push("paused".to_owned()),
        (true, false) => parts.push("resumed".to_owned()),
        (false, false) | (true, true) => {}
    }
    if parts.is_empty() {
        parts.push("nothing changed".to_owned());
    }
    parts.join("; ")
}
