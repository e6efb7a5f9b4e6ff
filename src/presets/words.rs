//! Names and lines in a preset file.

/// The preset of a run whose script was given instead of a preset.
pub const ONE_OFF: &str = "-";

/// Whether this is `[a-z0-9-]+` and short enough for a file name and a heading. [`ONE_OFF`] stands
/// for no preset.
pub fn is_preset_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name != ONE_OFF
        && name
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// The name in the text of a preset, which may be invalid otherwise.
pub fn name_in(source: &str) -> Option<String> {
    let line = source.lines().find_map(|line| line.strip_prefix("name:"))?;
    let word = line.split('#').next().unwrap_or_default().trim();
    Some(word.trim_matches(['"', '\'']).to_owned())
}

/// Whether this is `[a-z][a-z0-9_]{0,62}`: a bash variable that neither bash nor the rendered
/// script uses, since theirs have capitals or begin with an underscore.
pub(super) fn is_param_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// Whether os-release(5) allows this `ID`. Such an ID needs no quotes in bash.
pub(super) fn is_os_id(id: &str) -> bool {
    (1..=63).contains(&id.len())
        && id
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

/// Whether this is one line of text. A control character could end a comment in the script, or act
/// on a terminal.
pub(super) fn is_line(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= 200 && !text.chars().any(char::is_control)
}

/// Whether there is a command to run: bash refuses empty parentheses, and a condition that has only
/// comments would always be true.
pub fn has_command(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    })
}

/// Whether `text` has `name` as a word. A name in a comment or a string counts as well: whoever
/// asks must be sure that a value is not used.
pub(super) fn has_word(text: &str, name: &str) -> bool {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_of_word(c)).any(|word| word == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_as_a_word() {
        for text in ["[[ $pw ]]", "echo \"${pw:-}\"", "# pw", "((pw > 1))"] {
            assert!(has_word(text, "pw"), "{text}");
        }
        for text in ["", "$pwd", "my_pw", "$pw2"] {
            assert!(!has_word(text, "pw"), "{text}");
        }
    }

    #[test]
    fn names() {
        assert!(is_param_name(&format!("a{}", "0".repeat(62))));
        for bad in ["", "A", "1a", "_a", "a-b", "é", &"a".repeat(64)] {
            assert!(!is_param_name(bad), "{bad}");
        }
        for bad in ["", "Debian", "deb ian", "deb*", "x)"] {
            assert!(!is_os_id(bad), "{bad}");
        }
        for bad in ["", "  ", "a\nb", "a\rb", "a\u{1b}[0m", &"a".repeat(201)] {
            assert!(!is_line(bad), "{bad:?}");
        }
        assert_eq!(name_in("# x\nname: a-b # c\n").as_deref(), Some("a-b"));
        assert_eq!(name_in("name: \"123\"\n").as_deref(), Some("123"));
        assert_eq!(name_in("title: x\n"), None);
        assert!(!has_command("# only\n\n  # comments\n"));
        assert!(has_command("# one\n  true"));
    }
}
