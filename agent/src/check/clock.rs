//! This machine's clock, against the server's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Finding;

/// What a line and a slow machine explain.
const SLACK: Duration = Duration::from_secs(60);
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Compares the clock with an answer's `Date`; nothing where that can't be read.
pub(super) fn look(date: &str) -> Option<Finding> {
    let theirs = parse(date)?;
    let own = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let (apart, word) = if own < theirs {
        (theirs.saturating_sub(own), "behind")
    } else {
        (own.saturating_sub(theirs), "ahead of")
    };
    Some(if apart < SLACK {
        Finding::good("clock", "it goes with the server's")
    } else {
        Finding::wrong(
            "clock",
            format!("it is {} {word} the server's", span(apart)),
            "set the clock of whichever is wrong, and keep it so by NTP: timedatectl set-ntp true",
        )
    })
}

fn span(time: Duration) -> String {
    match time.as_secs() {
        s if s < 7_200 => format!("{} min", s / 60),
        s if s < 172_800 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

/// `Tue, 24 Nov 2026 09:30:00 GMT`, as the time since 1970.
fn parse(text: &str) -> Option<Duration> {
    let mut words = text.split_whitespace().skip(1);
    let day: u64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year: u64 = words.next()?.parse().ok()?;
    let clock: Vec<u64> = words
        .next()?
        .split(':')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let [hours, minutes, seconds] = clock.try_into().ok()?;
    let is_sound = (1..=31).contains(&day) && (1970..10_000).contains(&year) && hours < 24;
    if words.next() != Some("GMT") || !is_sound || minutes > 59 || seconds > 60 {
        return None;
    }
    // Years that begin in March have their odd day at the end.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let since = days.checked_sub(719_468)?;
    Some(Duration::from_secs(
        since * 86_400 + hours * 3_600 + minutes * 60 + seconds,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("Tue, 24 Nov 2026 09:30:00 GMT", 1_795_512_600),
        ] {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for odd in [
            "",
            "Tue, 24 Nov 2026",
            "Tue, 24 Now 2026 09:30:00 GMT",
            "Tue, 24 Nov 2026 09:30 GMT",
            "Tue, 24 Nov 2026 24:30:00 GMT",
            "Tue, 24 Nov 2026 09:30:00 CET",
            "Tue, 0 Nov 2026 09:30:00 GMT",
            "Tue, 24 Nov 99999999999 09:30:00 GMT",
        ] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn how_far_apart_is_told_roughly() {
        for (seconds, words) in [
            (61, "1 min"),
            (7_000, "116 min"),
            (7_200, "2 h"),
            (400_000, "4 days"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), words);
        }
    }
}
