//! Makes foreign text harmless for a terminal. A job's output, a node's name or an error may
//! contain sequences that move the cursor, set the window's title, fill the clipboard or send input
//! in the user's name.

use crate::misleading::{judged, misleads};
use crate::terminal::{Line, Parser, Printed};

/// Makes a job's output harmless, however it is split. Text, newlines, tabs, `\r` and colours (SGR)
/// pass. Cursor moves within a line are done with blanks and by printing the line's beginning
/// again. All other control sequences are dropped, as on the job's page. Misleading marks are shown
/// by their number.
#[derive(Debug)]
pub(super) struct Terminal {
    parser: Parser,
    printer: Printer,
}

#[derive(Debug)]
struct Printer {
    colors: bool,
    /// How wide the terminal is.
    columns: usize,
    line: Line,
    /// The terminal's cursor is not where `line` has it.
    is_astray: bool,
    /// The line is too long to track its cursor.
    is_lost: bool,
    /// The sequences of each style in the line; the first one is plain.
    styles: Vec<Vec<u8>>,
    before: Option<char>,
    /// A joiner; the next character decides whether it joins.
    joiner: Option<char>,
    out: Vec<u8>,
}

/// Maximum length of a style, and maximum number of styles per line.
const STYLE_MAX: usize = 256;
const STYLES_MAX: usize = 1_000;

impl Terminal {
    /// Without `colors`, no escape sequence is written at all.
    pub(super) fn new(colors: bool, columns: usize) -> Self {
        Self {
            parser: Parser::default(),
            printer: Printer {
                colors,
                columns,
                line: Line::default(),
                is_astray: false,
                is_lost: false,
                styles: vec![Vec::new()],
                before: None,
                joiner: None,
                out: Vec::new(),
            },
        }
    }

    /// The bytes to write for this input.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let printer = &mut self.printer;
        self.parser
            .read(bytes, &mut |printed| printer.print(&printed));
        std::mem::take(&mut printer.out)
    }

    /// Whether the current line has text.
    pub(super) fn is_in_line(&self) -> bool {
        self.printer.is_lost || self.printer.line.width() > 0
    }

    /// The bytes to write at the end: held-back characters, and a reset of colours.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let printer = &mut self.printer;
        self.parser.finish(&mut |printed| printer.print(&printed));
        printer.release(None);
        if !printer.style().is_empty() {
            printer.out.extend_from_slice(b"\x1b[0m");
            printer.styles = vec![Vec::new()];
        }
        std::mem::take(&mut printer.out)
    }
}

impl Printer {
    fn style(&self) -> &[u8] {
        self.styles.last().map_or(&[], Vec::as_slice)
    }

    fn print(&mut self, printed: &Printed<'_>) {
        let next = if let Printed::Character(character) = printed {
            Some(*character)
        } else {
            None
        };
        // A style between two characters does not separate them.
        if !matches!(printed, Printed::Style(_)) {
            self.release(next);
        }
        match printed {
            Printed::Character(character) => self.character(*character),
            Printed::Newline => {
                self.out.push(b'\n');
                self.begin();
            }
            Printed::Return => {
                self.out.push(b'\r');
                // In a wrapped line, the terminal goes to the beginning of its last row.
                if self.is_lost || self.line.width() > self.columns {
                    self.begin();
                }
                self.line.move_to(0);
                self.is_astray = false;
            }
            Printed::Style(sequence) => self.set_style(sequence),
            Printed::Left(by) => self.go(|line| line.move_left(*by)),
            Printed::Right(by) => self.go(|line| line.move_right(*by)),
            Printed::Column(column) => self.go(|line| line.move_to(*column)),
            Printed::Erase(what) => {
                let before = self.line.width();
                self.go(|line| line.erase(*what));
                if self.is_astray {
                    self.wipe(before);
                }
            }
        }
    }

    /// Starts a new line.
    fn begin(&mut self) {
        self.line.clear();
        self.is_astray = false;
        self.is_lost = false;
        self.before = None;
        let current = self.style().to_vec();
        self.styles = vec![Vec::new()];
        if !current.is_empty() {
            self.styles.push(current);
        }
    }

    /// Moves the line's cursor, unless the terminal has wrapped the line and can't follow.
    fn go(&mut self, to: impl FnOnce(&mut Line)) {
        if !self.is_lost && self.line.width() < self.columns {
            to(&mut self.line);
            self.is_astray = true;
        }
    }

    fn character(&mut self, character: char) {
        if matches!(character, '\u{200c}' | '\u{200d}') {
            self.joiner = Some(character);
            return;
        }
        if misleads(self.before, character, None) {
            self.number(character);
        } else {
            self.put(character);
        }
        self.before = Some(character);
    }

    /// Prints the joiner that was held back: unchanged if it joins, otherwise by its number.
    fn release(&mut self, after: Option<char>) {
        let Some(joiner) = self.joiner.take() else {
            return;
        };
        if misleads(self.before, joiner, after) {
            self.number(joiner);
        } else {
            self.put(joiner);
        }
        self.before = Some(joiner);
    }

