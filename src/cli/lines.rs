//! Writes a job's output, or only its last lines.

use std::collections::VecDeque;

use hyprbox_protocol::{StepOrder, parse_step_line};

use super::error::CliError;
use super::safe;
use super::screen::Screen;

/// Writes a job's output to standard output: unchanged into a pipe or a file, made harmless on a
/// terminal.
pub(super) struct Output {
    screen: Screen,
    terminal: Option<safe::Terminal>,
}

impl Output {
    pub(super) fn new(screen: Screen) -> Self {
        let terminal = screen
            .stdout_is_terminal
            .then(|| safe::Terminal::new(screen.colors, screen.columns()));
        Self { screen, terminal }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        match &mut self.terminal {
            None => self.screen.bytes(bytes),
            Some(terminal) => self.screen.bytes(&terminal.pass(bytes)),
        }
    }

    /// Ends the line on the terminal, so that a message begins on a line of its own.
    pub(super) fn end_line(&mut self) -> Result<(), CliError> {
        match &self.terminal {
            Some(terminal) if terminal.is_in_line() => self.screen.bytes(b"\n"),
            _ => Ok(()),
        }
    }

    /// Resets the terminal's colours.
    pub(super) fn finish(&mut self) -> Result<(), CliError> {
        match &mut self.terminal {
            None => Ok(()),
            Some(terminal) => self.screen.bytes(&terminal.finish()),
        }
    }
}

/// Keeps what came since the last step was announced, or everything if none was.
pub(super) struct LastStep {
    bytes: Vec<u8>,
    /// Where the last line begins, which may be unfinished.
    line: usize,
    order: StepOrder,
}

impl Default for LastStep {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            line: 0,
            // The first steps may be gone from the kept output.
            order: StepOrder {
                has_gap: true,
                ..StepOrder::default()
            },
        }
    }
}

impl LastStep {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.bytes.extend_from_slice(piece);
            let Some(line) = self.bytes[self.line..].strip_suffix(b"\n") else {
                return;
            };
            let step = std::str::from_utf8(line).ok().and_then(parse_step_line);
            // A failed verify, and scripts themselves, print lines that look alike.
            if step.is_some_and(|step| self.order.accept(&step)) {
                self.bytes.drain(..self.line);
            }
            self.line = self.bytes.len();
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Keeps the last lines; the very last one may be incomplete.
pub(super) struct LastLines {
    most: usize,
    lines: VecDeque<Vec<u8>>,
}

impl LastLines {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            lines: VecDeque::new(),
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.most == 0 {
            return;
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match self.lines.back_mut() {
                Some(last) if last.last() != Some(&b'\n') => last.extend_from_slice(piece),
                _ => self.lines.push_back(piece.to_vec()),
            }
            if self.lines.len() > self.most {
                self.lines.pop_front();
            }
        }
    }

    /// Removes and returns the lines.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.lines.drain(..).flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{LastLines, LastStep};

    #[test]
    fn the_last_step_however_the_bytes_are_cut() {
        for (text, last) in [
            (
                "==> [1/2] One\nx\n==> [2/2] Two\ny\nz",
                "==> [2/2] Two\ny\nz",
            ),
            ("before\n==> [1/2] One\n", "==> [1/2] One\n"),
            (
                "==> [1/2] One\n==> [1/2] verify failed: One\n",
                "==> [1/2] One\n==> [1/2] verify failed: One\n",
            ),
            (
                "no step\n==> [1/2] unfinished",
                "no step\n==> [1/2] unfinished",
            ),
            ("", ""),
        ] {
            for piece in 1..=text.len() {
                let mut step = LastStep::default();
                text.as_bytes().chunks(piece).for_each(|b| step.push(b));
                assert_eq!(step.bytes(), last.as_bytes(), "in pieces of {piece}");
            }
        }
    }

    #[test]
    fn the_last_lines_however_the_bytes_are_cut() {
        let text = b"one\ntwo\n\nfour\nfive";
        for (most, expected) in [
            (0, &b""[..]),
            (1, b"five"),
            (2, b"four\nfive"),
            (3, b"\nfour\nfive"),
            (9, text),
        ] {
            for piece in 1..=text.len() {
                let mut lines = LastLines::new(most);
                text.chunks(piece).for_each(|bytes| lines.push(bytes));
                assert_eq!(lines.take(), expected, "{most} lines in pieces of {piece}");
            }
        }
    }
}
