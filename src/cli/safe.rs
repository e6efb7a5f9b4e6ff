//! What others wrote, made fit for a terminal. A job's output, a node's name or an error's text may hold sequences that
//! move the cursor, set the window's title, fill the clipboard or answer in the user's name.

/// The longest sequence that is looked at as one; a longer one is shown as text.
const SEQUENCE_MAX: usize = 64;

/// Makes a job's output harmless, however it is cut into pieces: text, newlines, tabs, `\r` and colours (SGR) pass; other
/// whole CSI sequences are left out; every other control character shows as a picture of itself (`␛` for ESC), and what
/// follows it as the text that it is. Nothing that a sequence opens can so swallow what comes after it.
#[derive(Debug)]
pub(super) struct Terminal {
    colors: bool,
    /// The beginning of a sequence or of a character.
    pending: Vec<u8>,
    /// A colour is on.
    colored: bool,
}

impl Terminal {
    /// Without `colors`, those are left out, too.
    pub(super) fn new(colors: bool) -> Self {
        Self {
            colors,
            pending: Vec::new(),
            colored: false,
        }
    }

    /// What to write for these bytes.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut input = std::mem::take(&mut self.pending);
        input.extend_from_slice(bytes);
        let mut out = Vec::with_capacity(input.len());
        let mut rest = &input[..];
        while !rest.is_empty() {
            let Some(length) = self.take(rest, &mut out) else {
                self.pending = rest.to_vec();
                break;
            };
            rest = &rest[length..];
        }
        out
    }

    /// What to write at the end: what was held back, and the end of a colour that was left on.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        for byte in std::mem::take(&mut self.pending) {
            show(char::from(byte), byte.is_ascii(), &mut out);
        }
        if std::mem::take(&mut self.colored) {
            out.extend_from_slice(b"\x1b[0m");
        }
        out
    }

    /// Takes one character or sequence; how many bytes that was, or nothing where its end hasn't come yet.
    fn take(&mut self, rest: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        if rest[0] == 0x1b {
            return self.take_escape(rest, out);
        }
        let text = &rest[..rest.len().min(4)];
        let (character, length) = match first_character(text) {
            First::Character(character, length) => (Some(character), length),
            First::Wrong(length) => (None, length),
            First::Cut => return None,
        };
        match character {
            Some(character) => show(character, true, out),
            None => show(' ', false, out),
        }
        Some(length)
    }

    fn take_escape(&mut self, rest: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        match csi(rest) {
            Csi::Cut => None,
            Csi::None => {
                show('\u{1b}', true, out);
                Some(1)
            }
            Csi::Whole(length) => {
                let sequence = &rest[..length];
                if self.colors && is_color(sequence) {
                    out.extend_from_slice(sequence);
                    self.colored = !matches!(sequence, b"\x1b[m" | b"\x1b[0m");
                }
                Some(length)
            }
        }
    }
}

enum First {
    Character(char, usize),
    Wrong(usize),
    Cut,
}

fn first_character(bytes: &[u8]) -> First {
    let valid = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() > 0 => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(error) => return error.error_len().map_or(First::Cut, First::Wrong),
    };
    match valid.chars().next() {
        Some(character) => First::Character(character, character.len_utf8()),
        None => First::Cut,
    }
}

enum Csi {
    Whole(usize),
    None,
    Cut,
}

/// `ESC [`, then parameters, then intermediates, then a final byte.
fn csi(bytes: &[u8]) -> Csi {
    match bytes.get(1) {
        None => return Csi::Cut,
        Some(b'[') => {}
        Some(_) => return Csi::None,
    }
    for (at, byte) in bytes.iter().enumerate().skip(2) {
        match byte {
            _ if at >= SEQUENCE_MAX => return Csi::None,
            0x20..=0x3f => {}
            0x40..=0x7e => return Csi::Whole(at + 1),
            _ => return Csi::None,
        }
    }
    if bytes.len() > SEQUENCE_MAX {
        Csi::None
    } else {
        Csi::Cut
    }
}

/// `ESC [ 1 ; 31 m`: digits, semicolons and colons alone; `ESC [ > 4 m` is another thing.
fn is_color(sequence: &[u8]) -> bool {
    let inner = &sequence[2..sequence.len() - 1];
    sequence.ends_with(b"m")
        && inner
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b';' | b':'))
}

