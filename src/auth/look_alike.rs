//! Characters that make one text pass for another: invisible ones, and letters that look like
//! other letters.

use unicode_normalization::UnicodeNormalization;
use unicode_security::MixedScript;
use unicode_security::confusable_detection::skeleton;

const INVISIBLE: &str = "must not have invisible characters, such as zero-width spaces, direction marks or soft hyphens";
const DISGUISED: &str =
    "must use plain letters and digits, not fullwidth, mathematical or circled ones";
const NOT_COMPOSED: &str =
    "must have each accented letter as one character (Unicode NFC), not as a letter and an accent";
const MIXED: &str =
    "must not mix alphabets within a word: some letters look like those of another alphabet";
const LATIN_LOOKING: &str =
    "must not have letters that only look like Latin ones; type them on a Latin keyboard";

/// Whether a reader can't see the character or takes it for a plain space: default-ignorable and
/// format characters, other blanks, private use and noncharacters.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{1680}'
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2000}'..='\u{200f}'
        | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}' | '\u{2800}' | '\u{3000}' | '\u{3164}'
        | '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffc}' | '\u{13430}'..='\u{1345f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d159}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}')
        || u32::from(c) & 0xfffe == 0xfffe
}

/// Whether the character is a styled Latin letter or digit, such as `Ａ`, `𝐚` or `①`.
fn is_disguised(c: char) -> bool {
    let mut plain = std::iter::once(c).nfkc();
    let first = plain.next();
    !c.is_ascii()
        && plain.next().is_none()
        && first.is_some_and(|first| first.is_ascii_alphanumeric())
}

fn check_characters(text: &str) -> Result<(), &'static str> {
    if text.chars().any(is_invisible) {
        return Err(INVISIBLE);
    }
    if text.chars().any(is_disguised) {
        return Err(DISGUISED);
    }
    Ok(())
}

/// Checks a name: visible characters, and one alphabet per word. `Err` is the rule that it breaks.
pub(crate) fn check_words(text: &str) -> Result<(), &'static str> {
    check_characters(text)?;
    if text.split(' ').all(MixedScript::is_single_script) {
        Ok(())
    } else {
        Err(MIXED)
    }
}

/// Checks an email: one alphabet for the local part and for each label of the domain, and no part
/// that only looks Latin. `Err` is the rule that it breaks.
pub(super) fn check_address(email: &str) -> Result<(), &'static str> {
    check_characters(email)?;
    // The same letters in another encoding look the same.
    if !unicode_normalization::is_nfc(email) {
        return Err(NOT_COMPOSED);
    }
    let (local, domain) = email.rsplit_once('@').unwrap_or((email, ""));
    for part in std::iter::once(local).chain(domain.split('.')) {
        if !part.is_single_script() {
            return Err(MIXED);
        }
        if !part.is_ascii() && skeleton(part).all(|c| c.is_ascii()) {
            return Err(LATIN_LOOKING);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_are_refused() {
        for c in [
            '\u{200b}',
            '\u{200d}',
            '\u{ad}',
            '\u{2060}',
            '\u{202e}',
            '\u{2066}',
            '\u{3164}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{115f}',
            '\u{180e}',
            '\u{fe0f}',
            '\u{e0061}',
            '\u{2800}',
            '\u{a0}',
            '\u{2028}',
            '\u{34f}',
            '\u{e000}',
            '\u{ffff}',
            '\u{10fffe}',
        ] {
            let inside = format!("ro{c}ot");
            assert_eq!(check_words(&inside), Err(INVISIBLE), "{:?}", c);
            let email = format!("{inside}@example.org");
            assert_eq!(check_address(&email), Err(INVISIBLE), "{:?}", c);
        }
    }

    #[test]
    fn names_in_many_alphabets_are_accepted() {
        for good in [
            "",
            "Ada Lovelace",
            "O'Neil-Smith",
            "José Ñandú",
            "Işık Yıldız",
            "Сара",
            "Иван Smith",
            "山田 たろう",
            "Renée 2nd",
            "محمد",
            "Ελένη",
            "김 철수",
            "ci",
            "Łukasz",
        ] {
            assert_eq!(check_words(good), Ok(()), "{good}");
        }
        for (bad, words) in [
            ("rооt", MIXED),
            ("Аdmin", MIXED),
            ("ａｄｍｉｎ", DISGUISED),
            ("𝐚𝐝𝐦𝐢𝐧", DISGUISED),
            ("ⓐdmin", DISGUISED),
        ] {
            assert_eq!(check_words(bad), Err(words), "{bad}");
        }
    }

    #[test]
    fn look_alike_emails_are_refused() {
        for good in [
            "ada@example.org",
            "ü@straße.de",
            "o'neil@x-y.io",
            "иван@пример.рф",
            "иван@example.org",
            "josé@example.org",
            "山田@example.jp",
        ] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        for (bad, words) in [
            ("jose\u{301}@example.org", NOT_COMPOSED),
            ("rоot@example.org", MIXED),
            ("root@exаmple.org", MIXED),
            ("сосо@example.org", LATIN_LOOKING),
            ("root@сос.org", LATIN_LOOKING),
            ("dıana@example.org", LATIN_LOOKING),
            ("root@example.ｏrg", DISGUISED),
        ] {
            assert_eq!(check_address(bad), Err(words), "{bad}");
        }
    }
}
