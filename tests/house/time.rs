//! Tests wait for events. The few that are about real time say why, with `pass` and `until` of
//! `tests/harness`. A busy machine breaks a test that sleeps or that allows a call so much time.

use std::sync::LazyLock;

use regex::Regex;

use crate::{files, root, shown};

/// The one helper that polls, in each of the two harnesses.
const HELPERS: &[&str] = &["tests/harness/src/wait.rs", "agent/tests/it/agent.rs"];

/// A sleep, and an upper bound of the time that something took.
static TIMED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(thread|time)::sleep\(|\.elapsed\(\)\s*<").expect("valid"));

/// The lines of `text` that sleep, or bound a time from above.
fn timed(text: &str) -> Vec<usize> {
    let is_timed = |(index, line): (usize, &str)| TIMED.is_match(line).then_some(index + 1);
    text.lines().enumerate().filter_map(is_timed).collect()
}

#[test]
fn tests_neither_sleep_nor_limit_how_long_something_takes() {
    let mut faults = Vec::new();
    for folder in ["tests", "agent", "src"] {
        for path in files(folder, &[".rs"]) {
            let name = shown(&path);
            let is_test = format!("/{name}").contains("/tests/");
            if !is_test || HELPERS.contains(&name.as_str()) || name.starts_with("tests/house/") {
                continue;
            }
            let text = std::fs::read_to_string(root().join(&name)).expect("UTF-8");
            faults.extend(timed(&text).iter().map(|line| format!("{name}:{line}")));
        }
    }
    let advice = "wait with `eventually` or `joined`; if real time is under test, use `pass`";
    assert!(faults.is_empty(), "{advice}:\n{}", faults.join("\n"));
}

#[test]
fn a_sleep_and_an_upper_bound_are_found() {
    let text = "thread::sleep(PAUSE);\nassert!(began.elapsed() < LIMIT);\npass(PAUSE, \"slow\");\n\
                assert!(began.elapsed() >= LEASE);\ntokio::time::sleep(PAUSE).await;";
    assert_eq!(timed(text), [1, 2, 5]);
}
