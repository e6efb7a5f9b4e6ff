//! A run as the server describes it at one moment.

use serde_json::Value;

use crate::cli::answers::RunAnswer;
use crate::nodes::NodeView;

/// A run as it was read.
pub(super) struct Reading {
    pub(super) run: RunAnswer,
    pub(super) json: Value,
    /// The nodes, if some of them keep released jobs waiting.
    pub(super) nodes: Vec<NodeView>,
}
