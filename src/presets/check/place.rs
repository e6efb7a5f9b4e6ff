//! From a place in a step's text to the place in the YAML file that a person has open.

use crate::presets::locate::{Aim, Segment, locate};

/// Line and column, both from 1, in characters.
pub(super) type Place = (usize, usize);

/// A text of the preset (a `run`, an `unless`, a `verify`) and how it stands in the file.
pub(super) struct Scalar {
    /// Where the file has its value: the `|` of a block, the quote or the first character otherwise.
    start: Place,
    form: Form,
}

enum Form {
    /// `|`: line by line as written, but for the indentation.
    Block { indent: usize },
    /// On one line: the column of each character, and of the end.
    Line(Vec<usize>),
    /// Folded, or a quoted text over several lines: only its start is known.
    Opaque,
}

impl Scalar {
    /// The value at `path` in the YAML `file`, of which `text` was read.
    pub(super) fn find(file: &str, path: &[Segment<'_>], text: &str) -> Self {
        let start = locate(file, path, Aim::Value).unwrap_or((1, 1));
        let lines: Vec<&str> = file.lines().collect();
        let line = lines.get(start.0 - 1).copied().unwrap_or_default();
        let rest: Vec<char> = line.chars().skip(start.1 - 1).collect();
        let form = match rest.first() {
            Some('|') => block(&lines[start.0.min(lines.len())..], &rest, text),
            Some('\'') => on_one_line(&rest, start.1, text, single_quoted),
            Some('"') => on_one_line(&rest, start.1, text, double_quoted),
            Some('>' | '&' | '*' | '!') | None => Form::Opaque,
            Some(_) => on_one_line(&rest, start.1, text, |rest, at| {
                (at < rest.len()).then(|| (rest[at], 1))
            }),
        };
        Self { start, form }
    }

    /// Where line and column of the text are in the file.
    pub(super) fn place(&self, (line, column): Place) -> Place {
        match &self.form {
            Form::Block { indent } => (self.start.0 + line, indent + column),
            Form::Line(columns) => {
                let last = columns.last().copied().unwrap_or(self.start.1);
                let index = if line == 1 { column - 1 } else { columns.len() };
                (self.start.0, columns.get(index).copied().unwrap_or(last))
            }
            Form::Opaque => self.start,
        }
    }
}

/// `lines` are those behind the indicator.
fn block(lines: &[&str], header: &[char], text: &str) -> Form {
    // `|2` says how far the text is indented against its parent; that is known to YAML alone.
    if header.iter().any(char::is_ascii_digit) {
        return Form::Opaque;
    }
    let first = lines.iter().find(|line| !line.trim().is_empty());
    let indent = first.map_or(0, |line| line.len() - line.trim_start_matches(' ').len());
    // What was read must be what stands there: an alias or another surprise is not guessed at.
    let is_so = text
        .lines()
        .zip(lines)
        .all(|(read, line)| line.get(indent..).unwrap_or_default() == read);
    if is_so {
        Form::Block { indent }
    } else {
        Form::Opaque
    }
}

/// `next` gives the character at an index, and how many characters of the file it takes.
fn on_one_line(
    rest: &[char],
    column: usize,
    text: &str,
    next: impl Fn(&[char], usize) -> Option<(char, usize)>,
) -> Form {
    let quoted = matches!(rest.first(), Some('\'' | '"'));
    let mut at = usize::from(quoted);
    let mut columns = Vec::new();
    for expected in text.chars() {
        match next(rest, at) {
            Some((found, length)) if found == expected => {
                columns.push(column + at);
                at += length;
            }
            _ => return Form::Opaque,
        }
    }
    columns.push(column + at);
    Form::Line(columns)
}

fn single_quoted(rest: &[char], at: usize) -> Option<(char, usize)> {
    match (rest.get(at)?, rest.get(at + 1)) {
        ('\'', Some('\'')) => Some(('\'', 2)),
        ('\'', _) => None,
        (c, _) => Some((*c, 1)),
    }
}

fn double_quoted(rest: &[char], at: usize) -> Option<(char, usize)> {
    match (rest.get(at)?, rest.get(at + 1)) {
        ('"', _) => None,
        ('\\', Some(c)) => match c {
            'n' => Some(('\n', 2)),
            't' => Some(('\t', 2)),
            '"' | '\\' | '/' => Some((*c, 2)),
            _ => None,
        },
        (c, _) => Some((*c, 1)),
    }
}

/// Line and column of the `offset`th character.
pub(super) fn of_offset(text: &str, offset: usize) -> Place {
    let mut place = (1, 1);
    for c in text.chars().take(offset) {
        if c == '\n' {
            place = (place.0 + 1, 1);
        } else {
            place.1 += 1;
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let file = "steps:\n  - run: |\n\n      one\n        two\n  - run: 'it''s me'\n  - run: \"a\\tb c\"\n  - run: plain text\n  - run: >\n      folded\n  - { run: in, name: flow }\n";
        let texts = [
            "\none\n  two\n",
            "it's me",
            "a\tb c",
            "plain text",
            "folded\n",
            "in",
        ];
        let cases = [
            (0, (2, 1), (4, 7)),
            (0, (3, 3), (5, 9)),
            (1, (1, 4), (6, 15)),
            (2, (1, 3), (7, 14)),
            (3, (1, 7), (8, 16)),
            (4, (1, 3), (9, 10)),
            (5, (1, 2), (11, 13)),
        ];
        for (index, inner, outer) in cases {
            let path = [
                Segment::Key("steps"),
                Segment::Index(index),
                Segment::Key("run"),
            ];
            let scalar = Scalar::find(file, &path, texts[index]);
            assert_eq!(scalar.place(inner), outer, "{index} {inner:?}");
        }
        assert_eq!(of_offset("a\nbc", 3), (2, 2));
    }
}
