//! Times in the form that the API has: RFC 3339 in UTC.

use std::time::Duration;

/// A time since 1970, with milliseconds.
pub(crate) fn rfc3339(since_1970: Duration) -> String {
    let whole = seconds_as_rfc3339(since_1970.as_secs());
    let millis = since_1970.subsec_millis();
    format!("{}.{millis:03}Z", whole.trim_end_matches('Z'))
}

/// A time in seconds since 1970.
pub(crate) fn seconds_as_rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date_of(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a number of days since 1970. Counts eras of 400 years from a first of
/// March, so that leap days are at the end of a year.
fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = 400 * era + year + u64::from(month <= 2);
    (year, month, day_of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_written_as_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(seconds_as_rfc3339(seconds), text);
        }
        let time = Duration::from_millis(951_782_399_007);
        assert_eq!(rfc3339(time), "2000-02-28T23:59:59.007Z");
    }
}
