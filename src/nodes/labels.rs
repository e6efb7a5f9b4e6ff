//! The limits of a node's name and labels.

use std::collections::BTreeMap;

use crate::auth::check_words;
use crate::http::FieldErrors;

/// Most labels of a node.
const LABELS_MAX: usize = 32;
/// Longest key of a label.
pub(super) const KEY_CHARS: usize = 63;
/// Longest value of a label, and longest name of a node.
pub(super) const VALUE_CHARS: usize = 255;

/// Checks a node's display name.
pub(super) fn check_name(name: &str, faults: &mut FieldErrors) {
    faults.check(
        is_short(name, VALUE_CHARS),
        "name",
        "must have at most 255 characters, without control characters",
    );
    if let Err(fault) = check_words(name) {
        faults.add("name", fault);
    }
}

/// Checks a node's labels.
pub(super) fn check_labels(labels: &BTreeMap<String, String>, faults: &mut FieldErrors) {
    faults.check(
        labels.len() <= LABELS_MAX,
        "labels",
        "must have at most 32 entries",
    );
    for (key, value) in labels {
        let fits = !key.is_empty() && is_short(key, KEY_CHARS) && is_short(value, VALUE_CHARS);
        faults.check(
            fits,
            &format!("labels.{key}"),
            "must have a key of 1 to 63 characters and a value of at most 255",
        );
    }
}

fn is_short(text: &str, max: usize) -> bool {
    text.chars().count() <= max && !text.chars().any(char::is_control)
}
