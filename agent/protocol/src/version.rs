//! Versions of the agent, and their order.

use std::cmp::Ordering;

/// Precedes the version in every agent's program file; a line end follows it. A server can thus
/// read the version of an agent that it ships without running it.
pub const AGENT_VERSION_MARK: &str = "hyprbox-agent-version=";

/// The most characters in a version.
const MAX_LENGTH: usize = 64;

/// A version such as `1.2.3`, or `1.2.3-rc.1`, which is older. A part after `+` does not affect the
/// order. Parsed by hand because this crate depends on little more than serde.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version<'a> {
    numbers: [u64; 3],
    /// The part after the `-`; empty for a release.
    pre_release: &'a str,
}

impl<'a> Version<'a> {
    /// Parses a version.
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.len() > MAX_LENGTH {
            return None;
        }
        let plain = text.split('+').next()?;
        let (release, pre_release) = match plain.split_once('-') {
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
        let is_whole = parts.next().is_none() && pre_release.bytes().all(is_plain);
        is_whole.then_some(Self {
            numbers,
            pre_release,
        })
    }
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers
            .cmp(&other.numbers)
            // A release is newer than its pre-releases.
            .then_with(|| {
                self.pre_release
                    .is_empty()
                    .cmp(&other.pre_release.is_empty())
            })
            .then_with(|| compare_parts(self.pre_release, other.pre_release))
    }
}

impl PartialOrd for Version<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares pre-releases: numbers by value (`rc.2` is older than `rc.10`), and numbers before
/// words.
fn compare_parts(one: &str, other: &str) -> Ordering {
    let key = |part: &str| match part.parse::<u64>() {
        Ok(number) => (0, number, String::new()),
        Err(_) => (1, 0, part.to_owned()),
    };
    one.split('.').map(key).cmp(other.split('.').map(key))
}

/// Whether the version `one` is older than `other`; false if either is not a version.
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
    fn versions_are_ordered() {
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
    fn other_texts_are_refused() {
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
