//! Tables, with columns aligned by display width.

use unicode_width::UnicodeWidthStr;

use super::safe;
use super::screen::Paint;

/// Rows with a heading.
pub(super) struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// One cell. Its text is made one harmless line.
pub(super) struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    pub(super) fn painted(text: impl Into<String>, paint: Paint) -> Self {
        let text = safe::line(&text.into());
        // An empty cell would look like a shifted column.
        let text = if text.is_empty() {
            "-".to_owned()
        } else {
            text
        };
        Self { text, paint }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::painted(text, Paint::Plain)
    }
}

impl Table {
    pub(super) fn new(heading: &[&'static str]) -> Self {
        Self {
            heading: heading.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Renders the table, with colours if `colors`.
    pub(super) fn render(&self, colors: bool) -> String {
        let mut widths: Vec<usize> = self.heading.iter().map(|text| text.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        let mut out = String::new();
        let heading: Vec<Cell> = self
            .heading
            .iter()
            .map(|text| Cell::painted(*text, Paint::Bold))
            .collect();
        for row in std::iter::once(&heading).chain(&self.rows) {
            let last = row.len().saturating_sub(1);
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                out.push_str(&cell.paint.of(&cell.text, colors));
                if column != last {
                    let gap = width - cell.text.width() + 2;
                    out.push_str(&" ".repeat(gap));
                }
            }
            out.push('\n');
        }
        out
    }
}

/// Names and values, one pair per line.
pub(super) fn facts(pairs: &[(&str, Cell)], colors: bool) -> String {
    let width = pairs
        .iter()
        .map(|(name, _)| name.width())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for (name, cell) in pairs {
        let gap = " ".repeat(width - name.width() + 2);
        let shown = cell.paint.of(&cell.text, colors);
        out.push_str(&format!("{}{gap}{shown}\n", Paint::Bold.of(name, colors)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_by_what_a_terminal_shows() {
        let mut table = Table::new(&["NAME", "STATUS"]);
        table.row(["\u{65e5}\u{672c}\u{8a9e}".into(), "OK".into()]);
        table.row(["e\u{301}".into(), Cell::painted("BAD", Paint::Red)]);
        table.row([String::new().into(), "a\nb\x1b]0;x".into()]);
        let expected = "NAME    STATUS\n\u{65e5}\u{672c}\u{8a9e}  OK\ne\u{301}       BAD\n-       a b\u{241b}]0;x\n";
        assert_eq!(table.render(false), expected);
        assert!(table.render(true).contains("\x1b[31mBAD\x1b[0m"));
    }

    #[test]
    fn facts_align_too() {
        let facts = facts(&[("id", "1".into()), ("status", "OK".into())], false);
        assert_eq!(facts, "id      1\nstatus  OK\n");
    }
}
