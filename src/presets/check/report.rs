//! Prints findings as a compiler does, and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Checked, Finding, Severity};

/// For people: each finding with its line of the file, and the totals at the end.
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
        (0, 0, 0) => writeln!(text, "{files}: no problems found"),
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
        printable(path),
        printable(message)
    );
    if let Some(text_line) = source
        .lines()
        .nth(line - 1)
        .filter(|text_line| text_line.chars().count() <= 200)
    {
        let number = line.to_string();
        let gap = " ".repeat(number.len());
        // Tabs are kept, so that the mark is below its character.
        let before: String = text_line
            .chars()
            .take(column - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let _ = writeln!(
            text,
            "{gap} |\n{number} | {}\n{gap} | {before}^\n",
            printable(text_line)
        );
    } else {
        text.push('\n');
    }
}

/// Replaces control characters, which a terminal would execute.
fn printable(text: &str) -> String {
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
