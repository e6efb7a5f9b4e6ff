//! The body of `POST /api/runs`.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::cli::args::Plan;
use crate::cli::runs::words;
use crate::clock::Timestamp;
use crate::store::job::JobKind;

/// The nodes of a run.
pub(in crate::cli) enum Target {
    Nodes(Vec<String>),
    Selector(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes(nodes) if nodes.len() == 1 => f.write_str(&nodes[0]),
            Self::Nodes(nodes) => f.write_str(&words::nodes(nodes.len() as u64)),
            Self::Selector(selector) => write!(f, "every node that matches {selector}"),
        }
    }
}

/// The run to queue.
pub(in crate::cli) struct RunRequest {
    pub(in crate::cli) preset: String,
    pub(in crate::cli) kind: JobKind,
    pub(in crate::cli) target: Target,
    pub(in crate::cli) params: Map<String, Value>,
    pub(in crate::cli) plan: Plan,
    pub(in crate::cli) timeout_seconds: Option<u64>,
    pub(in crate::cli) expires_in_seconds: Option<u64>,
    pub(in crate::cli) not_before: Option<Timestamp>,
}

impl RunRequest {
    /// What the user has not chosen is left to the server.
    pub(in crate::cli) fn body(&self) -> Value {
        let mut body = json!({"preset": self.preset, "params": self.params});
        match &self.target {
            Target::Nodes(nodes) => body["nodes"] = json!(nodes),
            Target::Selector(selector) => body["selector"] = json!(selector),
        }
        if self.kind == JobKind::Check {
            body["kind"] = json!(self.kind);
        }
        let plan = self.plan.json();
        if !plan.is_empty() {
            body["plan"] = plan.into();
        }
        if self.plan.skip_offline {
            body["ifOffline"] = json!("skip");
        }
        let more = [
            ("timeoutSeconds", self.timeout_seconds.map(Value::from)),
            ("expiresInSeconds", self.expires_in_seconds.map(Value::from)),
            (
                "notBefore",
                self.not_before.map(|at| Value::from(at.to_string())),
            ),
        ];
        for (name, value) in more {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        body
    }
}
