//! Errors of the command line: a message with the fix, and an exit code.

use std::collections::BTreeMap;
use std::fmt;

/// Exit codes of this program. A job's script has its own.
pub(super) mod exit {
    pub(crate) const USAGE: u8 = 64;
    pub(crate) const TIMED_OUT: u8 = 124;
    pub(crate) const FAILED: u8 = 125;
    pub(crate) const REFUSED: u8 = 126;
    pub(crate) const NOT_FOUND: u8 = 127;
    pub(crate) const INTERRUPTED: u8 = 130;
    pub(crate) const KILLED: u8 = 137;
    pub(crate) const PIPE_CLOSED: u8 = 141;
    pub(crate) const CANCELLED: u8 = 143;
}

/// An error: what is wrong, then how to fix it.
#[derive(Debug)]
pub(super) struct CliError {
    /// The program's exit code.
    pub(super) code: u8,
    /// One line.
    pub(super) message: String,
    /// One line each: invalid fields, and how to fix the problem.
    pub(super) hints: Vec<String>,
    /// The API's code and fields, if the server returned the error.
    pub(super) api: Option<(String, BTreeMap<String, String>)>,
}

impl CliError {
    pub(super) fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hints: Vec::new(),
            api: None,
        }
    }

    /// This program or the server failed.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::new(exit::FAILED, message)
    }

    /// The command line is invalid.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(exit::USAGE, message)
    }

    /// The named object doesn't exist.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(exit::NOT_FOUND, message)
    }

    /// Adds a line on how to fix the problem.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Whether the server refused with that code.
    pub(super) fn has_code(&self, code: &str) -> bool {
        self.api.as_ref().is_some_and(|(known, _)| known == code)
    }

    /// Whether nothing should be printed: the reader of the output closed it.
    pub(super) fn is_silent(&self) -> bool {
        self.message.is_empty()
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hyprbox: {}", self.message)?;
        for hint in &self.hints {
            write!(f, "\n  {hint}")?;
        }
        Ok(())
    }
}

impl From<std::io::Error> for CliError {
    /// An error of writing output. A closed pipe is not reported.
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::new(exit::PIPE_CLOSED, "");
        }
        Self::failed(format!(
            "the output can't be written: {}",
            io_message(&error)
        ))
    }
}

/// A system error's message without its number.
pub(super) fn io_message(error: &std::io::Error) -> String {
    without_errno(error.to_string())
}

/// Any error's message without its number.
pub(super) fn without_errno(words: String) -> String {
    match words.split_once(" (os error") {
        Some((plain, _)) => plain.to_owned(),
        None => words,
    }
}

/// Up to three of `known` that resemble `given`, the closest first.
pub(super) fn closest<'k>(given: &str, known: impl IntoIterator<Item = &'k str>) -> Vec<&'k str> {
    let mut ranked: Vec<(f64, &str)> = known
        .into_iter()
        .map(|name| {
            let contains = !given.is_empty() && (name.contains(given) || given.contains(name));
            let alike = strsim::jaro_winkler(given, name);
            (if contains { alike.max(0.9) } else { alike }, name)
        })
        .filter(|(alike, _)| *alike > 0.75)
        .collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let best = ranked.first().map_or(0.0, |(alike, _)| *alike);
    ranked
        .into_iter()
        // Names that are much less similar than the best one are left out.
        .take_while(|(alike, _)| *alike > best - 0.06)
        .take(3)
        .map(|(_, name)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_names_come_first() {
        let known = ["prod-eu-1", "prod-eu-2", "backup", "prod-us-1"];
        assert_eq!(closest("prod-eu1", known)[0], "prod-eu-1");
        assert_eq!(closest("bakcup", known), ["backup"]);
        let users = ["admin@example.org", "ann@example.org"];
        assert_eq!(closest("an@example.org", users), ["ann@example.org"]);
        assert!(closest("zzz", known).is_empty());
        assert!(closest("", known).is_empty());
    }
}
