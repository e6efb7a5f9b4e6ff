//! Parses bytes into characters and the controls that act within a line. Others are dropped.

/// A sequence that is longer than this without an end is dropped.
const SEQUENCE_MAX: usize = 256;

/// One character or control of the output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Printed<'b> {
    /// A character with a shape, or a tab. Bytes that are not UTF-8 are U+FFFD.
    Character(char),
    Newline,
    /// Moves to the line's first column.
    Return,
    Left(usize),
    Right(usize),
    /// Moves to this column, counted from 0.
    Column(usize),
    Erase(Erase),
    /// A whole SGR sequence: colours and styles.
    Style(&'b [u8]),
}

/// Which part of the line is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Erase {
    ToEnd,
    ToStart,
    All,
}

/// Parses a stream of output, however it is split.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// The beginning of a sequence or of a character.
    pending: Vec<u8>,
    /// Within a title, a link or a picture.
    is_in_string: bool,
}

impl Parser {
    /// Reads the next bytes.
    pub(crate) fn read(&mut self, bytes: &[u8], print: &mut dyn FnMut(Printed<'_>)) {
        let mut input = std::mem::take(&mut self.pending);
        input.extend_from_slice(bytes);
        let mut rest = &input[..];
        while !rest.is_empty() {
            let Some(length) = self.take(rest, print) else {
                self.pending = rest.to_vec();
                return;
            };
            rest = &rest[length..];
        }
    }

    /// Ends the output: an incomplete character becomes U+FFFD, an incomplete sequence is dropped.
    pub(crate) fn finish(&mut self, print: &mut dyn FnMut(Printed<'_>)) {
        let pending = std::mem::take(&mut self.pending);
        if pending.first().is_some_and(|first| *first >= 0x80) && !self.is_in_string {
            print(Printed::Character('\u{fffd}'));
        }
    }

    /// Parses one character or sequence. Returns its length, or `None` if it is incomplete.
    fn take(&mut self, rest: &[u8], print: &mut dyn FnMut(Printed<'_>)) -> Option<usize> {
        if self.is_in_string {
            return self.take_string(rest);
        }
        match rest[0] {
            0x1b => return self.take_escape(rest, print),
            b'\n' => print(Printed::Newline),
            b'\r' => print(Printed::Return),
            0x08 => print(Printed::Left(1)),
            byte @ (b'\t' | 0x20..=0x7e) => print(Printed::Character(char::from(byte))),
            0x00..=0x7f => {}
            0x80.. => return take_character(rest, print),
        }
        Some(1)
    }

    /// Skips a string up to its end or the line's end: one that never ends must not hide the
    /// output.
    fn take_string(&mut self, rest: &[u8]) -> Option<usize> {
        let is_end = |byte: &u8| matches!(byte, 0x07 | b'\n' | 0x1b | 0xc2);
        let Some(at) = rest.iter().position(is_end) else {
            return Some(rest.len());
        };
        let length = match (rest[at], rest.get(at + 1)) {
            (0x07, _) => 1,
            (b'\n', _) => 0,
            (_, None) if at > 0 => return Some(at),
            (_, None) => return None,
            (0x1b, Some(b'\\')) | (0xc2, Some(0x9c)) => 2,
            (0xc2, Some(_)) => return Some(at + 1),
            // Another sequence begins.
            (_, Some(_)) => 0,
        };
        self.is_in_string = false;
        Some(at + length)
    }

    fn take_escape(&mut self, rest: &[u8], print: &mut dyn FnMut(Printed<'_>)) -> Option<usize> {
        match *rest.get(1)? {
            b'[' => take_csi(rest, print),
            b']' | b'P' | b'X' | b'^' | b'_' => {
                self.is_in_string = true;
                Some(2)
            }
            // Selects a character set, or something similar.
            0x20..=0x2f => {
                let length = 1 + run(&rest[1..], 0x20..=0x2f);
                match rest.get(length) {
                    None if length < SEQUENCE_MAX => None,
                    Some(0x30..=0x7e) => Some(length + 1),
                    None | Some(_) => Some(length),
                }
            }
            0x30..=0x7e => Some(2),
            // Not part of a sequence.
            _ => Some(1),
        }
    }
}

/// How many of the first bytes are in the range.
fn run(bytes: &[u8], range: std::ops::RangeInclusive<u8>) -> usize {
    bytes.iter().take_while(|byte| range.contains(byte)).count()
}

/// `ESC [`, then parameters, then intermediates, then a final byte.
fn take_csi(rest: &[u8], print: &mut dyn FnMut(Printed<'_>)) -> Option<usize> {
    let parameters = run(&rest[2..], 0x30..=0x3f);
    let end = 2 + parameters + run(&rest[2 + parameters..], 0x20..=0x2f);
    match rest.get(end) {
        _ if end >= SEQUENCE_MAX => return Some(2),
        None => return None,
        Some(0x40..=0x7e) => {}
        Some(_) => return Some(2),
    }
    let sequence = &rest[..=end];
    if end == 2 + parameters
        && let Some(printed) = meaning(sequence)
    {
        print(printed);
    }
    Some(sequence.len())
}

/// What a sequence means within a line, if anything.
fn meaning(sequence: &[u8]) -> Option<Printed<'_>> {
    let (last, inner) = sequence.split_last()?;
    let inner = std::str::from_utf8(&inner[2..]).ok()?;
    if *last == b'm' {
        let is_plain = inner
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b';' | b':'));
        return is_plain.then_some(Printed::Style(sequence));
    }
    let number = match inner {
        "" => None,
        digits => Some(digits.parse::<usize>().ok()?),
    };
    let count = number.unwrap_or(1).max(1);
    match (last, number) {
        (b'C' | b'a', _) => Some(Printed::Right(count)),
        (b'D', _) => Some(Printed::Left(count)),
        (b'G' | b'`', _) => Some(Printed::Column(count - 1)),
        (b'K', None | Some(0)) => Some(Printed::Erase(Erase::ToEnd)),
        (b'K', Some(1)) => Some(Printed::Erase(Erase::ToStart)),
        (b'K', Some(2)) => Some(Printed::Erase(Erase::All)),
        _ => None,
    }
}

fn take_character(rest: &[u8], print: &mut dyn FnMut(Printed<'_>)) -> Option<usize> {
    let start = &rest[..rest.len().min(4)];
    let valid = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() > 0 => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(error) => {
            let length = error.error_len()?;
            print(Printed::Character('\u{fffd}'));
            return Some(length);
        }
    };
    let character = valid.chars().next()?;
    if !character.is_control() {
        print(Printed::Character(character));
    }
    Some(character.len_utf8())
}
