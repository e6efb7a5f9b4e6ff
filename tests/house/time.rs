//! Tests wait for events. The few that are about real time say why, with `pass` and `until` of
//! `tests/harness`. A busy machine breaks a test that sleeps, that allows a call so much time, or
//! that compares two times.

use std::sync::LazyLock;

use regex::Regex;

use crate::{files, root, shown};

/// The helpers that wait, in each of the two harnesses.
const HELPERS: &[&str] = &["tests/harness/src/wait.rs", "agent/tests/it/agent.rs"];

/// Names of variables that hold a time, or a number that depends on one.
const NAMES: &str = "took|elapsed|delays?|pauses?|gaps?|times|median|shortest|longest|slowest|\
    fastest|ratio|seconds|millis|latency";

/// A sleep, an upper bound of a time, a lower bound of a rate, and a log that is not waited for.
static TIMED: LazyLock<Regex> = LazyLock::new(|| {
    let item = format!(r"\b({NAMES})(\[[^\]]*\])?(\.as_\w+\(\))?(\s*[*/]\s*[\w.]+)?");
    let rules = [
        r"\b(thread|time)::sleep\(".to_owned(),
        r"\.elapsed\(\)[\w.()]*\s*<".to_owned(),
        r"\bInstant::now\(\)\s*<".to_owned(),
        r"<=?\s*([\w.]+\s*\*\s*)?((std::)?time::)?Duration::".to_owned(),
        format!(r"{item}\s*<=?\s"),
        format!(r"assert.*\s>=?\s.*{item}\s*[,)]"),
        r"assert.*\b(rate|speed|\w+_(per|a)_second)\b\s*[<>]".to_owned(),
        // A line of a log may be read after a later answer.
        r"assert!\((\w+\.)*logged\(".to_owned(),
    ];
    Regex::new(&rules.join("|")).expect("valid")
});

/// The lines of `text` that sleep, bound a time from above, or compare speeds.
fn timed(text: &str) -> Vec<usize> {
    let is_timed = |(index, line): (usize, &str)| {
        // Most lines need no regex, which is slow in a build for tests.
        let parts = [" <", " >", "sleep(", "logged("];
        let may_be = parts.iter().any(|part| line.contains(part));
        let is_comment = line.trim_start().starts_with("//");
        (may_be && !is_comment && TIMED.is_match(line)).then_some(index + 1)
    };
    text.lines().enumerate().filter_map(is_timed).collect()
}

/// Where the tests of a file begin: at its top if it has nothing else.
fn tests_of(name: &str, text: &str) -> Option<usize> {
    if format!("/{name}").contains("/tests/") || name.ends_with("/tests.rs") {
        return Some(0);
    }
    let line = |line: &str| line.starts_with("#[cfg(test)]");
    let begin = text.lines().position(line)?;
    // A module in a file of its own is checked there.
    let module = text.lines().nth(begin + 1)?;
    module.ends_with('{').then_some(begin)
}

#[test]
fn tests_neither_sleep_nor_compare_how_long_something_takes() {
    let mut faults = Vec::new();
    for folder in ["tests", "agent", "src"] {
        for path in files(folder, &[".rs"]) {
            let name = shown(&path);
            if HELPERS.contains(&name.as_str()) || name.starts_with("tests/house/") {
                continue;
            }
            let text = std::fs::read_to_string(root().join(&name)).expect("UTF-8");
            let Some(begin) = tests_of(&name, &text) else {
                continue;
            };
            let lines = timed(&text).into_iter().filter(|line| *line > begin);
            faults.extend(lines.map(|line| format!("{name}:{line}")));
        }
    }
    let advice = "wait with `eventually`, `reaches` or `joined`; repeat with `once_within`; if real \
        time is under test, use `pass`; print figures, or move them to the benchmark";
    assert!(faults.is_empty(), "{advice}:\n{}", faults.join("\n"));
}

#[test]
fn sleeps_upper_bounds_and_comparisons_of_times_are_found() {
    let bad = [
        "thread::sleep(PAUSE);",
        "tokio::time::sleep(PAUSE).await;",
        "assert!(began.elapsed() < LIMIT);",
        "assert!(began.elapsed().as_secs() <= 3);",
        "while Instant::now() < deadline {",
        "assert!(took < first + LIMIT);",
        "assert!(times[10] < LIMIT, \"{times:?}\");",
        "assert!(delays[4] * 2 < SLOW_POLL);",
        "assert!(shortest < Some(Duration::from_secs(4)));",
        "assert!(slow <= 2 * std::time::Duration::from_secs(1));",
        "assert!(LIMIT > took, \"{took:?}\");",
        "assert!(ratio <= 1.5);",
        "assert!(rate >= usual / 10.0);",
        "assert!(jobs_a_second > 100);",
        "assert!(server.logged(&[\"WARN\"]));",
    ];
    for line in bad {
        assert_eq!(timed(line), [1], "{line}");
    }
    let good = [
        "pass(PAUSE, \"slow\");",
        "assert!(began.elapsed() >= LEASE);",
        "assert!(times.len() < 5);",
        "if next_read <= Instant::now() {",
        "let all: Vec<Duration> = Vec::<Duration>::new();",
        "// took < LIMIT",
        "assert!(!server.logged(&[\"panicked\"]));",
    ];
    for line in good {
        assert_eq!(timed(line), [0; 0], "{line}");
    }
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n}\n";
    assert_eq!(tests_of("src/a.rs", text), Some(1));
    assert_eq!(tests_of("src/a.rs", "#[cfg(test)]\nmod tests;\n"), None);
    assert_eq!(tests_of("src/a/tests.rs", ""), Some(0));
}
