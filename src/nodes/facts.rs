//! The facts that an agent reports about its machine. Whatever it sends, its heartbeat counts.

use hyprbox_protocol::{DiskFacts, FactsJson, MAX_BYTE_COUNT, MAX_FACTS_BYTES, MachineFacts};
use serde_json::{Map, Value};

use crate::clock::Timestamp;

/// Longest text of a fact, in characters.
const TEXT_CHARS: usize = 255;

/// The facts to store, as JSON. What is not a fact is left out; facts that are too long are ignored
/// and logged.
pub(super) fn read_facts(node_id: &str, sent: &FactsJson) -> Option<String> {
    let ignore = |why: &str| {
        tracing::warn!(%node_id, "ignoring the facts that the agent sent: {why}");
    };
    if sent.0.len() > MAX_FACTS_BYTES {
        ignore(&format!(
            "{} bytes are more than {MAX_FACTS_BYTES}",
            sent.0.len()
        ));
        return None;
    }
    let Ok(Value::Object(fields)) = serde_json::from_str(&sent.0) else {
        ignore("they are not a JSON object");
        return None;
    };
    let stored = serde_json::to_string(&facts_of(&fields)).ok()?;
    if stored.len() > MAX_FACTS_BYTES {
        ignore("they have too many entries");
        return None;
    }
    Some(stored)
}

/// Facts from the database, which belongs to its operator.
pub(super) fn stored_facts(json: &str) -> Option<MachineFacts> {
    let fields: Map<String, Value> = serde_json::from_str(json).ok()?;
    Some(facts_of(&fields))
}

fn facts_of(fields: &Map<String, Value>) -> MachineFacts {
    let get = |name: &str| fields.get(name);
    MachineFacts {
        arch: text(get("arch")),
        kernel: text(get("kernel")),
        cpus: count(get("cpus")),
        memory_bytes: count(get("memoryBytes")),
        disks: list(get("disks"), disk),
        addresses: list(get("addresses"), |address| text(Some(address))),
        virtualization: text(get("virtualization")),
        booted_at: text(get("bootedAt"))
            .and_then(|at| at.parse::<Timestamp>().ok())
            .map(|at| at.to_string()),
        reboot_required: get("rebootRequired").and_then(Value::as_bool),
        pending_updates: count(get("pendingUpdates")),
    }
}

fn disk(value: &Value) -> Option<DiskFacts> {
    Some(DiskFacts {
        mount: text(value.get("mount"))?,
        size_bytes: count(value.get("sizeBytes")),
        free_bytes: count(value.get("freeBytes")),
    })
}

fn text(value: Option<&Value>) -> Option<String> {
    let text = value?.as_str()?;
    let is_fact = !text.is_empty()
        && text.chars().count() <= TEXT_CHARS
        && !text.chars().any(char::is_control);
    is_fact.then(|| text.to_owned())
}

/// A number that JSON carries exactly.
fn count(value: Option<&Value>) -> Option<u64> {
    value?.as_u64().filter(|count| *count <= MAX_BYTE_COUNT)
}

/// The entries of a list that are facts; `None` if it is not a list.
fn list<T>(value: Option<&Value>, entry: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    Some(value?.as_array()?.iter().filter_map(entry).collect())
}
