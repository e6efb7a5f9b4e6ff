//! Holds every answer that a test gets to the server's own OpenAPI document.

use std::sync::OnceLock;

use serde_json::Value;

/// Of the one program that all tests start.
static DOCUMENT: OnceLock<Value> = OnceLock::new();

/// Fails if `path` is an operation of the document and `status` is not one of its responses.
#[track_caller]
pub(crate) fn check(method: &str, path: &str, status: u16, fetch: impl FnOnce() -> Option<Value>) {
    let path = path.split('?').next().unwrap_or_default();
    // A response to the connection, not of the operation.
    if !path.starts_with("/api/") || matches!(status, 431 | 500 | 502 | 504) {
        return;
    }
    if DOCUMENT.get().is_none()
        && let Some(document) = fetch()
    {
        let _first = DOCUMENT.set(document);
    }
    let Some(operation) = DOCUMENT
        .get()
        .and_then(|document| find(document, method, path))
    else {
        return;
    };
    assert!(
        operation["responses"].get(status.to_string()).is_some(),
        "the OpenAPI document has no response {status} of {method} {path}"
    );
}

/// The operation of the path's most literal template.
fn find<'d>(document: &'d Value, method: &str, path: &str) -> Option<&'d Value> {
    let paths = document["paths"].as_object()?.iter();
    let (_, item) = paths
        .filter(|(template, _)| fits(template, path))
        .min_by_key(|(template, _)| template.matches('{').count())?;
    item.get(method.to_lowercase())
}

fn fits(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template
            .zip(path)
            .all(|(part, given)| part == given || part.starts_with('{') && !given.is_empty())
}
