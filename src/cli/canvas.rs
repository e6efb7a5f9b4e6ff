//! Lines on a terminal that are drawn over and over, above the shell's prompt.

use unicode_width::UnicodeWidthStr;

use super::error::CliError;
use super::screen::{Screen, cut};
use super::settings::variable;

/// Lines of the terminal that are left free: the shell's prompt, and one for the cursor.
const FREE_LINES: usize = 2;
/// Lines of a terminal that does not report its size.
const LINES: usize = 24;

/// The lines on the terminal.
pub(super) struct Canvas {
    screen: Screen,
    /// The widths of the lines that are drawn above the cursor.
    drawn: Vec<usize>,
    /// The terminal's width at that time.
    columns: usize,
}

/// How much room there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) columns: usize,
    pub(super) lines: usize,
}

impl Canvas {
    /// `None` if standard output can't be drawn on.
    pub(super) fn open(screen: Screen) -> Option<Self> {
        let is_dumb = variable("TERM").is_none_or(|term| term == "dumb");
        let can_draw = screen.stdout_is_terminal && !screen.json && !is_dumb;
        can_draw.then_some(Self {
            screen,
            drawn: Vec::new(),
            columns: 0,
        })
    }

    pub(super) fn room() -> Room {
        let size = terminal_size::terminal_size_of(std::io::stdout());
        let (columns, lines) = size.map_or((80, LINES), |(width, height)| {
            (usize::from(width.0), usize::from(height.0))
        });
        Room {
            // The last column stays free: some terminals wrap when it is written.
            columns: columns.saturating_sub(1),
            lines: lines.saturating_sub(FREE_LINES).max(3),
        }
    }

    /// Draws these lines in the place of the ones before.
    pub(super) fn draw(&mut self, lines: &[Line]) -> Result<(), CliError> {
        let mut text = self.back();
        let columns = Self::room().columns;
        if std::mem::replace(&mut self.columns, columns) != columns {
            // Some terminals remember which lines were wrapped, unless they are cleared first.
            text.push_str("\x1b[J");
        }
        for line in lines {
            text.push_str(&line.painted);
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J");
        self.drawn = lines.iter().map(|line| line.width).collect();
        self.screen.data(&text)
    }

    /// Removes the lines, so that something else can be printed.
    pub(super) fn clear(&mut self) -> Result<(), CliError> {
        let text = self.back() + "\x1b[J";
        self.drawn.clear();
        self.screen.data(&text)
    }

    /// Moves the cursor to the first line. On a terminal that has become narrower since, a line
    /// takes several rows.
    fn back(&self) -> String {
        let columns = Self::room().columns + 1;
        let rows = |width: &usize| width.div_ceil(columns).max(1);
        match self.drawn.iter().map(rows).sum::<usize>() {
            0 => String::new(),
            rows => format!("\x1b[{rows}A\r"),
        }
    }
}

/// A line to draw.
pub(super) struct Line {
    width: usize,
    painted: String,
}

impl Line {
    /// A line of harmless text, cut to the room, and painted by `paint`.
    pub(super) fn new(text: &str, columns: usize, paint: impl FnOnce(&str) -> String) -> Self {
        let text = cut(text, columns);
        Self {
            width: text.width(),
            painted: paint(&text),
        }
    }

    /// A line that fits already: its text, and the same in colours.
    pub(super) fn fitting(text: &str, painted: String) -> Self {
        Self {
            width: text.width(),
            painted,
        }
    }
}
