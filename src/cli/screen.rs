//! The two outputs: data goes to standard output, notes to standard error. Each may be a terminal.

use std::io::{IsTerminal, Write};

use serde::Serialize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::args::{Color, Common};
use super::error::CliError;
use super::safe;
use super::settings::variable;
use crate::store::job::JobStatus;

/// A colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

impl Paint {
    pub(super) fn of(self, text: &str, colors: bool) -> String {
        let code = match self {
            _ if !colors => return text.to_owned(),
            Self::Plain => return text.to_owned(),
            Self::Bold => 1,
            Self::Dim => 2,
            Self::Red => 31,
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Cyan => 36,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// The colour of a job's state.
    pub(super) fn of_status(status: JobStatus) -> Self {
        match status {
            JobStatus::Queued => Self::Dim,
            JobStatus::Running => Self::Cyan,
            JobStatus::Succeeded => Self::Green,
            JobStatus::Failed => Self::Red,
            JobStatus::Cancelled => Self::Yellow,
        }
    }
}

/// How a command writes its output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    pub(super) json: bool,
    /// Colours on standard output.
    pub(super) colors: bool,
    /// Escapes on standard error, where the progress line is.
    pub(super) stderr_escapes: bool,
    pub(super) stdout_is_terminal: bool,
    pub(super) stderr_is_terminal: bool,
}

impl Screen {
    pub(super) fn new(common: &Common) -> Self {
        Self::with(common.json, common.color)
    }

    pub(super) fn with(json: bool, color: Color) -> Self {
        let stdout_is_terminal = std::io::stdout().is_terminal();
        let stderr_is_terminal = std::io::stderr().is_terminal();
        Self {
            json,
            colors: wants_colors(color, stdout_is_terminal, &variable),
            stderr_escapes: wants_colors(color, stderr_is_terminal, &variable),
            stdout_is_terminal,
            stderr_is_terminal,
        }
    }

    /// How wide the terminal on standard output is.
    pub(super) fn columns(&self) -> usize {
        terminal_size::terminal_size_of(std::io::stdout())
            .map_or(80, |(width, _)| usize::from(width.0))
    }

    /// Writes data.
    pub(super) fn data(&self, text: &str) -> Result<(), CliError> {
        self.bytes(text.as_bytes())
    }

    /// Writes bytes unchanged.
    pub(super) fn bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes)?;
        Ok(stdout.flush()?)
    }

    /// Writes foreign text: unchanged into a pipe, made harmless on a terminal.
    pub(super) fn text(&self, bytes: &[u8]) -> Result<(), CliError> {
        if !self.stdout_is_terminal {
            return self.bytes(bytes);
        }
        let mut terminal = safe::Terminal::new(self.colors, self.columns());
        let mut shown = terminal.pass(bytes);
        shown.extend(terminal.finish());
        self.bytes(&shown)
    }

    /// Writes one JSON value: on one line for programs, on several lines on a terminal.
    pub(super) fn value(&self, value: &impl Serialize) -> Result<(), CliError> {
        let text = if self.stdout_is_terminal {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        let text = text.map_err(|error| CliError::failed(error.to_string()))?;
        // JSON escapes C0 controls; `text` handles the rest.
        self.text(format!("{text}\n").as_bytes())
    }

    /// Writes one JSON value on a line of its own.
    pub(super) fn json_line(&self, value: &impl Serialize) -> Result<(), CliError> {
        let text =
            serde_json::to_string(value).map_err(|error| CliError::failed(error.to_string()))?;
        self.text(format!("{text}\n").as_bytes())
    }
}

/// The flag decides, then NO_COLOR, then CLICOLOR_FORCE, then whether it is a terminal.
fn wants_colors(
    color: Color,
    is_terminal: bool,
    variable: &dyn Fn(&str) -> Option<String>,
) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto if variable("NO_COLOR").is_some() => false,
        Color::Auto if variable("CLICOLOR_FORCE").is_some_and(|value| value != "0") => true,
        Color::Auto => is_terminal && variable("TERM").is_none_or(|term| term != "dumb"),
    }
}

/// Prints a note to standard error.
pub(super) fn print_note(text: &str) {
    let lines: Vec<String> = text.lines().map(safe::line).collect();
    // If standard error is closed, the note is dropped.
    let _gone = writeln!(std::io::stderr(), "{}", lines.join("\n"));
}

/// Truncates text to a width in columns.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let mut end = 0;
    let mut is_joined = false;
    // Joined characters, and marks with their character, are kept or left out as a whole.
    for (at, c) in text.char_indices() {
        let wide = c.width().unwrap_or(0);
        if wide > 0 && !is_joined {
            end = at;
        }
        if wide > left {
            break;
        }
        left -= wide;
        is_joined = c == '\u{200d}';
    }
    format!("{}\u{2026}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_decides_on_colours() {
        let wants = |color, terminal, set: &[(&str, &str)]| {
            wants_colors(color, terminal, &|name| {
                let pair = set.iter().find(|(key, _)| *key == name);
                pair.map(|(_, value)| (*value).to_owned())
            })
        };
        let (no, force) = (("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1"));
        assert!(wants(Color::Auto, true, &[]));
        assert!(!wants(Color::Auto, false, &[]));
        assert!(!wants(Color::Auto, true, &[no]));
        assert!(wants(Color::Auto, false, &[force]));
        assert!(!wants(Color::Auto, false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!wants(Color::Auto, true, &[no, force]));
        assert!(!wants(Color::Auto, true, &[("TERM", "dumb")]));
        assert!(wants(Color::Always, false, &[no]));
        assert!(!wants(Color::Never, true, &[force]));
    }

    #[test]
    fn text_is_cut_by_its_width() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab\u{2026}");
        assert_eq!(cut("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}\u{2026}");
        assert_eq!(cut("a\u{1f468}\u{200d}\u{1f469}bcd", 4), "a\u{2026}");
        assert_eq!(cut("\u{65e5}\u{672c}\u{8a9e}", 4), "\u{65e5}\u{2026}");
    }
}
