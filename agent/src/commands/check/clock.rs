//! Compares this machine's clock with the server's.

use std::time::{Duration, SystemTime};

use super::Finding;
use crate::clock::system_now;

/// A difference that a slow connection or machine can explain.
const SLACK: Duration = Duration::from_secs(60);

/// Compares the clock with the `Date` header of a response; `None` if the header can't be parsed.
pub(super) fn compare(date: &str) -> Option<Finding> {
    let server_time = parse(date)?;
    let (apart, direction) = match system_now().duration_since(server_time) {
        Ok(apart) => (apart, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    Some(if apart < SLACK {
        Finding::good("clock", "it agrees with the server's")
    } else {
        Finding::wrong(
            "clock",
            format!("it is {} {direction} the server's", span(apart)),
            "set whichever clock is wrong, and keep it right with NTP: timedatectl set-ntp true",
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

/// `Tue, 24 Nov 2026 09:30:00 GMT`.
fn parse(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn http_dates_are_parsed() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("Tue, 24 Nov 2026 09:30:00 GMT", 1_795_512_600),
        ] {
            let at = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(parse(text), Some(at), "{text}");
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
    fn differences_are_rounded() {
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
