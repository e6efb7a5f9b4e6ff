//! The two outputs: data goes to standard output, notes to standard error. Each may be a terminal.

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use serde_json::Value;

use super::args::{Color, Common, Format, Output};
use super::error::CliError;
pub(super) use super::paint::{Paint, cut};
use super::safe;
use super::settings::variable;
use super::table::Table;

/// Characters of an id that a table on a terminal shows.
pub(super) const SHOWN: usize = 8;

/// How a command writes its output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    pub(super) json: bool,
    format: Format,
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
            format: Format::Table,
            colors: wants_colors(color, stdout_is_terminal, &variable),
            stderr_escapes: wants_colors(color, stderr_is_terminal, &variable),
            stdout_is_terminal,
            stderr_is_terminal,
        }
    }

    /// The same, printing in the format that the command's flag names.
    pub(super) fn formatted(self, output: Output) -> Self {
        let format = output.format.unwrap_or(self.format);
        Self {
            json: self.json || format == Format::Json,
            format,
            ..self
        }
    }

    /// Whether somebody at a terminal can answer a question.
    pub(super) fn has_person(&self) -> bool {
        std::io::stdin().is_terminal() && self.stderr_is_terminal && !self.json
    }

    /// Writes a response's JSON, or only ids or names, one per line. Returns false if neither is
    /// wanted.
    pub(super) fn is_done_with(
        &self,
        json: &Value,
        names: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<bool, CliError> {
        if self.json {
            self.value(json)?;
        } else if self.format == Format::Name {
            let lines = names.into_iter();
            let lines = lines.map(|name| format!("{}\n", safe::line(name.as_ref())));
            self.data(&lines.collect::<String>())?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Writes a table, which fits the terminal.
    pub(super) fn table(&self, table: &Table) -> Result<(), CliError> {
        let columns = self.is_narrow().then(|| self.columns());
        self.data(&table.render(self.colors, columns))
    }

    /// An id in a table: the end of it on a terminal.
    pub(super) fn id<'i>(&self, id: &'i str) -> &'i str {
        match self.is_narrow() {
            true => end_of(id),
            false => id,
        }
    }

    /// Whether a table must fit a terminal.
    fn is_narrow(&self) -> bool {
        self.stdout_is_terminal && self.format != Format::Wide
    }

    /// How wide the terminal on standard output is.
    pub(super) fn columns(&self) -> usize {
        terminal_size::terminal_size_of(std::io::stdout())
            .map_or(80, |(width, _)| usize::from(width.0))
    }

    /// Fails like a write would if the reader of standard output is gone. A command that waits for
    /// long calls this, since it may have nothing to write.
    pub(super) fn check_reader(&self) -> Result<(), CliError> {
        let stdout = std::io::stdout();
        let mut polled = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        let ready = poll(&mut polled, PollTimeout::ZERO);
        let events = polled[0].revents().unwrap_or(PollFlags::empty());
        match ready.is_ok() && events.contains(PollFlags::POLLERR) {
            true => Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe).into()),
            false => Ok(()),
        }
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

/// The last characters of an id, as tables show them. The first ones are the time, and alike in
/// jobs of the same hour.
pub(super) fn end_of(id: &str) -> &str {
    id.get(id.len().saturating_sub(SHOWN)..).unwrap_or(id)
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
}