    fn number(&mut self, character: char) {
        for shown in format!("⟨U+{:04X}⟩", u32::from(character)).chars() {
            self.put(shown);
        }
    }

    fn put(&mut self, character: char) {
        if std::mem::take(&mut self.is_astray) {
            self.repaint();
        }
        push(character, &mut self.out);
        if self.is_lost {
            return;
        }
        let style = u16::try_from(self.styles.len() - 1).unwrap_or(0);
        self.line.put(character, style);
        if !self.line.is_short() {
            self.line.clear();
            self.is_lost = true;
        }
    }

    /// Moves the terminal's cursor to the line's.
    fn repaint(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        out.push(b'\r');
        let (cells, blanks) = self.line.before_cursor();
        let is_styled = self.colors && self.styles.len() > 1;
        let mut style = u16::MAX;
        for cell in cells {
            if is_styled && cell.style != style {
                style = cell.style;
                out.extend_from_slice(b"\x1b[0m");
                out.extend_from_slice(
                    self.styles
                        .get(usize::from(style))
                        .map_or(&[], Vec::as_slice),
                );
            }
            push(cell.character, &mut out);
        }
        if is_styled {
            out.extend_from_slice(b"\x1b[0m");
        }
        out.extend(std::iter::repeat_n(b' ', blanks));
        if is_styled {
            out.extend_from_slice(self.style());
        }
        self.out = out;
    }

    /// Redraws the line, which took up `width` columns before.
    fn wipe(&mut self, width: usize) {
        if self.colors && !self.style().is_empty() {
            self.out.extend_from_slice(b"\x1b[0m");
        }
        self.out.push(b'\r');
        self.out.extend(std::iter::repeat_n(b' ', width));
        if self.colors {
            self.out
                .extend_from_slice(self.styles.last().map_or(&[], Vec::as_slice));
        }
        self.repaint();
        self.is_astray = false;
    }

    fn set_style(&mut self, sequence: &[u8]) {
        if !self.colors {
            return;
        }
        self.out.extend_from_slice(sequence);
        let inner = &sequence[2..sequence.len() - 1];
        let is_reset = inner.iter().all(|byte| matches!(byte, b'0' | b';'));
        let mut style = if is_reset || inner.starts_with(b"0;") {
            Vec::new()
        } else {
            self.style().to_vec()
        };
        if !is_reset && style.len() + sequence.len() <= STYLE_MAX {
            style.extend_from_slice(sequence);
        } else if !is_reset {
            style = sequence.to_vec();
        }
        if self.styles.len() < STYLES_MAX {
            self.styles.push(style);
        } else if let Some(last) = self.styles.last_mut() {
            *last = style;
        }
    }
}

fn push(character: char, out: &mut Vec<u8>) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// The visible symbol of a control character; other characters unchanged.
fn picture(character: char) -> char {
    match character {
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(character)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' => '\u{fffd}',
        _ => character,
    }
}

