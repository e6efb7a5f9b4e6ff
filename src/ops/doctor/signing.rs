//! Whether the jobs of each node are signed, and what an attacker with the database could still do.

use std::collections::BTreeMap;

use super::Finding;
use crate::clock::Timestamp;
use crate::nodes::{ServerKeys, SigningState};
use crate::store::diagnosis::Content;
use crate::store::sign_key::SignKeyRecord;

/// Nodes of a finding that are named.
const NAMED_MAX: usize = 200;

/// One finding for the nodes of each state.
pub(super) fn signing(content: &Content) -> Vec<Finding> {
    let records: Vec<SignKeyRecord> = content
        .sign_keys
        .iter()
        .zip(1..)
        .map(|((public_key, statement), seq)| SignKeyRecord {
            seq,
            public_key: public_key.clone(),
            created_at: Timestamp::from_millis(0),
            statement: (!statement.is_empty()).then(|| (statement.clone(), String::new())),
        })
        .collect();
    let Some(keys) = ServerKeys::stored(&records) else {
        return Vec::new();
    };
    let mut nodes: BTreeMap<SigningState, Vec<&str>> = BTreeMap::new();
    for (node, reported) in &content.signing {
        let state = state(reported, &keys);
        nodes.entry(state).or_default().push(node);
    }
    let finding = |(state, nodes): (SigningState, Vec<&str>)| {
        let more = match nodes.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let seen = format!(
            "{}{more}: jobs {}. {}",
            nodes[..nodes.len().min(NAMED_MAX)].join(", "),
            state.signed(&keys),
            state.remaining_risk()
        );
        match state.fix() {
            Some(fix) => Finding::warn("signing", seen, fix),
            None => Finding::ok("signing", seen),
        }
    };
    nodes.into_iter().map(finding).collect()
}

/// From `0` or `1`, and the trusted keys as JSON, if the agent checks signatures.
fn state(reported: &str, keys: &ServerKeys) -> SigningState {
    let (is_required, trusted) = match reported.strip_prefix('1') {
        Some(trusted) => (true, trusted),
        None => (false, reported.trim_start_matches('0')),
    };
    let trusted: Option<Vec<String>> =
        (!trusted.is_empty()).then(|| serde_json::from_str(trusted).unwrap_or_default());
    SigningState::of(is_required, trusted.as_deref(), keys)
}
