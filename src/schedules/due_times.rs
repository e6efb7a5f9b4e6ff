//! When a schedule is due: the moments of its local times, also on days whose clock changes.

use jiff::Timestamp as Instant;
use jiff::tz::TimeZone;

use super::cron::Cron;
use crate::clock::Timestamp;

/// A cron expression in a time zone.
#[derive(Debug, Clone)]
pub(super) struct DueTimes {
    cron: Cron,
    zone: TimeZone,
}

/// A due time in UTC and by the schedule's own clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueTime {
    /// UTC.
    pub at: Timestamp,
    /// RFC 3339 with the zone's offset.
    pub local: String,
}

/// Returns the time zone with this IANA name.
///
/// # Errors
/// What is wrong with the name, and the most similar one.
pub(super) fn find_zone(name: &str) -> Result<TimeZone, String> {
    let database = jiff::tz::db();
    if let Ok(zone) = database.get(name) {
        return Ok(zone);
    }
    let wanted = name.to_ascii_lowercase();
    let known: Vec<String> = database.available().map(|name| name.to_string()).collect();
    let distance = |known: &String| {
        let known = known.to_ascii_lowercase();
        let city = known.rsplit('/').next().unwrap_or_default();
        strsim::damerau_levenshtein(&known, &wanted).min(strsim::damerau_levenshtein(city, &wanted))
    };
    let hint = match known.iter().min_by_key(|name| distance(name)) {
        Some(nearest) if name.len() < 100 && distance(nearest) <= 4 => {
            format!("did you mean {nearest}?")
        }
        _ => "use a name such as Europe/Berlin".to_owned(),
    };
    Err(format!("is not an IANA time zone; {hint}"))
}

/// The names that a person chooses from: those of places, and UTC.
pub fn time_zones() -> Vec<String> {
    const AREAS: [&str; 10] = [
        "Africa",
        "America",
        "Antarctica",
        "Arctic",
        "Asia",
        "Atlantic",
        "Australia",
        "Europe",
        "Indian",
        "Pacific",
    ];
    let mut names: Vec<String> = jiff::tz::db()
        .available()
        .map(|name| name.to_string())
        .filter(|name| {
            name.split_once('/')
                .is_some_and(|(area, _)| AREAS.contains(&area))
        })
        .collect();
    names.push("UTC".to_owned());
    names.sort();
    names
}

impl DueTimes {
    /// The due times of this expression in this zone.
    pub(super) fn new(cron: Cron, zone: TimeZone) -> Self {
        Self { cron, zone }
    }

    /// The due times of a stored schedule; `None` if an operator has made it unreadable.
    pub(super) fn stored(cron: &str, zone: &str) -> Option<Self> {
        Some(Self::new(Cron::parse(cron).ok()?, find_zone(zone).ok()?))
    }

    /// The zone's name as IANA spells it.
    pub(super) fn zone_name(&self) -> String {
        self.zone.iana_name().unwrap_or("UTC").to_owned()
    }

