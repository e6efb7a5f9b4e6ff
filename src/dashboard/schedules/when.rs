//! Due times in words, by the clock of the schedule's zone.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use crate::clock::{self, Timestamp};
use crate::dashboard::words;
use crate::schedules::{DueTime, ScheduleView};

/// The time by the clock of its zone; in UTC if the zone is unknown.
fn local(at: Timestamp, zone: &str) -> DateTime {
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    let at = jiff::Timestamp::from_millisecond(at.as_millis());
    zone.to_datetime(at.unwrap_or(jiff::Timestamp::UNIX_EPOCH))
}

/// `tomorrow at 03:00`, `Friday at 03:00`, `3 January 2027 at 03:00`.
fn day_and_time(at: Timestamp, zone: &str, now: Timestamp) -> String {
    let (at, now) = (local(at, zone), local(now, zone));
    let days = at.date().duration_since(now.date()).as_hours() / 24;
    let day = match days {
        -1 => "yesterday".to_owned(),
        0 => "today".to_owned(),
        1 => "tomorrow".to_owned(),
        2..=6 => at.strftime("%A").to_string(),
        _ => at.strftime("%-d %B %Y").to_string(),
    };
    format!("{day} at {}", at.strftime("%H:%M"))
}

/// The time in words, with the time in UTC as its title.
pub(super) fn spoken(at: Timestamp, zone: &str) -> Markup {
    html! {
        time datetime=(at.to_string()) title=(words::plain_time(at)) { (day_and_time(at, zone, clock::now())) }
    }
}

/// A due time of the past: `2026-12-01 03:00`.
pub(super) fn plain(at: Timestamp, zone: &str) -> String {
    local(at, zone).strftime("%Y-%m-%d %H:%M").to_string()
}

/// The next due time: in words, and how long it takes until then.
pub(super) fn next(schedule: &ScheduleView) -> Markup {
    html! {
        @match schedule.next_due_at {
            Some(at) => {
                (spoken(at, &schedule.time_zone)) ", " (schedule.time_zone)
                " " span.dim { (words::ahead_of(at)) }
            }
            None => { "never" }
        }
    }
}

/// The next due times in both zones. `schedule.js` draws the same rows.
pub(super) fn table(times: &[DueTime], zone: &str) -> Markup {
    html! {
        table.due {
            thead { tr { th scope="col" { (zone) } th scope="col" { "UTC" } th scope="col" { "When" } } }
            tbody { @for time in times {
                tr {
                    td.main { (with_weekday(&time.local)) }
                    td data-label="UTC" { (with_weekday(&time.at.to_string())) }
                    td data-label="When" { (words::ahead_of(time.at)) }
                }
            } }
        }
    }
}

/// `Tue 2026-12-01 03:00 +01:00` for a time as RFC 3339; without the offset if that is `Z`.
fn with_weekday(time: &str) -> String {
    let date = time.get(..10).unwrap_or_default();
    let weekday = date.parse::<jiff::civil::Date>();
    let weekday = weekday.map(|date| date.strftime("%a ").to_string());
    let offset = time.get(19..).filter(|rest| !rest.ends_with('Z'));
    let words = format!(
        "{}{date} {} {}",
        weekday.unwrap_or_default(),
        time.get(11..16).unwrap_or_default(),
        offset.unwrap_or_default()
    );
    words.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_times_are_named_by_the_day_of_their_zone() {
        // In Berlin it is Monday, half past midnight.
        let now: Timestamp = "2026-11-29T23:30:00Z".parse().expect("a time");
        for (at, zone, words) in [
            ("2026-11-30T02:00:00Z", "Europe/Berlin", "today at 03:00"),
            ("2026-11-30T02:00:00Z", "UTC", "tomorrow at 02:00"),
            ("2026-12-01T02:00:00Z", "Europe/Berlin", "tomorrow at 03:00"),
            ("2026-12-06T02:00:00Z", "Europe/Berlin", "Sunday at 03:00"),
            (
                "2026-12-07T02:00:00Z",
                "Europe/Berlin",
                "7 December 2026 at 03:00",
            ),
            (
                "2026-11-29T02:00:00Z",
                "Europe/Berlin",
                "yesterday at 03:00",
            ),
            (
                "2026-11-28T02:00:00Z",
                "Europe/Berlin",
                "28 November 2026 at 03:00",
            ),
        ] {
            let at = at.parse().expect("a time");
            assert_eq!(day_and_time(at, zone, now), words, "{zone}");
        }
    }

    #[test]
    fn times_have_their_weekday_and_offset() {
        assert_eq!(
            with_weekday("2026-12-01T03:00:00+01:00"),
            "Tue 2026-12-01 03:00 +01:00"
        );
        assert_eq!(
            with_weekday("2026-12-01T02:00:00.000Z"),
            "Tue 2026-12-01 02:00"
        );
    }
}
