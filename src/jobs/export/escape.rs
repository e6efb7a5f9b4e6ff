//! Text that came from outside, as HTML that shows it and does nothing.

use crate::misleading::judged;

/// Characters as HTML text. Control characters and those that reorder text become visible.
pub(super) fn html(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + text.len() / 16);
    for (c, misleads) in judged(text) {
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            '\n' | '\t' => shown.push(c),
            c if misleads || (c.is_control() && u32::from(c) > 0x7f) => {
                shown.push_str(&format!("⟨U+{:04X}⟩", u32::from(c)));
            }
            '\u{7f}' => shown.push('␡'),
            // The pictures of control characters are in the same order.
            c if c.is_control() => {
                let picture = char::from_u32(0x2400 + u32::from(c));
                shown.push(picture.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            c => shown.push(c),
        }
    }
    shown
}

/// Text as one word of a shell.
pub(super) fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_browser_acts_on_is_left() {
        let shown = html("<script>a && \"b\" 'c'</script>\0\u{1b}[31m\r\n\u{202e}x\u{7f}\u{85}\t");
        assert_eq!(
            shown,
            "&lt;script&gt;a &amp;&amp; &quot;b&quot; &#39;c&#39;&lt;/script&gt;␀␛[31m␍\n⟨U+202E⟩x␡⟨U+0085⟩\t"
        );
    }

    #[test]
    fn a_word_of_a_shell_is_quoted() {
        assert_eq!(shell("it's $x"), r"'it'\''s $x'");
    }
}
