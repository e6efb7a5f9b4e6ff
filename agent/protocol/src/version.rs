//! Versions of the agent: what an agent calls itself, and which of two is the older.

use std::cmp::Ordering;

/// What stands before the version in the file of every agent, for whatever machine it was built; a
/// line's end stands after it. So whoever ships the file can tell its version without running it.
pub const AGENT_VERSION_MARK: &str = "hyprbox-agent-version=";

/// Characters of a version at the most.
const MAX_LENGTH: usize = 64;

/// `1.2.3`, or `1.2.3-rc.1` before it. What a `+` adds says nothing of the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version<'a> {
    numbers: [u64; 3],
    /// What stands after the `-`; empty for the release itself.
    before: &'a str,
}

impl<'a> Version<'a> {
    /// Reads one; `None` for anything else.
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.len() > MAX_LENGTH {
            return None;
        }
        let plain = text.split('+').next()?;
        let (release, before) = match plain.split_once('-') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (plain, ""),
        };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
        let mut numbers = [0; 3];
        let mut parts = release.split('.');
        for number in &mut numbers {
            let part = parts.next()?;
            let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
            *number = part.parse().ok().filter(|_| is_number)?;
        }
        let is_whole = parts.next().is_none() && before.bytes().all(is_plain);
        is_whole.then_some(Self { numbers, before })
    }
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers
            .cmp(&other.numbers)
            // The release comes after all that came before it.
            .then_with(|| self.before.is_empty().cmp(&other.before.is_empty()))
            .then_with(|| by_parts(self.before, other.before))
    }
}

impl PartialOrd for Version<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `rc.2` comes before `rc.10`: numbers count as numbers, and before words.
fn by_parts(one: &str, other: &str) -> Ordering {
    let key = |part: &str| match part.parse::<u64>() {
        Ok(number) => (0, number, String::new()),
        Err(_) => (1, 0, part.to_owned()),
    };
    one.split('.').map(key).cmp(other.split('.').map(key))
}

/// Whether the version `one` is older than `other`; false where either is none.
pub fn is_older(one: &str, other: &str) -> bool {
    match (Version::parse(one), Version::parse(other)) {
        (Some(one), Some(other)) => one < other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_in_order() {
        let order = [
            "0.1.0-alpha",
            "0.1.0-rc.2",
            "0.1.0-rc.10",
            "0.1.0",
            "0.1.1",
            "0.2.0",
            "0.10.0",
            "1.0.0",
        ];
        for (at, one) in order.iter().enumerate() {
            for (place, other) in order.iter().enumerate() {
                assert_eq!(is_older(one, other), at < place, "{one} {other}");
            }
        }
        assert!(!is_older("0.1.0+a", "0.1.0+b") && !is_older("0.1.0+b", "0.1.0+a"));
    }

    #[test]
    fn anything_else_is_none() {
        let long = format!("1.2.3-{}", "a".repeat(100));
        for odd in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "v1.2.3",
            "1.2.x",
            "1.2.-3",
            "1.2.3-",
            "+1.2.3",
            "1.+2.3",
            "1.2.3 ",
            "1.2.3-ü",
            "99999999999999999999.0.0",
            &long,
        ] {
            assert_eq!(Version::parse(odd), None, "{odd:?}");
            assert!(!is_older(odd, "9.9.9"), "{odd:?}");
        }
    }
}
