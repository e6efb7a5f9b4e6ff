//! The progress line: one line at the bottom of a terminal, on standard error, cleared before
//! anything else is written.

use std::io::Write;
use std::time::{Duration, Instant};

use hyprbox_protocol::parse_step_line;
use unicode_width::UnicodeWidthStr;

use super::screen::{self, Screen};
use super::settings::variable;

/// How often the progress line is redrawn.
pub(super) const REDRAW_INTERVAL: Duration = Duration::from_secs(1);

/// The job's progress, as its output announces it.
pub(super) struct Progress {
    /// Whether there is a terminal to draw on.
    on: bool,
    /// Whether to draw with escape sequences; without them, blanks clear the line.
    escapes: bool,
    /// Whether the job's output goes to the same terminal: then the progress line is drawn only
    /// after a complete line.
    shares_screen: bool,
    began: Instant,
    activity: String,
    /// The last step that was announced.
    step: Option<String>,
    /// Number of columns drawn.
    drawn: usize,
    /// The output's last line is unfinished.
    mid_line: bool,
    /// The beginning of the output's last line, which may announce a step.
    line: Vec<u8>,
}

impl Progress {
    pub(super) fn new(screen: &Screen, activity: &str) -> Self {
        Self {
            on: can_draw(screen),
            escapes: screen.stderr_escapes,
            shares_screen: screen.stdout_is_terminal,
            began: Instant::now(),
            activity: activity.to_owned(),
            step: None,
            drawn: 0,
            mid_line: false,
            line: Vec::new(),
        }
    }

    /// Shows this activity instead of the last step.
    pub(super) fn set_activity(&mut self, words: &str) {
        words.clone_into(&mut self.activity);
        self.draw();
    }

    /// Scans output for steps.
    pub(super) fn scan(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte != b'\n' {
                // A step's name is one line of at most 200 characters.
                if self.line.len() < 1_000 {
                    self.line.push(*byte);
                }
                continue;
            }
            if let Some(step) = step_of(&self.line) {
                self.activity.clone_from(&step);
                self.step = Some(step);
            }
            self.line.clear();
        }
        self.mid_line = self.shares_screen && bytes.last().is_some_and(|last| *last != b'\n');
    }

    /// `step 2 of 5: Set the SSH port`, if one was announced.
    pub(super) fn step(&self) -> Option<&str> {
        self.step.as_deref()
    }

    pub(super) fn draw(&mut self) {
        if !self.on || self.mid_line {
            return;
        }
        let width = terminal_width();
        let line = format!("{} \u{b7} {}", self.activity, elapsed(self.began.elapsed()));
        let line = screen::cut(&super::safe::line(&line), width.saturating_sub(1));
        if self.escapes {
            self.write(&format!("\r\x1b[K\x1b[2m{line}\x1b[0m"));
        } else {
            self.clear();
            self.write(&line);
        }
        self.drawn = line.width();
    }

    pub(super) fn clear(&mut self) {
        match std::mem::take(&mut self.drawn) {
            0 => {}
            _ if self.escapes => self.write("\r\x1b[K"),
            width => self.write(&format!("\r{:width$}\r", "")),
        }
    }

    fn write(&self, text: &str) {
        let mut stderr = std::io::stderr();
        // If the terminal is gone, nobody sees the line.
        let _gone = stderr
            .write_all(text.as_bytes())
            .and_then(|()| stderr.flush());
    }
}

/// Clears a progress line that the reporter may have left.
pub(super) fn clear_line(screen: &Screen) {
    if can_draw(screen) {
        let text = if screen.stderr_escapes {
            "\r\x1b[K".to_owned()
        } else {
            let width = terminal_width().saturating_sub(1);
            format!("\r{:width$}\r", "")
        };
        let _gone = std::io::stderr().write_all(text.as_bytes());
    }
}

/// Whether there is a terminal that can overwrite a line.
fn can_draw(screen: &Screen) -> bool {
    let is_dumb = variable("TERM").is_some_and(|term| term == "dumb");
    screen.stderr_is_terminal && !screen.json && !is_dumb
}

fn terminal_width() -> usize {
    terminal_size::terminal_size_of(std::io::stderr()).map_or(80, |(width, _)| usize::from(width.0))
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// `step 2 of 5: Set the SSH port`
fn step_of(line: &[u8]) -> Option<String> {
    let step = parse_step_line(std::str::from_utf8(line).ok()?)?;
    let mut words = format!("step {} of {}: {}", step.number, step.of, step.name);
    if step.is_done {
        words.push_str(" (already done)");
    }
    Some(words)
}

/// `0:07`, `12:34`, `1:02:03`
pub(super) fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_from_their_announcement() {
        assert_eq!(
            step_of(b"==> [2/5] Set the SSH port").as_deref(),
            Some("step 2 of 5: Set the SSH port")
        );
        assert_eq!(
            step_of(b"==> [2/5] Set the SSH port (already done)").as_deref(),
            Some("step 2 of 5: Set the SSH port (already done)")
        );
        for other in [&b"==> [x/5] no"[..], b"==> [1/2] \xff"] {
            assert_eq!(step_of(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_step_is_found_however_the_output_is_cut() {
        let mut progress = Progress {
            on: false,
            escapes: true,
            shares_screen: true,
            began: Instant::now(),
            activity: String::new(),
            step: None,
            drawn: 0,
            mid_line: false,
            line: Vec::new(),
        };
        for bytes in [&b"x\n==> [1/"[..], b"2] Fir", b"st\nhel"] {
            progress.scan(bytes);
        }
        assert_eq!(progress.activity, "step 1 of 2: First");
        assert!(progress.mid_line);
    }

    #[test]
    fn time_in_words() {
        for (seconds, words) in [(7, "0:07"), (754, "12:34"), (3_723, "1:02:03")] {
            assert_eq!(elapsed(Duration::from_secs(seconds)), words);
        }
    }
}