fn show(character: char, is_valid: bool, out: &mut Vec<u8>) {
    let shown = match character {
        _ if !is_valid => '\u{fffd}',
        '\n' | '\t' | '\r' => character,
        _ => picture(character),
    };
    out.extend_from_slice(shown.encode_utf8(&mut [0; 4]).as_bytes());
}

/// A control character as a picture of itself; any other one as it is.
fn picture(character: char) -> char {
    match character {
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(character)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' => '\u{fffd}',
        _ => character,
    }
}

/// Characters that make text read other than it is: directions of writing, and what has no width.
fn misleads(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// One line for a table or a message: no control characters, nothing that misleads.
pub(super) fn line(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if misleads(c) => '\u{fffd}',
        c => picture(c),
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8], colors: bool) -> String {
        let mut terminal = Terminal::new(colors);
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
    fn every_other_sequence_is_harmless() {
        for (bytes, shown) in [
            // Cursor, erase, scroll region, alternate screen, bracketed paste, mouse, modifyOtherKeys.
            (&b"a\x1b[2Jb"[..], "ab"),
            (b"a\x1b[10;10Hb", "ab"),
            (b"a\x1b[?1049hb", "ab"),
            (b"a\x1b[?2004hb", "ab"),
            (b"a\x1b[>4;2mb", "ab"),
            (b"a\x1b[6nb", "ab"),
            (b"a\x1b[ qb", "ab"),
            // Title, clipboard, hyperlink: nothing opens, nothing is swallowed.
            (b"\x1b]0;title\x07x", "\u{241b}]0;title\u{2407}x"),
            (b"\x1b]52;c;YQ==\x1b\\x", "\u{241b}]52;c;YQ==\u{241b}\\x"),
            (b"\x1b]8;;http://e\x1b\\", "\u{241b}]8;;http://e\u{241b}\\"),
            // Device control, application commands, reset, another character set.
            (b"\x1bPq#0\x1b\\", "\u{241b}Pq#0\u{241b}\\"),
            (b"\x1b_x", "\u{241b}_x"),
            (b"\x1bcx", "\u{241b}cx"),
            (b"\x1b(0x", "\u{241b}(0x"),
            (b"\x0ex\x0f", "\u{240e}x\u{240f}"),
            // Bell, backspace, delete, NUL, vertical tab, form feed.
            (
                b"\x07\x08\x7f\0\x0b\x0c",
                "\u{2407}\u{2408}\u{2421}\u{2400}\u{240b}\u{240c}",
            ),
            // C1 as characters and as bytes.
            (
                b"\xc2\x9b31mx\xc2\x9d0;t\xc2\x9c",
                "\u{fffd}31mx\u{fffd}0;t\u{fffd}",
            ),
            (b"\x9b31m\x90", "\u{fffd}31m\u{fffd}"),
            // Broken ones.
            (b"\x1b[31", "\u{241b}[31"),
            (b"\x1b[3\x1b[31mx\x1b[0m", "\u{241b}[3\x1b[31mx\x1b[0m"),
            (b"\x1b", "\u{241b}"),
            (b"\x1b\x1b[2Jx", "\u{241b}x"),
            (b"\xff\xf0\x9f\x98", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(whole(bytes, true), shown, "{bytes:?}");
        }
        let long = format!("\x1b[{}m", "1;".repeat(40));
        assert_eq!(
            whole(long.as_bytes(), true),
            format!("\u{241b}{}", &long[1..])
        );
    }

    #[test]
    fn how_the_bytes_are_cut_changes_nothing() {
        let bytes =
            b"a\x1b[1;31mr\xc3\xa9d\x1b[0m\x1b]0;t\x07\xf0\x9f\x98\x80\x1b[2K\xffz\xc2\x9b\n";
        let expected = whole(bytes, true);
        for piece in 1..bytes.len() {
            let mut terminal = Terminal::new(true);
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
            for (at, _) in out.match_indices('\u{1b}') {
                let csi_length = match csi(&out.as_bytes()[at..]) {
                    Csi::Whole(length) => length,
                    Csi::None | Csi::Cut => panic!("an escape that is no sequence in {out:?}"),
                };
                proptest::prop_assert!(is_color(&out.as_bytes()[at..at + csi_length]));
            }
            let allowed = ['\n', '\t', '\r', '\u{1b}'];
            let none_left = !out.chars().any(|c| c.is_control() && !allowed.contains(&c));
            proptest::prop_assert!(none_left, "a control character in {:?}", out);
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
