//! Times in envelopes and in lists of signers, as milliseconds since 1970 in UTC.

/// Parses RFC 3339 in UTC with milliseconds, the one form that envelopes have:
/// `2026-11-24T09:30:00.123Z`.
pub fn millis_of_rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let is_form = bytes.len() == 24
        && [
            (4, b'-'),
            (7, b'-'),
            (10, b'T'),
            (13, b':'),
            (16, b':'),
            (19, b'.'),
            (23, b'Z'),
        ]
        .iter()
        .all(|(at, mark)| bytes[*at] == *mark);
    if !is_form {
        return None;
    }
    let number = |from: usize, to: usize| digits(&bytes[from..to]);
    let day = days_since_1970(number(0, 4)?, number(5, 7)?, number(8, 10)?)?;
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    Some(seconds_of(day, hour, minute, second)? * 1_000 + number(20, 23)?)
}

/// Parses a time of `valid-after` and `valid-before`: `YYYYMMDD`, `YYYYMMDDHHMM` or
/// `YYYYMMDDHHMMSS`, each with or without `Z`. All are read as UTC.
pub(crate) fn millis_of_signers_time(text: &str) -> Option<i64> {
    let bytes = text.strip_suffix(['Z', 'z']).unwrap_or(text).as_bytes();
    if !matches!(bytes.len(), 8 | 12 | 14) {
        return None;
    }
    let number = |from: usize| match bytes.get(from..from + 2) {
        Some(two) => digits(two),
        None => Some(0),
    };
    let day = days_since_1970(digits(&bytes[..4])?, number(4)?, number(6)?)?;
    seconds_of(day, number(8)?, number(10)?, number(12)?).map(|seconds| seconds * 1_000)
}

/// The time in the form that [`millis_of_signers_time`] parses, rounded up to a whole second.
pub(crate) fn signers_time(millis: i64) -> String {
    let seconds = millis.max(0).saturating_add(999) / 1_000;
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, date) = civil(day);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{date:02}{hour:02}{minute:02}{second:02}Z")
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + i64::from(digit - b'0'))
    })
}

fn seconds_of(day: i64, hour: i64, minute: i64, second: i64) -> Option<i64> {
    let is_time = hour < 24 && minute < 60 && second < 61;
    is_time.then_some(day * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; `None` if it does not exist or is
/// before 1970.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [
        31,
        28 + i64::from(is_leap),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let index = usize::try_from(month.checked_sub(1)?).ok()?;
    let length = *lengths.get(index)?;
    if year < 1970 || day < 1 || day > length {
        return None;
    }
    let before = year - 1;
    let years = before * 365 + before / 4 - before / 100 + before / 400;
    const TO_1970: i64 = 719_162;
    Some(years - TO_1970 + lengths[..index].iter().sum::<i64>() + day - 1)
}

/// The date of a day since 1970.
fn civil(day: i64) -> (i64, i64, i64) {
    let mut year = 1970 + day / 366;
    while days_since_1970(year + 1, 1, 1).is_some_and(|next| next <= day) {
        year += 1;
    }
    let month = (1..=12)
        .rev()
        .find(|month| days_since_1970(year, *month, 1).is_some_and(|first| first <= day))
        .unwrap_or(1);
    let first = days_since_1970(year, month, 1).unwrap_or(day);
    (year, month, day - first + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (text, millis) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2000-02-29T23:59:59.999Z", 951_868_799_999),
            ("2026-11-24T09:30:00.123Z", 1_795_512_600_123),
            ("2100-03-01T00:00:00.000Z", 4_107_542_400_000),
        ] {
            assert_eq!(millis_of_rfc3339(text), Some(millis), "{text}");
        }
        for wrong in [
            "",
            "2026-11-24T09:30:00Z",
            "2026-11-24T09:30:00.123+00:00",
            "2026-02-29T00:00:00.000Z",
            "2026-13-01T00:00:00.000Z",
            "2026-11-24T24:00:00.000Z",
            "2026-11-24T09:30:00.12xZ",
            "+026-11-24T09:30:00.123Z",
        ] {
            assert_eq!(millis_of_rfc3339(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn times_of_signers_have_three_lengths() {
        assert_eq!(millis_of_signers_time("19700102"), Some(86_400_000));
        assert_eq!(millis_of_signers_time("19700102Z"), Some(86_400_000));
        assert_eq!(millis_of_signers_time("197001010001"), Some(60_000));
        assert_eq!(millis_of_signers_time("19700101000001Z"), Some(1_000));
        for wrong in ["", "1970", "1970010", "197001010", "19701301", "forever"] {
            assert_eq!(millis_of_signers_time(wrong), None, "{wrong}");
        }
        for millis in [0, 951_868_799_000, 1_795_512_600_000, 4_107_542_399_000] {
            assert_eq!(millis_of_signers_time(&signers_time(millis)), Some(millis));
        }
    }
}