    /// The first due time after `after`; `None` only at the end of the calendar.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = Instant::from_millisecond(after.as_millis()).ok()?;
        let next = if self.cron.follows_real_time() {
            self.next_in_real_time(after)
        } else {
            self.next_at_fixed_time(after)
        }?;
        Some(Timestamp::from_millis(next.as_millisecond()))
    }

    /// The next `count` due times.
    pub(super) fn upcoming(&self, after: Timestamp, count: usize) -> Vec<DueTime> {
        let times = std::iter::successors(self.next(after), |at| self.next(*at));
        times.take(count).map(|at| self.due_time(at)).collect()
    }

    fn due_time(&self, at: Timestamp) -> DueTime {
        let local = Instant::from_millisecond(at.as_millis()).map(|at| {
            let offset = self.zone.to_offset(at);
            at.display_with_offset(offset).to_string()
        });
        DueTime {
            at,
            local: local.unwrap_or_default(),
        }
    }

    /// A local time that does not exist is due at the first moment that does, and one that exists
    /// twice is due at the first.
    fn next_at_fixed_time(&self, after: Instant) -> Option<Instant> {
        // The moments of local times never decrease, and a local time up to that of `after` is not
        // after it.
        let mut local = self.zone.to_datetime(after);
        loop {
            local = self.cron.next_local(
                local
                    .checked_add(jiff::SignedDuration::from_nanos(1))
                    .ok()?,
            )?;
            let ambiguous = self.zone.to_ambiguous_timestamp(local);
            let at = match ambiguous.offset() {
                jiff::tz::AmbiguousOffset::Unambiguous { .. }
                | jiff::tz::AmbiguousOffset::Fold { .. } => ambiguous.compatible().ok()?,
                // The first moment after the gap.
                jiff::tz::AmbiguousOffset::Gap { .. } => {
                    let within = ambiguous.earlier().ok()?;
                    self.zone.following(within).next()?.timestamp()
                }
            };
            if at > after {
                return Some(at);
            }
        }
    }

    /// Local times as the clock on the wall shows them: one that does not exist is not due, and one
    /// that exists twice is due both times.
    fn next_in_real_time(&self, after: Instant) -> Option<Instant> {
        let mut from = after
            .checked_add(jiff::SignedDuration::from_nanos(1))
            .ok()?;
        loop {
            let offset = self.zone.to_offset(from);
            let change = self
                .zone
                .following(from)
                .next()
                .map(|change| change.timestamp());
            let local = self.cron.next_local(offset.to_datetime(from));
            let at = local.and_then(|local| offset.to_timestamp(local).ok());
            match (at, change) {
                (Some(at), Some(change)) if at < change => return Some(at),
                (Some(at), None) => return Some(at),
                (_, Some(change)) => from = change,
                (None, None) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let times = DueTimes::stored(cron, zone).expect("readable");
        let from = from.parse().expect("a time");
        let upcoming = times.upcoming(from, count);
        upcoming.into_iter().map(|time| time.local).collect()
    }

    #[test]
    fn a_fixed_time_that_does_not_exist_is_due_at_the_first_moment_that_does() {
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3),
            [
                "2026-03-28T02:30:00+01:00",
                "2026-03-29T03:00:00+02:00",
                "2026-03-30T02:30:00+02:00",
            ]
        );
        // Two missing times and one that exists are one moment.
        assert_eq!(
            times("0,30 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 2),
            ["2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"]
        );
        // A whole day is missing.
        assert_eq!(
            times("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", 3),
            [
                "2011-12-29T12:00:00-10:00",
                "2011-12-31T00:00:00+14:00",
                "2011-12-31T12:00:00+14:00",
            ]
        );
    }

    #[test]
    fn a_fixed_time_that_exists_twice_is_due_once_at_the_first() {
        assert_eq!(
            times(
                "30 1,2 * * *",
                "America/New_York",
                "2026-11-01T04:00:00Z",
                3
            ),
            [
                "2026-11-01T01:30:00-04:00",
                "2026-11-01T02:30:00-05:00",
                "2026-11-02T01:30:00-05:00",
            ]
        );
    }

    #[test]
    fn a_star_follows_real_time() {
        assert_eq!(
            times(
                "*/30 * * * *",
                "America/New_York",
                "2026-11-01T05:15:00Z",
                4
            ),
            [
                "2026-11-01T01:30:00-04:00",
                "2026-11-01T01:00:00-05:00",
                "2026-11-01T01:30:00-05:00",
                "2026-11-01T02:00:00-05:00",
            ]
        );
        assert_eq!(
            times("30 */1 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 2),
            ["2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"]
        );
        // A missing local time is skipped: the next day has it.
        assert_eq!(
            times("*/30 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 1),
            ["2026-03-30T02:00:00+02:00"]
        );
    }

    #[test]
    fn a_clock_that_changes_by_half_an_hour() {
        assert_eq!(
            times(
                "*/30 1,2 * * *",
                "Australia/Lord_Howe",
                "2026-04-04T14:15:00Z",
                5
            ),
            [
                "2026-04-05T01:30:00+11:00",
                "2026-04-05T01:30:00+10:30",
                "2026-04-05T02:00:00+10:30",
                "2026-04-05T02:30:00+10:30",
                "2026-04-06T01:00:00+10:30",
            ]
        );
    }

    #[test]
    fn an_unknown_zone_is_refused_with_the_most_similar_one() {
        assert_eq!(
            find_zone("Europe/Berln").map(|_| ()),
            Err("is not an IANA time zone; did you mean Europe/Berlin?".to_owned())
        );
        assert_eq!(
            find_zone("Mars/Olympus_Mons").map(|_| ()),
            Err("is not an IANA time zone; use a name such as Europe/Berlin".to_owned())
        );
        assert!(find_zone("UTC").is_ok());
        assert!(find_zone("").is_err());
    }

    #[derive(serde::Deserialize)]
    struct Case {
        zone: String,
        cron: String,
        count: usize,
        sha256: String,
    }

    /// tests/cases/cron.py makes the table with another implementation.
    #[test]
    fn two_years_in_ten_zones_equal_an_independent_implementation() {
        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../../tests/cases/cron.json")).expect("JSON");
        assert_eq!(cases.len(), 100);
        let begin: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let end: Timestamp = "2028-01-01T00:00:00Z".parse().expect("a time");
        for case in cases {
            let times = DueTimes::stored(&case.cron, &case.zone).expect("readable");
            let due = std::iter::successors(times.next(begin), |at| times.next(*at));
            let due: Vec<String> = due
                .take_while(|at| *at < end)
                .map(|at| format!("{}\n", at.as_millis() / 1_000))
                .collect();
            let digest = ring::digest::digest(&ring::digest::SHA256, due.concat().as_bytes());
            assert_eq!(
                (due.len(), hyprbox_protocol::to_hex(digest)),
                (case.count, case.sha256),
                "{} in {}",
                case.cron,
                case.zone
            );
        }
    }
}
