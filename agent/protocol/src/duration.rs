//! Time spans as people write them: `90s`, `10m`, `1h30m`, `2d`.

use std::fmt;
use std::time::Duration;

/// Units from large to small, each with its length in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 24 * 60 * 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// Examples for error messages; a message shows those that its setting accepts.
const EXAMPLES: [&str; 5] = ["1500ms", "90s", "10m", "1h30m", "2d"];

/// The time spans that a setting accepts. Its text completes the sentence "it must be …".
///
/// ```
/// use hyprbox_protocol::TimeRange;
///
/// let timeout = TimeRange::seconds(1, 604_800);
/// assert_eq!(timeout.parse("1h30m").map(|time| time.as_secs()), Some(5400));
/// assert_eq!(
///     timeout.to_string(),
///     "a time from 1s to 7d, such as 90s, 10m, 1h30m or 2d"
/// );
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    min_millis: u64,
    max_millis: u64,
    /// The length of the smallest unit that is accepted.
    step_millis: u64,
}

impl TimeRange {
    /// Whole seconds from `min` to `max`.
    pub const fn seconds(min: u64, max: u64) -> Self {
        Self {
            min_millis: min * 1000,
            max_millis: max * 1000,
            step_millis: 1000,
        }
    }

    /// Milliseconds from `min` to `max`.
    pub const fn millis(min: u64, max: u64) -> Self {
        Self {
            min_millis: min,
            max_millis: max,
            step_millis: 1,
        }
    }

    /// Parses whole numbers with units from large to small, such as `1h30m`. Returns `None` if
    /// `text` has another form or is out of range.
    pub fn parse(&self, text: &str) -> Option<Duration> {
        let mut units = UNITS
            .iter()
            .filter(|(_, length)| *length >= self.step_millis);
        let mut millis: u64 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let (number, after) = split_where(rest, |byte| !byte.is_ascii_digit());
            let (unit, after) = split_where(after, |byte| byte.is_ascii_digit());
            // The search goes on after the last unit, so that none comes twice or out of order.
            let (_, length) = units.find(|(name, _)| *name == unit)?;
            let part = number.parse::<u64>().ok()?.checked_mul(*length)?;
            millis = millis.checked_add(part)?;
            rest = after;
        }
        let in_range = (self.min_millis..=self.max_millis).contains(&millis);
        (in_range && !text.is_empty()).then(|| Duration::from_millis(millis))
    }
}

/// Splits `text` before its first byte that `is_end` accepts.
fn split_where(text: &str, is_end: impl Fn(u8) -> bool) -> (&str, &str) {
    text.split_at(text.bytes().position(is_end).unwrap_or(text.len()))
}

impl fmt::Display for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = (in_one_unit(self.min_millis), in_one_unit(self.max_millis));
        write!(f, "a time from {min} to {max}, such as ")?;
        let examples = EXAMPLES.map(|example| self.parse(example).map(|_| example));
        let examples: Vec<_> = examples.into_iter().flatten().collect();
        match examples.split_last() {
            Some((last, others @ [_, ..])) => write!(f, "{} or {last}", others.join(", ")),
            Some((only, [])) => f.write_str(only),
            None => f.write_str(&max),
        }
    }
}

/// A time span as a whole number of its largest possible unit: `90s`, `7d`.
fn in_one_unit(millis: u64) -> String {
    let (unit, length) = UNITS
        .into_iter()
        .find(|(_, length)| millis >= *length && millis.is_multiple_of(*length))
        .unwrap_or(("s", 1000));
    format!("{}{unit}", millis / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: TimeRange = TimeRange::seconds(1, 604_800);
    const HOUR: TimeRange = TimeRange::millis(1000, 3_600_000);

    #[test]
    fn numbers_with_units_from_large_to_small() {
        for (text, seconds) in [
            ("1s", 1),
            ("90s", 90),
            ("10m", 600),
            ("1h30m", 5_400),
            ("1d1h1m1s", 90_061),
            ("7d", 604_800),
            ("604800s", 604_800),
        ] {
            assert_eq!(
                WEEK.parse(text),
                Some(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        for (text, millis) in [("1500ms", 1500), ("1s500ms", 1500), ("1h", 3_600_000)] {
            let parsed = HOUR.parse(text);
            assert_eq!(parsed, Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
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
            "2000ms",
            "99999999999s",
            "18446744073709551615d",
            "1é",
            "10m ",
        ] {
            assert_eq!(WEEK.parse(text), None, "{text}");
        }
        for text in ["999ms", "3600001ms", "2h", "1ms1s"] {
            assert_eq!(HOUR.parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_range_names_its_bounds_and_examples_of_its_own() {
        for (range, text) in [
            (WEEK, "a time from 1s to 7d, such as 90s, 10m, 1h30m or 2d"),
            (HOUR, "a time from 1s to 1h, such as 1500ms, 90s or 10m"),
            (
                TimeRange::seconds(0, 90),
                "a time from 0s to 90s, such as 90s",
            ),
            (TimeRange::seconds(1, 5), "a time from 1s to 5s, such as 5s"),
        ] {
            assert_eq!(range.to_string(), text);
        }
    }
}