/// Turns text into one line for a table or a message, without control characters or misleading
/// marks.
pub(super) fn line(text: &str) -> String {
    let shown = |(c, misleads): (char, bool)| match c {
        '\n' | '\r' | '\t' => ' ',
        _ if misleads => '\u{fffd}',
        c => picture(c),
    };
    judged(text).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8], colors: bool) -> String {
        let mut terminal = Terminal::new(colors, 80);
        let mut out = terminal.pass(bytes);
        out.extend(terminal.finish());
        String::from_utf8(out).expect("UTF-8, whatever came")
    }

    #[test]
    fn text_newlines_and_colours_pass() {
        let text = "plain \u{e9} \u{65e5}\u{672c}\ta\rb\n\x1b[1;31mred\x1b[0m \x1b[38;5;208mx\x1b[38:2::1:2:3my\x1b[m";
        assert_eq!(whole(text.as_bytes(), true), text);
        assert_eq!(whole(b"\x1b[31mred\x1b[0m", false), "red");
    }

    #[test]
    fn a_colour_that_was_left_on_is_ended() {
        assert_eq!(whole(b"\x1b[31mred", true), "\x1b[31mred\x1b[0m");
    }

    #[test]
    fn every_other_sequence_is_left_out() {
        for (bytes, shown) in [
            // Cursor, erase, scroll region, alternate screen, bracketed paste, mouse,
            // modifyOtherKeys.
            (&b"a\x1b[2Jb"[..], "ab"),
            (b"a\x1b[10;10Hb", "ab"),
            (b"a\x1b[?1049hb", "ab"),
            (b"a\x1b[?2004hb", "ab"),
            (b"a\x1b[>4;2mb", "ab"),
            (b"a\x1b[6nb", "ab"),
            (b"a\x1b[ qb", "ab"),
            // Title, clipboard, hyperlink; one that never ends hides its line at most.
            (b"\x1b]0;title\x07x", "x"),
            (b"\x1b]52;c;YQ==\x1b\\x", "x"),
            (b"\x1b]8;;http://e\x1b\\link\x1b]8;;\x1b\\", "link"),
            (b"\x1b]0;never\nx", "\nx"),
            (b"\x1b]0;t\xc2\x9cx", "x"),
            // Device control, application commands, reset, other character sets.
            (b"\x1bPq#0\x1b\\x", "x"),
            (b"\x1b_x\x07y", "y"),
            (b"\x1bcx", "x"),
            (b"\x1b(0x\x1b(B\x1b)0\x1b*B\x1b%G\x1b Fy", "xy"),
            (b"\x0ex\x0f", "x"),
            // Bell, delete, NUL, vertical tab, form feed.
            (b"\x07\x7f\0\x0b\x0cx", "x"),
            // C1 as characters and as bytes.
            (b"\xc2\x9b31mx\xc2\x9d0;t\xc2\x9c", "31mx0;t"),
            (b"\x9b31m\x90", "\u{fffd}31m\u{fffd}"),
            // Broken ones.
            (b"\x1b[31", ""),
            (b"\x1b[3\x1b[31mx\x1b[0m", "3\x1b[31mx\x1b[0m"),
            (b"\x1b", ""),
            (b"\x1b\x1b[2Jx", "x"),
            (b"\xff\xf0\x9f\x98", "\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(whole(bytes, true), shown, "{bytes:?}");
        }
    }

    #[test]
    fn the_cursor_moves_within_its_line() {
        for (bytes, shown) in [
            // Back: the line's beginning is printed again.
            (&b"abc\x08\x08X"[..], "abc\raX"),
            (b"50%\x08\x08\x0860%", "50%\r60%"),
            (b"abc\x1b[2DX", "abc\raX"),
            (b"\x08x", "\rx"),
            // Forth: with blanks.
            (b"a\x1b[5Gb", "a\ra   b"),
            (b"a\x1b[3Cb", "a\ra   b"),
            // What is erased is blank.
            (b"10%\r\x1b[K2%\n", "10%\r\r   \r2%\n"),
            (b"abc\x1b[2D\x1b[K", "abc\r   \ra"),
            // No movement leaves the line.
            (b"a\nb\x1b[99Dc", "a\nb\rc"),
            (
                b"\xe6\x97\xa5\xe6\x9c\xac\x08x",
                "\u{65e5}\u{672c}\r\u{65e5} x",
            ),
        ] {
            assert_eq!(whole(bytes, true), shown, "{bytes:?}");
        }
        assert_eq!(
            whole(b"\x1b[32mok\x1b[0m |\x08/", true),
            "\x1b[32mok\x1b[0m |\r\x1b[0m\x1b[32mok\x1b[0m \x1b[0m/"
        );
        // A line that the terminal has wrapped goes on.
        let long = "x".repeat(80);
        assert_eq!(
            whole(format!("{long}\u{8}y").as_bytes(), true),
            format!("{long}y")
        );
    }

    #[test]
    fn what_misleads_is_shown_and_what_joins_stays() {
        let family = "\u{1f468}\u{200d}\u{1f469} \u{645}\u{6cc}\u{200c}\u{62e}";
        assert_eq!(whole(family.as_bytes(), true), family);
        assert_eq!(
            whole("a\u{202e}b\u{200d}".as_bytes(), true),
            "a⟨U+202E⟩b⟨U+200D⟩"
        );
    }

    #[test]
    fn how_the_bytes_are_cut_changes_nothing() {
        let bytes =
            b"a\x1b[1;31mr\xc3\xa9d\x1b[0m\x1b(B\x1b]0;t\x1b\\\xf0\x9f\x98\x80\x1b[2K\xffz\xc2\x9b\xe2\x80\x8d\x08\n";
        let expected = whole(bytes, true);
        for piece in 1..bytes.len() {
            let mut terminal = Terminal::new(true, 80);
            let mut out = Vec::new();
            for bytes in bytes.chunks(piece) {
                out.extend(terminal.pass(bytes));
            }
            out.extend(terminal.finish());
            assert_eq!(
                String::from_utf8_lossy(&out),
                expected,
                "in pieces of {piece}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_but_colours_gets_an_escape_through(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let out = whole(&bytes, true);
            for part in out.split('\u{1b}').skip(1) {
                let inner = part.strip_prefix('[').and_then(|rest| rest.split_once('m'));
                let is_color = inner.is_some_and(|(inner, _)| {
                    inner.chars().all(|c| c.is_ascii_digit() || matches!(c, ';' | ':'))
                });
                proptest::prop_assert!(is_color, "another escape in {:?}", out);
            }
            let allowed = ['\n', '\t', '\r', '\u{1b}'];
            let none_left = !out.chars().any(|c| c.is_control() && !allowed.contains(&c));
            proptest::prop_assert!(none_left, "a control character in {:?}", out);
            let has_escape = whole(&bytes, false).contains('\u{1b}');
            proptest::prop_assert!(!has_escape);
        }
    }

    #[test]
    fn a_line_is_one_and_does_not_mislead() {
        assert_eq!(
            line("a\nb\x1b[31m\u{202e}c\u{200b}"),
            "a b\u{241b}[31m\u{fffd}c\u{fffd}"
        );
    }
}
