//! Tables, with columns aligned by display width. On a terminal a table fits the terminal.

use unicode_width::UnicodeWidthStr;

use super::paint::{Paint, cut};
use super::safe;

/// Blanks between two columns.
const GAP: usize = 2;
/// Columns shrink to this width before a column is left out.
const COMFORTABLE: usize = 16;
/// The least width of a column on a very narrow terminal.
const NARROWEST: usize = 4;

/// Rows with a heading.
pub(super) struct Table {
    heading: Vec<&'static str>,
    /// Columns that a narrow terminal does without, the first ones first.
    optional: &'static [&'static str],
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
            optional: &[],
            rows: Vec::new(),
        }
    }

    /// Names the columns that a narrow terminal does without, the first ones first.
    pub(super) fn optional(mut self, columns: &'static [&'static str]) -> Self {
        self.optional = columns;
        self
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Renders the table's lines, with colours if `colors`, in at most `columns` columns.
    pub(super) fn lines(&self, colors: bool, columns: Option<usize>) -> Vec<String> {
        let widths = self.widths(columns);
        let heading: Vec<Cell> = self
            .heading
            .iter()
            .map(|text| Cell::painted(*text, Paint::Bold))
            .collect();
        std::iter::once(&heading)
            .chain(&self.rows)
            .map(|row| line(row, &widths, colors))
            .collect()
    }

    /// Renders the table as text.
    pub(super) fn render(&self, colors: bool, columns: Option<usize>) -> String {
        let mut text = self.lines(colors, columns).join("\n");
        text.push('\n');
        text
    }

    /// The width of each column; `None` for one that is left out.
    fn widths(&self, columns: Option<usize>) -> Vec<Option<usize>> {
        let mut natural: Vec<usize> = self.heading.iter().map(|text| text.width()).collect();
        for row in &self.rows {
            for (width, cell) in natural.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        let natural: Vec<Option<usize>> = natural.into_iter().map(Some).collect();
        let Some(columns) = columns else {
            return natural;
        };
        let mut kept = natural;
        let mut widths = kept.clone();
        shrink(&mut widths, columns, COMFORTABLE);
        for name in self.optional {
            if total(&widths) <= columns {
                break;
            }
            if let Some(place) = self.heading.iter().position(|heading| heading == name) {
                kept[place] = None;
            }
            widths.clone_from(&kept);
            shrink(&mut widths, columns, COMFORTABLE);
        }
        shrink(&mut widths, columns, NARROWEST);
        widths
    }
}

/// The width of a line.
fn total(widths: &[Option<usize>]) -> usize {
    let kept = widths.iter().flatten();
    kept.clone().sum::<usize>() + GAP * kept.count().saturating_sub(1)
}

/// Takes from the widest columns until the table fits or none is wider than `least`. The first
/// column names the row and is left as it is, unless nothing else helps.
fn shrink(widths: &mut [Option<usize>], columns: usize, least: usize) {
    for names_too in [false, least == NARROWEST] {
        let first = usize::from(!names_too);
        while total(widths) > columns {
            let others = widths.iter_mut().skip(first).flatten();
            match others.max_by_key(|width| **width) {
                Some(width) if *width > least => *width -= 1,
                _ => break,
            }
        }
    }
}

fn line(row: &[Cell], widths: &[Option<usize>], colors: bool) -> String {
    let mut out = String::new();
    // Blanks before the next cell, so that a line has none at its end.
    let mut blanks = 0;
    for (cell, width) in row.iter().zip(widths) {
        let Some(width) = *width else {
            continue;
        };
        let text = cut(&cell.text, width);
        out.push_str(&" ".repeat(blanks));
        out.push_str(&cell.paint.of(&text, colors));
        blanks = width - text.width() + GAP;
    }
    out
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
        assert_eq!(table.render(false, None), expected);
        assert!(table.render(true, None).contains("\x1b[31mBAD\x1b[0m"));
    }

    #[test]
    fn a_table_fits_the_terminal_at_any_width() {
        let mut table = Table::new(&["ID", "TITLE", "SYSTEM", "NODE"]).optional(&["SYSTEM"]);
        table.row(["1a2b3c4d", &"t".repeat(40), "Debian GNU/Linux 12", "n1"].map(Cell::from));
        let lines = |columns| table.lines(false, Some(columns));
        assert_eq!(table.lines(false, None), lines(200));
        assert_eq!(
            lines(60)[1],
            format!(
                "1a2b3c4d  {}\u{2026}  Debian GNU/Linux 12  n1",
                "t".repeat(22)
            )
        );
        // A column that can be spared goes before the others get too narrow.
        assert_eq!(
            lines(40)[1],
            format!("1a2b3c4d  {}\u{2026}  n1", "t".repeat(23))
        );
        assert_eq!(lines(40)[0].split_whitespace().count(), 3);
        for columns in 16..200 {
            for line in lines(columns) {
                assert!(line.width() <= columns, "{columns}: {line}");
            }
        }
    }

    #[test]
    fn facts_align_too() {
        let facts = facts(&[("id", "1".into()), ("status", "OK".into())], false);
        assert_eq!(facts, "id      1\nstatus  OK\n");
    }
}
