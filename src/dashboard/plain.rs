//! The end of the output as plain text, without control sequences, for pages without JavaScript.

use crate::terminal::{Line, Parser, Printed};

/// Number of bytes shown, counted from the end.
const SHOWN: usize = 64 * 1024;

/// Bytes that are parsed at a time, so that long output is not copied as a whole.
const PIECE: usize = 16 * 1024;

/// Bytes to read from the end: one more than is shown, to know whether there is more.
pub(super) const READ: u64 = SHOWN as u64 + 1;

/// The end of the output as text, and whether it was cut.
pub(super) fn text(output: &[u8]) -> (String, bool) {
    let from = output.len().saturating_sub(SHOWN);
    // Starts at a line's beginning if there is one, at a character's otherwise.
    let is_within = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
    let shown = &output[from..];
    let cut = match shown.iter().position(|byte| *byte == b'\n') {
        _ if from == 0 => 0,
        Some(at) => from + at + 1,
        None => {
            from + shown
                .iter()
                .take(3)
                .take_while(|byte| is_within(byte))
                .count()
        }
    };
    (strip(&output[cut..]), from > 0)
}

/// The whole output as text.
pub(super) fn whole(output: &[u8]) -> String {
    strip(output)
}

/// The output as a terminal would show it, for control sequences that act within one line.
fn strip(output: &[u8]) -> String {
    let (mut lines, mut line) = (String::new(), Line::default());
    let mut print = |printed: Printed<'_>| match printed {
        Printed::Character(character) => line.put(character, 0),
        Printed::Newline => {
            lines.extend(line.text());
            lines.push('\n');
            line.clear();
        }
        Printed::Return => line.move_to(0),
        Printed::Left(by) => line.move_left(by),
        Printed::Right(by) => line.move_right(by),
        Printed::Column(column) => line.move_to(column),
        Printed::Erase(what) => line.erase(what),
        Printed::Style(_) => {}
    };
    let mut parser = Parser::default();
    for piece in output.chunks(PIECE) {
        parser.read(piece, &mut print);
    }
    parser.finish(&mut print);
    lines.extend(line.text());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_text() {
        for (raw, wanted) in [
            ("plain\n", "plain\n"),
            ("\u{1b}[1;31mred\u{1b}[0m\n", "red\n"),
            ("10%\r100%\r\ndone", "100%\ndone"),
            ("\u{1b}]0;title\u{7}x\u{1b}]8;;http://e\u{1b}\\y", "xy"),
            ("\u{1b}]never ended\nnext", "\nnext"),
            ("a\0b\u{8}\u{1b}", "ab"),
            ("\u{1b}(Bz\u{1b}[", "z"),
            ("100%\r50", "500%"),
            ("abc\u{8}\u{8}XY", "aXY"),
            ("a\u{1b}[10Gb\u{1b}[2Cc\u{1b}[9Dd", "a   d    b  c"),
            ("abc\u{1b}[2D\u{1b}[K", "a"),
            ("abc\u{1b}[1Kd", "   d"),
            ("abc\u{1b}[2Kd", "   d"),
            ("\u{e}lqk\u{f}\u{1b}%G\u{1b} Fx", "lqkx"),
            ("日本\rxy", "xy本"),
            ("日本\u{8}x", "日 x"),
            ("e\u{301}o\ru", "uo"),
            ("👨\u{200d}👩\u{200d}👧!\rx", "x !"),
            ("a\tb\r\tc", "a\tc"),
            ("\u{1b}]8;;http://e\u{1b}[31mx", "x"),
            ("\u{1b}\u{1b}[31mx", "x"),
        ] {
            assert_eq!(strip(raw.as_bytes()), wanted, "{raw:?}");
        }
    }

    #[test]
    fn the_end_from_a_whole_line_on() {
        let long = "0123456789\n".repeat(10_000);
        let (shown, is_cut) = text(long.as_bytes());
        assert!(is_cut && shown.starts_with("0123456789\n") && shown.len() <= SHOWN);
        assert_eq!(text(b"a\nb"), ("a\nb".to_owned(), false));
        let wide = "€".repeat(SHOWN);
        let (shown, is_cut) = text(wide.as_bytes());
        assert!(is_cut && shown.chars().all(|c| c == '€'));
    }
}
