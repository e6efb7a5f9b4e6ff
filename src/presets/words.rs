//! The small languages inside a preset file: names, lines, durations.

use super::schema::MAX_TIMEOUT_SECONDS;

/// `[a-z0-9-]+`, and short enough for a file name and a heading.
pub(super) fn is_preset_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// `[a-z][a-z0-9_]{0,62}`: a bash variable, and none that bash itself or the rendered script uses,
/// since those have capitals or begin with an underscore.
pub(super) fn is_param_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// What os-release(5) allows as `ID`. Nothing in it needs quoting in bash.
pub(super) fn is_os_id(id: &str) -> bool {
    (1..=63).contains(&id.len())
        && id
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

/// One line for people: no control character, which would break out of a comment or a terminal's
/// line.
pub(super) fn is_line(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= 200 && !text.chars().any(char::is_control)
}

/// Whether there is anything to run: bash refuses an empty pair of parentheses, and a condition of
/// nothing but comments would always hold.
pub(super) fn has_command(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    })
}

/// `90s`, `10m`, `2h`, `1d`, and several of them from large to small (`1h30m`): seconds, 1 to
/// [`MAX_TIMEOUT_SECONDS`].
pub(super) fn parse_duration(text: &str) -> Result<u32, String> {
    let expected =
        || format!("{text:?} must be a time such as 90s, 10m, 2h or 1h30m, from 1s to 7d");
    let mut seconds: u32 = 0;
    let mut last_unit = u32::MAX;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u32 = rest[..digits].parse().map_err(|_| expected())?;
        let unit = match rest.as_bytes().get(digits) {
            Some(b's') => 1,
            Some(b'm') => 60,
            Some(b'h') => 3_600,
            Some(b'd') => 86_400,
            _ => return Err(expected()),
        };
        if unit >= last_unit {
            return Err(expected());
        }
        last_unit = unit;
        seconds = number
            .checked_mul(unit)
            .and_then(|more| seconds.checked_add(more))
            .ok_or_else(expected)?;
        rest = &rest[digits + 1..];
    }
    if (1..=MAX_TIMEOUT_SECONDS).contains(&seconds) {
        Ok(seconds)
    } else {
        Err(expected())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [
            ("1s", 1),
            ("90s", 90),
            ("10m", 600),
            ("1h30m", 5_400),
            ("1d1h1m1s", 90_061),
            ("7d", 604_800),
            ("604800s", 604_800),
        ] {
            assert_eq!(parse_duration(text), Ok(seconds), "{text}");
        }
        for text in [
            "",
            "10",
            "m",
            "0s",
            "8d",
            "604801s",
            "1m1h",
            "1m1m",
            "1.5h",
            "-1s",
            "+1s",
            "10 m",
            "10M",
            "1ms",
            "99999999999s",
            "4294967295d",
            "1é",
            "10m ",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
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
        assert!(!has_command("# only\n\n  # comments\n"));
        assert!(has_command("# one\n  true"));
    }
}
