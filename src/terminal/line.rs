//! One line of output with a cursor. Columns are a terminal's: a wide character has two.

use std::cell::Cell as Shared;

use unicode_width::UnicodeWidthChar;

use super::Erase;

/// How far the cursor may move beyond the printed text: terminals have a limited width.
const COLUMNS_MAX: usize = 200;
/// Lines with more characters ignore cursor moves.
const LENGTH_MAX: usize = 4_096;
const TAB: usize = 8;

/// One character, or a mark on the previous one, with no width.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) character: char,
    /// The caller's style.
    pub(crate) style: u16,
    width: u8,
}

/// The line that is being printed.
#[derive(Debug, Default)]
pub(crate) struct Line {
    cells: Vec<Cell>,
    width: usize,
    /// Not every cell is one column wide.
    is_uneven: bool,
    /// The cursor's column; `None` if it is at the end.
    column: Option<usize>,
    /// The cell and the column that were looked up last. Lookups start here, as a cursor mostly
    /// moves by little; changes are only made from here on.
    last_lookup: Shared<(usize, usize)>,
}

impl Line {
    /// Everything up to the cursor, and how many blanks follow up to it.
    pub(crate) fn before_cursor(&self) -> (&[Cell], usize) {
        match self.column {
            None => (&self.cells, 0),
            Some(column) if column >= self.width => (&self.cells, column - self.width),
            Some(column) => {
                let (index, start) = self.cell_at(column);
                (&self.cells[..index], column - start)
            }
        }
    }

    pub(crate) fn text(&self) -> impl Iterator<Item = char> {
        self.cells.iter().map(|cell| cell.character)
    }

    /// How many columns it takes up.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Whether it is short enough for the cursor to move in it.
    pub(crate) fn is_short(&self) -> bool {
        self.cells.len() < LENGTH_MAX
    }

    pub(crate) fn clear(&mut self) {
        *self = Self {
            cells: std::mem::take(&mut self.cells),
            ..Self::default()
        };
        self.cells.clear();
    }

    /// Prints a character where the cursor is.
    pub(crate) fn put(&mut self, character: char, style: u16) {
        let Some(column) = self.column else {
            return self.append(character, style);
        };
        if column >= self.width {
            self.blanks(column - self.width);
            self.column = None;
            return self.append(character, style);
        }
        if character == '\t' {
            return self.move_to(column + TAB - column % TAB);
        }
        let (index, start) = self.cell_at(column);
        let width = self.width_of(character, index);
        if width == 0 {
            let cell = Cell {
                character,
                style,
                width: 0,
            };
            self.cells.insert(index, cell);
            self.is_uneven = true;
            return;
        }
        // Replaces the covered cells with their marks. The uncovered half of a wide character
        // becomes blank.
        let (mut end, mut covered) = (index, start);
        while end < self.cells.len() && (covered < column + width || self.cells[end].width == 0) {
            covered += usize::from(self.cells[end].width);
            end += 1;
        }
        let blank = Cell {
            character: ' ',
            style: 0,
            width: 1,
        };
        let cell = Cell {
            character,
            style,
            width: u8::try_from(width).unwrap_or(1),
        };
        let after = covered.saturating_sub(column + width);
        let new = std::iter::repeat_n(blank, column - start)
            .chain([cell])
            .chain(std::iter::repeat_n(blank, after));
        self.cells.splice(index..end, new);
        self.is_uneven |= width != 1;
        self.width = self.width.max(column + width);
        self.move_to(column + width);
    }

    fn append(&mut self, character: char, style: u16) {
        let width = match character {
            '\t' => TAB - self.width % TAB,
            _ => self.width_of(character, self.cells.len()),
        };
        self.cells.push(Cell {
            character,
            style,
            width: u8::try_from(width).unwrap_or(1),
        });
        self.width += width;
        self.is_uneven |= width != 1;
    }

    /// The character's width as the cell `index`: 0 if it is part of the previous one.
    fn width_of(&self, character: char, index: usize) -> usize {
        let before = index.checked_sub(1).and_then(|at| self.cells.get(at));
        let is_skin = matches!(character, '\u{1f3fb}'..='\u{1f3ff}');
        match before {
            Some(cell) if cell.character == '\u{200d}' || (is_skin && cell.width != 1) => 0,
            Some(_) | None => character.width().unwrap_or(0),
        }
    }

    fn blanks(&mut self, count: usize) {
        for _ in 0..count {
            self.append(' ', 0);
        }
    }

    /// The cell that covers a column, and its first column. A mark belongs to the previous cell.
    fn cell_at(&self, column: usize) -> (usize, usize) {
        // Each cell has one column.
        if !self.is_uneven {
            return (column.min(self.width), column.min(self.width));
        }
        let (mut index, mut start) = self.last_lookup.get();
        while start > column {
            index -= 1;
            start -= usize::from(self.cells[index].width);
        }
        while let Some(cell) = self.cells.get(index) {
            let width = usize::from(cell.width);
            if width > 0 && start + width > column {
                break;
            }
            start += width;
            index += 1;
        }
        self.last_lookup.set((index, start));
        (index, start)
    }

    pub(crate) fn move_left(&mut self, by: usize) {
        let column = self.column.unwrap_or(self.width);
        self.move_to(column.saturating_sub(by));
    }

    pub(crate) fn move_right(&mut self, by: usize) {
        let column = self.column.unwrap_or(self.width);
        self.move_to(column.saturating_add(by));
    }

    pub(crate) fn move_to(&mut self, column: usize) {
        let column = column.min(self.width.max(COLUMNS_MAX));
        self.column = (self.is_short() && column != self.width).then_some(column);
    }

    pub(crate) fn erase(&mut self, what: Erase) {
        let column = self.column.unwrap_or(self.width);
        match what {
            Erase::ToEnd => self.cut(column),
            Erase::All => self.cut(0),
            Erase::ToStart => {
                let rest = column.min(self.width);
                self.move_to(0);
                for _ in 0..rest {
                    self.put(' ', 0);
                }
            }
        }
        self.move_to(column);
    }

    fn cut(&mut self, column: usize) {
        if column >= self.width {
            return;
        }
        let (index, start) = self.cell_at(column);
        self.cells.truncate(index);
        self.width = start;
        self.blanks(column - start);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lookups_from_the_last_one_find_the_same_cells(
            steps in proptest::collection::vec((0_u8..6, 0_usize..30), 0..200),
        ) {
            let (mut near, mut fresh) = (Line::default(), Line::default());
            for (step, by) in steps {
                fresh.last_lookup.set((0, 0));
                for line in [&mut near, &mut fresh] {
                    match step {
                        0 => line.move_to(by),
                        1 => line.move_left(by % 4),
                        2 => line.put(['a', '\u{65e5}', '\u{301}', '\t'][by % 4], 0),
                        3 => line.erase([Erase::ToEnd, Erase::ToStart, Erase::All][by % 3]),
                        _ => line.put('\u{65e5}', 1),
                    }
                }
                let texts: Vec<String> = [&near, &fresh].map(|line| line.text().collect()).into();
                prop_assert_eq!(&texts[0], &texts[1]);
                prop_assert_eq!((near.width, near.column), (fresh.width, fresh.column));
            }
        }
    }
}
