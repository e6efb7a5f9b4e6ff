//! Signatures: one that takes two ids names their kinds (`src/store/id.rs`), so that no call swaps
//! them. A handler reads its body with `JsonBody` or `AgentJson`, whose refusals are API errors;
//! `axum::Json` is for responses.

use crate::{files, shown};

/// The parameters of every function in `text`, with the line of each function.
fn signatures(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("fn ") {
        let Some(open) = text[at..].find('(').map(|open| at + open) else {
            continue;
        };
        // A function type, such as `Fn (A)`, or a comment.
        if text[at + 3..open].contains([' ', '\n', ')'])
            || text[..at].ends_with(char::is_alphanumeric)
        {
            continue;
        }
        let mut depth = 0;
        let end = text[open..].find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        });
        if let Some(end) = end {
            let line = text[..at].matches('\n').count() + 1;
            found.push((line, text[open + 1..open + end].replace('\n', " ")));
        }
    }
    found
}

/// How many parameters of a signature are an id of type `str` or `String`.
fn bare_ids(parameters: &str) -> usize {
    let is_bare_id = |parameter: &&str| {
        let Some((name, kind)) = parameter.trim().split_once(": ") else {
            return false;
        };
        let is_id = name == "id" || name.ends_with("_id");
        is_id
            && matches!(
                kind,
                "&str" | "String" | "&String" | "Option<&str>" | "Option<String>"
            )
    };
    // Of a path's tuple, every part that is text.
    let in_paths = parameters.split("Path<(").skip(1).map(|path| {
        let path = path.split(')').next().unwrap_or_default();
        path.split(", ").filter(|kind| *kind == "String").count()
    });
    let has_ids = parameters.contains("_id");
    let in_paths: usize = in_paths.filter(|_| has_ids).sum();
    in_paths + parameters.split(',').filter(is_bare_id).count()
}

/// Whether a handler reads its body with `axum::Json`.
fn reads_axum_json(parameters: &str) -> bool {
    parameters.split(',').any(|parameter| {
        let kind = parameter.split_once(": ").map_or("", |(_, kind)| kind);
        kind.starts_with("Json<") || kind.starts_with("axum::Json<")
    })
}

#[test]
fn handlers_read_bodies_with_the_extractors_of_the_api() {
    let mut faults = Vec::new();
    for path in files("src", &[".rs"]) {
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        for (line, parameters) in signatures(&text) {
            if reads_axum_json(&parameters) {
                faults.push(format!("{}:{line}: ({parameters})", shown(&path)));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_handler_that_reads_axum_json_is_found() {
    for bad in [
        "Json(body): Json<Body>",
        "State(a): State<A>, axum::Json(b): axum::Json<Value>",
    ] {
        assert!(reads_axum_json(bad), "{bad}");
    }
    assert!(!reads_axum_json(
        "JsonBody(body): JsonBody<Body>, AgentJson(b): AgentJson<B>"
    ));
}

#[test]
fn a_signature_with_two_ids_names_their_kinds() {
    let mut faults = Vec::new();
    for folder in [
        "src",
        "agent/src",
        "agent/protocol/src",
        "agent/signing/src",
    ] {
        for path in files(folder, &[".rs"]) {
            let text = std::fs::read_to_string(&path).expect("UTF-8");
            for (line, parameters) in signatures(&text) {
                if bare_ids(&parameters) > 1 {
                    faults.push(format!("{}:{line}: ({parameters})", shown(&path)));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_signature_with_two_bare_ids_is_found() {
    let text = "fn one(id: &str, name: &str) {}\n\
        fn two<T>(\n    tx: &mut dyn Tx,\n    id: &str,\n    node_id: String,\n) {}\n\
        fn three(id: JobId<&str>, node_id: &str) {}\n\
        fn four(Path((id, token_id)): Path<(String, String)>) {}\n";
    let found: Vec<_> = signatures(text)
        .into_iter()
        .filter(|(_, parameters)| bare_ids(parameters) > 1)
        .map(|(line, _)| line)
        .collect();
    assert_eq!(found, [2, 8]);
}
