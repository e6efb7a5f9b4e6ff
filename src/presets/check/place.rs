//! Maps a position in a step's text to the position in the YAML file.

use saphyr_parser::ScalarStyle;

use crate::presets::locate::{Index, Segment};

/// Line and column, both from 1, in characters.
pub(super) use crate::presets::locate::Place;

/// A preset file's text and the positions in it.
pub(super) struct Source<'a> {
    pub(super) index: Index,
    /// Without line ends.
    lines: Vec<&'a str>,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            index: Index::read(text).unwrap_or_default(),
            lines: text.lines().collect(),
        }
    }
}

/// A text of the preset (a `run`, an `unless`, a `verify`) and its notation in the file.
pub(super) struct Scalar {
    /// Where the value begins in the file: at the `|` of a block, the quote, or the first
    /// character.
    start: Place,
    /// The position of each character of the text; shorter than the text if the rest is unknown.
    places: Vec<Place>,
    /// The offset of each line's beginning in the text.
    lines: Vec<usize>,
}

impl Scalar {
    /// Finds the value at `path` in the YAML file. `text` is the value's content.
    pub(super) fn find(source: &Source<'_>, path: &[Segment<'_>], text: &str) -> Self {
        let found = source.index.scalar(path);
        let (start, style) = found.unwrap_or(((1, 1), ScalarStyle::Plain));
        let places = match found {
            None => Vec::new(),
            Some(_) => align(text, &written(&source.lines, start, style, text)),
        };
        let mut lines = vec![0];
        let ends = text.chars().enumerate().filter(|(_, c)| *c == '\n');
        lines.extend(ends.map(|(offset, _)| offset + 1));
        Self {
            start,
            places,
            lines,
        }
    }

    /// A text whose places are those in the text itself.
    pub(super) fn itself(text: &str) -> Self {
        let mut places = Vec::new();
        let mut lines = vec![0];
        let (mut line, mut column) = (1, 1);
        for c in text.chars() {
            places.push((line, column));
            column += 1;
            if c == '\n' {
                (line, column) = (line + 1, 1);
                lines.push(places.len());
            }
        }
        Self {
            start: (1, 1),
            places,
            lines,
        }
    }

    /// Maps a line and column of the text to the file.
    pub(super) fn place(&self, (line, column): Place) -> Place {
        let begin = self.lines.get(line - 1).or(self.lines.last());
        self.of_offset(begin.map_or(0, |begin| begin + column - 1))
    }

    /// Maps the text's `offset`th character to the file; the text's end is after the last one.
    pub(super) fn of_offset(&self, offset: usize) -> Place {
        if let Some(place) = self.places.get(offset) {
            return *place;
        }
        match self.places.last() {
            Some((line, column)) if offset == self.places.len() => (*line, column + 1),
            _ => self.start,
        }
    }
}

/// The characters of the scalar in the file: escapes are resolved, indentation is removed, and each
/// line break is a newline, which [`align`] may fold. Continues after the scalar's end, because the
/// text determines where that is.
fn written(lines: &[&str], start: Place, style: ScalarStyle, text: &str) -> Vec<(char, Place)> {
    let mut all = Vec::new();
    let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
    let rest = lines.get(start.0 - 1..).unwrap_or_default();
    let indent = if is_block {
        block_indent(rest.get(1..).unwrap_or_default(), text)
    } else {
        0
    };
    // Each character of the text takes at least one of the file; there may be blank lines in
    // between.
    let enough = 2 * text.chars().count() + 64;
    for (index, line) in rest.iter().enumerate().skip(usize::from(is_block)) {
        let number = start.0 + index;
        let chars: Vec<char> = line.chars().collect();
        let mut at = match (is_block, index) {
            (true, _) => indent,
            (false, 0) => start.1 - 1 + usize::from(style != ScalarStyle::Plain),
            (false, _) => chars.iter().take_while(|c| matches!(c, ' ' | '\t')).count(),
        };
        let mut joins = false;
        while at < chars.len() {
            let place = (number, at + 1);
            match (style, chars[at], chars.get(at + 1)) {
                (ScalarStyle::SingleQuoted, '\'', Some('\'')) => {
                    all.push(('\'', place));
                    at += 2;
                }
                (ScalarStyle::DoubleQuoted, '\\', None) => {
                    joins = true;
                    at += 1;
                }
                (ScalarStyle::DoubleQuoted, '\\', Some(c)) => {
                    let (c, length) = escaped(*c, &chars[at + 2..]);
                    all.push((c, place));
                    at += 1 + length;
                }
                (_, c, _) => {
                    all.push((c, place));
                    at += 1;
                }
            }
        }
        if !joins {
            all.push(('\n', (number, chars.len() + 1)));
        }
        if all.len() > enough {
            break;
        }
    }
    all
}

