//! Times in words, for tables.

use crate::clock::{self, Timestamp};

/// How long ago: `now`, `12 s ago`, `5 min ago`, `3 h ago`, `2 d ago`; the date if longer.
pub(super) fn ago(at: Timestamp) -> String {
    since(at, clock::now())
}

fn since(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.millis_since(at) / 1_000;
    match seconds {
        ..1 => "now".to_owned(),
        1..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        86_400..1_209_600 => format!("{} d ago", seconds / 86_400),
        _ => at.to_string().chars().take(10).collect(),
    }
}

/// How long until then: `now`, `in 12 s`, `in 5 min`, `in 3 h`, `in 2 d`; the date if longer.
pub(super) fn until(at: Timestamp) -> String {
    distance(at, clock::now())
}

fn distance(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.millis_since(now) / 1_000;
    match seconds {
        ..1 => "now".to_owned(),
        1..60 => format!("in {seconds} s"),
        60..3_600 => format!("in {} min", seconds / 60),
        3_600..86_400 => format!("in {} h", seconds / 3_600),
        86_400..1_209_600 => format!("in {} d", seconds / 86_400),
        _ => at.to_string().chars().take(10).collect(),
    }
}

/// How long a job ran, or has been running: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 1 min`.
pub(super) fn took(from: Option<Timestamp>, to: Option<Timestamp>) -> String {
    let Some(from) = from else {
        return String::new();
    };
    length(to.unwrap_or_else(clock::now).millis_since(from).max(0))
}

fn length(millis: i64) -> String {
    let seconds = millis.max(0) / 1_000;
    match seconds {
        ..10 => format!("{}.{} s", seconds, millis.max(0) % 1_000 / 100),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

/// A time, and how long ago it was.
pub(super) fn moment(at: Option<Timestamp>) -> String {
    at.map_or_else(String::new, |at| format!("{at} ({})", ago(at)))
}

/// `12:34:56Z`, as a waiting job prints it.
pub(super) fn time_of_day(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{}Z", text.get(11..19).unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_words() {
        let now = Timestamp::from_millis(1_795_512_600_000);
        for (seconds, words) in [
            (0, "now"),
            (-5, "now"),
            (59, "59 s ago"),
            (61, "1 min ago"),
            (7_200, "2 h ago"),
            (172_800, "2 d ago"),
            (2_000_000, "2026-11-01"),
        ] {
            assert_eq!(since(now.plus_millis(-seconds * 1_000), now), words);
        }
        for (seconds, words) in [
            (-5, "now"),
            (59, "in 59 s"),
            (61, "in 1 min"),
            (7_200, "in 2 h"),
            (172_800, "in 2 d"),
            (2_000_000, "2026-12-17"),
        ] {
            assert_eq!(distance(now.plus_millis(seconds * 1_000), now), words);
        }
        for (millis, words) in [
            (420, "0.4 s"),
            (12_300, "12 s"),
            (185_000, "3 min 5 s"),
            (7_260_000, "2 h 1 min"),
            (-1, "0.0 s"),
        ] {
            assert_eq!(length(millis), words);
        }
    }
}
