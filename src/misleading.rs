//! Characters that make text read differently than it is: they reorder it, or have no width.

/// Joiners (U+200C, U+200D) are part of the spelling inside words and emoji.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Whether `c` misleads between the characters `before` and `after`.
pub(crate) fn misleads(before: Option<char>, c: char, after: Option<char>) -> bool {
    if is_joiner(c) {
        return !joins(before, after);
    }
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Whether a joiner between these two characters joins them. ASCII text never needs one: there it
/// could only hide something.
fn joins(before: Option<char>, after: Option<char>) -> bool {
    let (Some(before), Some(after)) = (before, after) else {
        return false;
    };
    let is_visible = |c: char| {
        !c.is_control() && !c.is_whitespace() && !is_joiner(c) && !misleads(None, c, None)
    };
    is_visible(before) && is_visible(after) && !(before.is_ascii() && after.is_ascii())
}

/// The characters of a text, each with whether it misleads in its place.
pub(crate) fn judged(text: &str) -> impl Iterator<Item = (char, bool)> {
    let mut before = None;
    let mut rest = text.chars();
    std::iter::from_fn(move || {
        let c = rest.next()?;
        let judged = misleads(before, c, rest.clone().next());
        before = Some(c);
        Some((c, judged))
    })
}

#[cfg(test)]
mod tests {
    use super::judged;

    #[test]
    fn joiners_stay_inside_words_and_emoji_and_nothing_else_does() {
        for (text, misleads) in [
            ("می\u{200c}خواهم", 0),
            ("👨\u{200d}👩\u{200d}👧", 0),
            ("🏳\u{fe0f}\u{200d}🌈", 0),
            ("क\u{94d}\u{200d}ष", 0),
            ("pass\u{200d}word", 1),
            ("\u{200d}a", 1),
            ("ä\u{200c}", 1),
            ("ä\u{200c} b", 1),
            ("ä\u{200c}\u{200c}b", 2),
            ("a\u{202e}b\u{2066}c\u{200f}\u{61c}\u{200b}\u{feff}", 6),
        ] {
            let found = judged(text).filter(|(_, misleads)| *misleads).count();
            assert_eq!(found, misleads, "{text:?}");
        }
    }
}