/// The indentation of a block: the difference between its first line in the file and in the text.
fn block_indent(lines: &[&str], text: &str) -> usize {
    let width = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let of = |line: Option<&str>| line.map_or(0, width);
    let in_file = lines.iter().find(|line| !line.trim().is_empty()).copied();
    let in_text = text.lines().find(|line| !line.trim().is_empty());
    of(in_file).saturating_sub(of(in_text))
}

/// The character that `\c` stands for, and the number of characters after the backslash.
fn escaped(c: char, rest: &[char]) -> (char, usize) {
    let code = |digits: usize| {
        let hex: String = rest.iter().take(digits).collect();
        let c = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
        (c.unwrap_or('\u{fffd}'), digits + 1)
    };
    match c {
        'n' => ('\n', 1),
        't' => ('\t', 1),
        'r' => ('\r', 1),
        '0' => ('\0', 1),
        'a' => ('\u{7}', 1),
        'b' => ('\u{8}', 1),
        'e' => ('\u{1b}', 1),
        'f' => ('\u{c}', 1),
        'v' => ('\u{b}', 1),
        'N' => ('\u{85}', 1),
        '_' => ('\u{a0}', 1),
        'L' => ('\u{2028}', 1),
        'P' => ('\u{2029}', 1),
        'x' => code(2),
        'u' => code(4),
        'U' => code(8),
        c => (c, 1),
    }
}

/// The position of each character of `text`. A blank in the text may be a line break in the file;
/// breaks and blanks in the file may be absent from the text. Stops where the two don't match.
fn align(text: &str, written: &[(char, Place)]) -> Vec<Place> {
    let mut places = Vec::new();
    let mut at = 0;
    'text: for expected in text.chars() {
        while let Some((found, place)) = written.get(at) {
            let is_fold = expected == ' ' && *found == '\n';
            // A blank at the end of a line in the file is not part of the text.
            let trails = expected == ' '
                && matches!(found, ' ' | '\t')
                && written[at..]
                    .iter()
                    .find(|(c, _)| !matches!(c, ' ' | '\t'))
                    .is_some_and(|(c, _)| *c == '\n')
                && !continues_with_blanks(text, places.len());
            if (*found == expected || is_fold) && !trails {
                places.push(*place);
                at += 1;
                continue 'text;
            }
            if !matches!(found, '\n' | ' ' | '\t') {
                break;
            }
            at += 1;
        }
        break;
    }
    places
}

/// Whether the text itself has blanks before a line break here, as a block may.
fn continues_with_blanks(text: &str, offset: usize) -> bool {
    text.chars()
        .skip(offset)
        .find(|c| *c != ' ' && *c != '\t')
        .is_none_or(|c| c == '\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For each notation: the `!` of the text maps to the `!` of the file.
    #[test]
    fn each_character_maps_to_its_place_in_the_file() {
        let files = [
            "run: plain a!b",
            "run: plain over\n  two   \n\n  lines !x",
            "run: 'it''s a!b'",
            "run: 'over\n\n  two ''lines'' !'",
            "run: \"a\\tb \\\"c\\\" \\u00fc \\x41!\"",
            "run: \"over \\\n  two  \n  lines\\nand more !\"",
            "run: |\n  one\n\n    two !\n",
            "run: |-\n\n  # ü\n  two !\n",
            "run: |2\n    indented\n  two !\n",
            "run: |1-\n   indented\n  two !\n",
            "run: >\n  folded\n  over\n\n  lines !x\n    more\n",
            "run: >-\n  folded\n    deeper !x\n  back\n",
            "run: >2+\n    deeper\n  back !\n\n",
            "run: | # why\n  one \n  two !\n",
            "run: &name |\n  one\n  two !\n",
            "run: !!str 'tagged !'",
            "{ name: One, run: echo a!b }",
            "{ name: One, \"run\": \"echo a!b\" }",
            "other: &it |\n  one !\nrun: *it\n",
        ];
        for file in files {
            for file in [file.to_owned(), file.replace('\n', "\r\n")] {
                let value: serde_yaml::Value = serde_yaml::from_str(&file).expect("YAML");
                let text = value["run"].as_str().expect("text");
                let scalar = Scalar::find(&Source::new(&file), &[Segment::Key("run")], text);
                let offset = text.chars().position(|c| c == '!').expect("a mark");
                let (line, column) = scalar.of_offset(offset);
                let found = file.lines().nth(line - 1).expect("a line");
                let found = found.chars().nth(column - 1);
                assert_eq!(found, Some('!'), "{file:?} {line}:{column}");
                let before = file.lines().nth(line - 1).expect("a line");
                let is_tag = before.chars().nth(column) == Some('!');
                assert!(!is_tag, "{file:?}");
            }
        }
    }
}
