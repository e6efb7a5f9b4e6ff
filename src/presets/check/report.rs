//! Findings as a compiler would tell them, and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Checked, Finding, Severity};

/// For people: each finding with the line it is about, and a sum at the end.
pub fn human(all: &[Checked]) -> String {
    let mut text = String::new();
    let (mut errors, mut others, mut unreadable) = (0, 0, 0);
    for file in all {
        let path = file.path.display();
        match &file.findings {
            Err(why) => {
                unreadable += 1;
                let _ = writeln!(text, "{path}: can't be read: {why}\n");
            }
            Ok(findings) => {
                for finding in findings {
                    match finding.severity {
                        Severity::Error => errors += 1,
                        Severity::Warning | Severity::Note => others += 1,
                    }
                    one(&mut text, &path.to_string(), &file.text, finding);
                }
            }
        }
    }
    let files = match all.len() {
        1 => "1 file".to_owned(),
        n => format!("{n} files"),
    };
    let _ = match (errors, others, unreadable) {
        (0, 0, 0) => writeln!(text, "{files}: nothing found"),
        (_, _, 0) => writeln!(
            text,
            "{files}; errors: {errors}, warnings and notes: {others}"
        ),
        _ => writeln!(
            text,
            "{files}; errors: {errors}, warnings and notes: {others}, not read: {unreadable}"
        ),
    };
    text
}

fn one(text: &mut String, path: &str, source: &str, finding: &Finding) {
    let Finding {
        line,
        column,
        severity,
        rule,
        message,
    } = finding;
    let severity = match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let _ = writeln!(
        text,
        "{}:{line}:{column}: {severity}: {} [{rule}]",
        visible(path),
        visible(message)
    );
    if let Some(shown) = source
        .lines()
        .nth(line - 1)
        .filter(|shown| shown.chars().count() <= 200)
    {
        let number = line.to_string();
        let gap = " ".repeat(number.len());
        // Under a tab stands a tab, so that the mark is below its place.
        let before: String = shown
            .chars()
            .take(column - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let _ = writeln!(
            text,
            "{gap} |\n{number} | {}\n{gap} | {before}^\n",
            visible(shown)
        );
    } else {
        text.push('\n');
    }
}

/// A file may hold what a terminal would obey.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// For programs: one document, `{files, findings: [{file, line, column, severity, rule, message}],
/// unreadable: [{file, message}]}`.
pub fn json(all: &[Checked]) -> Value {
    let mut findings = Vec::new();
    let mut unreadable = Vec::new();
    for file in all {
        let path = file.path.to_string_lossy();
        match &file.findings {
            Err(why) => unreadable.push(json!({"file": path, "message": why})),
            Ok(found) => findings.extend(found.iter().map(|finding| {
                json!({
                    "file": path, "line": finding.line, "column": finding.column, "severity": finding.severity,
                    "rule": finding.rule, "message": finding.message,
                })
            })),
        }
    }
    json!({"files": all.len(), "findings": findings, "unreadable": unreadable})
}
