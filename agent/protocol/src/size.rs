//! Sizes as people write them: `512KiB`, `64MiB`, `1GiB`, or a number of bytes.

use std::fmt;

/// Units from large to small, each with its length in bytes.
const UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("", 1),
];

/// The sizes that a setting accepts. Its text completes the sentence "it must be …".
///
/// ```
/// use hyprbox_protocol::SizeRange;
///
/// let spool = SizeRange::bytes(4 << 20, 1 << 40);
/// assert_eq!(spool.parse("64MiB"), Some(67_108_864));
/// assert_eq!(spool.parse("67108864"), Some(67_108_864));
/// assert_eq!(spool.to_string(), "a size from 4MiB to 1TiB, such as 64MiB or 1GiB");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeRange {
    min: u64,
    max: u64,
}

impl SizeRange {
    /// Bytes from `min` to `max`.
    pub const fn bytes(min: u64, max: u64) -> Self {
        Self { min, max }
    }

    /// Parses a whole number with or without a unit. Returns `None` if `text` has another form or
    /// is out of range.
    pub fn parse(&self, text: &str) -> Option<u64> {
        let end = text.bytes().position(|byte| !byte.is_ascii_digit());
        let (number, unit) = text.split_at(end.unwrap_or(text.len()));
        let (_, length) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let bytes = number.parse::<u64>().ok()?.checked_mul(*length)?;
        (self.min..=self.max).contains(&bytes).then_some(bytes)
    }
}

impl fmt::Display for SizeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = (size_text(self.min), size_text(self.max));
        write!(f, "a size from {min} to {max}, such as 64MiB or 1GiB")
    }
}

/// A size as a whole number of its largest possible unit, as a setting accepts it: `1GiB`.
pub fn size_text(bytes: u64) -> String {
    let (unit, length) = UNITS
        .into_iter()
        .find(|(_, length)| bytes >= *length && bytes.is_multiple_of(*length))
        .unwrap_or(("", 1));
    format!("{}{unit}", bytes / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: SizeRange = SizeRange::bytes(1024, 1 << 40);

    #[test]
    fn a_number_with_or_without_a_unit() {
        for (text, bytes) in [
            ("1024", 1024),
            ("1KiB", 1024),
            ("64MiB", 64 << 20),
            ("1GiB", 1 << 30),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(RANGE.parse(text), Some(bytes), "{text}");
        }
        assert_eq!(size_text(1 << 30), "1GiB");
        assert_eq!(size_text(1536 << 20), "1536MiB");
        assert_eq!(size_text(1025), "1025");
        assert_eq!(size_text(0), "0");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "MiB",
            "1023",
            "2TiB",
            "1 MiB",
            "1mib",
            "1MB",
            "1M",
            "-1MiB",
            "+1MiB",
            "1.5GiB",
            "1GiB512MiB",
            "99999999999999999999",
            "99999999999999999TiB",
        ] {
            assert_eq!(RANGE.parse(text), None, "{text}");
        }
    }
}
