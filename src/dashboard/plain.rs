//! Output as plain text, for pages without JavaScript: the end of it, without what moves a terminal's cursor.

/// Bytes of the end that are shown.
const SHOWN: usize = 64 * 1024;

/// Bytes to read of the end: one more than is shown tells that there is more.
pub(super) const READ: u64 = SHOWN as u64 + 1;

/// The end of the output as text, and whether that is not all of it.
pub(super) fn text(output: &[u8]) -> (String, bool) {
    let from = output.len().saturating_sub(SHOWN);
    // From a line's beginning, where there is one.
    let cut = match output[from..].iter().position(|byte| *byte == b'\n') {
        Some(at) if from > 0 => from + at + 1,
        _ => from,
    };
    (whole(&output[cut..]), from > 0)
}

/// All of it as text.
pub(super) fn whole(output: &[u8]) -> String {
    let chars = output.utf8_chunks().flat_map(|chunk| {
        let replaced = (!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
        chunk.valid().chars().chain(replaced)
    });
    strip(chars)
}

/// Takes escape sequences away; of a line that was written over, the last version stays.
fn strip(chars: impl Iterator<Item = char>) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    let mut chars = chars.peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' => {
                lines.push_str(&line);
                lines.push('\n');
                line.clear();
            }
            '\r' if chars.peek() != Some(&'\n') => line.clear(),
            '\u{1b}' => skip_escape(&mut chars),
            '\t' => line.push(c),
            c if c.is_control() => {}
            c => line.push(c),
        }
    }
    lines + &line
}

/// Skips what follows an ESC. A string (a title, a link) ends with its line at the latest: what is never ended must not
/// swallow the output.
fn skip_escape(chars: &mut std::iter::Peekable<impl Iterator<Item = char>>) {
    match chars.next_if(|c| *c != '\n') {
        Some('[') => {
            while chars.next_if(|c| (' '..='?').contains(c)).is_some() {}
            chars.next_if(|c| ('@'..='~').contains(c));
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = chars.next_if(|c| *c != '\n') {
                match c {
                    '\u{7}' | '\u{9c}' => return,
                    '\u{1b}' => {
                        chars.next_if(|c| *c == '\\');
                        return;
                    }
                    _ => {}
                }
            }
        }
        Some('(' | ')' | '#' | '%') => {
            chars.next_if(|c| *c != '\n');
        }
        _ => {}
    }
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
        ] {
            assert_eq!(whole(raw.as_bytes()), wanted, "{raw:?}");
        }
    }

    #[test]
    fn the_end_from_a_whole_line_on() {
        let long = "0123456789\n".repeat(10_000);
        let (shown, is_cut) = text(long.as_bytes());
        assert!(is_cut && shown.starts_with("0123456789\n") && shown.len() <= SHOWN);
        assert_eq!(text(b"a\nb"), ("a\nb".to_owned(), false));
    }
}
