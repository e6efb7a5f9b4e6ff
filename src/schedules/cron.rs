//! Cron expressions: five fields that name the local times at which a schedule is due.
//!
//! Which moment a local time is, on a day whose clock changes, is decided in
//! [`super::due_times`].

use jiff::civil::{Date, DateTime};

/// The years after which an expression without a due time counts as never due. 29 February falls on
/// a given day of the week at least once in 40 years, also across a century without it.
const YEARS_MAX: i16 = 41;
/// The longest expression that is read.
const LENGTH_MAX: usize = 1_000;
/// What an expression looks like, for messages.
const SHAPE: &str =
    "must have five fields, minute hour day month weekday, such as \"30 2 * * mon-fri\"";

/// A field of an expression.
struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    /// Names of values, the first for `min`.
    names: &'static [&'static str],
}

const MINUTE: Field = Field {
    name: "minute",
    min: 0,
    max: 59,
    names: &[],
};
const HOUR: Field = Field {
    name: "hour",
    min: 0,
    max: 23,
    names: &[],
};
const DAY: Field = Field {
    name: "day",
    min: 1,
    max: 31,
    names: &[],
};
const MONTH: Field = Field {
    name: "month",
    min: 1,
    max: 12,
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
};
/// 7 is Sunday as well.
const WEEKDAY: Field = Field {
    name: "weekday",
    min: 0,
    max: 7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

/// A parsed expression. Each field is a set of bits, one for each value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Either day field may match, because neither begins with `*`.
    is_either_day: bool,
    /// The minute or the hour has a `*`.
    follows_real_time: bool,
}

impl Cron {
    /// Parses an expression.
    ///
    /// # Errors
    /// What is wrong with it, as a rule that continues the field's name.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LENGTH_MAX {
            return Err(format!("must have at most {LENGTH_MAX} bytes"));
        }
        let text = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" => "0 0 1 1 *",
            short if short.starts_with('@') => {
                return Err(
                    "must be @hourly, @daily, @weekly, @monthly, @yearly or five fields".to_owned(),
                );
            }
            fields => fields,
        };
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!("{SHAPE}; this has {}", fields.len()));
        };
        let weekdays = parse_field(&WEEKDAY, weekday)?;
        let cron = Self {
            minutes: parse_field(&MINUTE, minute)?,
            hours: parse_field(&HOUR, hour)?,
            days: parse_field(&DAY, day)?,
            months: parse_field(&MONTH, month)?,
            // 7 becomes 0.
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            is_either_day: !day.starts_with('*') && !weekday.starts_with('*'),
            follows_real_time: minute.contains('*') || hour.contains('*'),
        };
        match cron.next_local(DateTime::constant(2000, 1, 1, 0, 0, 0, 0)) {
            Some(_) => Ok(cron),
            None => Err("is never due: no such date exists".to_owned()),
        }
    }

    /// Whether the schedule follows real time when the local clock changes, because its minute or
    /// hour has a `*`.
    pub(super) fn follows_real_time(&self) -> bool {
        self.follows_real_time
    }

    /// The first local time at or after `from` that matches.
    pub(super) fn next_local(&self, from: DateTime) -> Option<DateTime> {
        let last_year = from.year().saturating_add(YEARS_MAX);
        let mut date = from.date();
        let mut earliest = (from.hour() as u32, minute_at_or_after(from));
        while date.year() <= last_year {
            if !has(self.months, date.month() as u32) {
                date = date
                    .first_of_month()
                    .checked_add(jiff::Span::new().months(1))
                    .ok()?;
                earliest = (0, 0);
                continue;
            }
            if self.has_day(date)
                && let Some((hour, minute)) = self.next_time(earliest)
            {
                return Some(date.at(hour as i8, minute as i8, 0, 0));
            }
            date = date.tomorrow().ok()?;
            earliest = (0, 0);
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        let day = has(self.days, date.day() as u32);
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset() as u32);
        if self.is_either_day {
            day || weekday
        } else {
            day && weekday
        }
    }

    /// The first time of a day at or after this hour and minute. The minute may be 60.
    fn next_time(&self, (hour, minute): (u32, u32)) -> Option<(u32, u32)> {
        if has(self.hours, hour)
            && let Some(minute) = first_at(self.minutes, minute)
        {
            return Some((hour, minute));
        }
        let hour = first_at(self.hours, hour + 1)?;
        Some((hour, first_at(self.minutes, 0)?))
    }
}

/// The first whole minute at or after a time, 60 for one in the last minute's seconds.
fn minute_at_or_after(at: DateTime) -> u32 {
    let has_more = at.second() > 0 || at.subsec_nanosecond() > 0;
    at.minute() as u32 + u32::from(has_more)
}

fn has(set: u64, value: u32) -> bool {
    set & (1 << value) != 0
}

/// The lowest value of a set that is at least `least`, which must be below 64.
fn first_at(set: u64, least: u32) -> Option<u32> {
    let rest = set & (u64::MAX << least);
    (rest != 0).then(|| rest.trailing_zeros())
}

fn parse_field(field: &Field, text: &str) -> Result<u64, String> {
    let mut set = 0;
    for part in text.split(',') {
        set |= parse_part(field, part)
            .map_err(|rule| format!("has a wrong {}: {part:?} {rule}", field.name))?;
    }
    Ok(set)
}

/// `*`, `5`, `5-9`, each but the single value with a step such as `/2`.
fn parse_part(field: &Field, part: &str) -> Result<u64, String> {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    let (first, last) = match range.split_once('-') {
        _ if range == "*" => (field.min, field.max),
        Some((first, last)) => (parse_value(field, first)?, parse_value(field, last)?),
        None if step.is_some() => {
            return Err("has a step, so it needs a range or * before the slash".to_owned());
        }
        None => {
            let value = parse_value(field, range)?;
            (value, value)
        }
    };
    if first > last {
        return Err("must be a range from the lower value to the higher one".to_owned());
    }
    let step = match step {
        None => 1,
        Some(step) => parse_number(step)
            .filter(|step| *step > 0)
            .ok_or("must have a step of at least 1")?,
    };
    let values = (first..=last).step_by(step as usize);
    Ok(values.fold(0, |set, value| set | 1 << value))
}

fn parse_value(field: &Field, text: &str) -> Result<u32, String> {
    let named = field
        .names
        .iter()
        .position(|name| name.eq_ignore_ascii_case(text));
    let value = match named {
        Some(index) => u32::try_from(index).ok().map(|index| index + field.min),
        None => parse_number(text),
    };
    let names = match field.names {
        [first, .., last] => format!(" or {first} to {last}"),
        _ => String::new(),
    };
    value
        .filter(|value| (field.min..=field.max).contains(value))
        .ok_or_else(|| format!("must be {} to {}{names}", field.min, field.max))
}

/// A number without a sign, of at most four digits.
fn parse_number(text: &str) -> Option<u32> {
    let is_plain = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(expression: &str, from: &str) -> String {
        let cron = Cron::parse(expression).expect(expression);
        let from = from.parse().expect("a local time");
        cron.next_local(from).expect("is due").to_string()
    }

    #[test]
    fn fields_lists_ranges_steps_and_names() {
        let from = "2026-11-30T09:30";
        for (expression, due) in [
            ("30 9 * * *", "2026-11-30T09:30:00"),
            ("29 9 * * *", "2026-12-01T09:29:00"),
            ("*/20 * * * *", "2026-11-30T09:40:00"),
            ("1-59/20 * * * *", "2026-11-30T09:41:00"),
            ("0 8,12,16 * * *", "2026-11-30T12:00:00"),
            ("0 2 * * SUN", "2026-12-06T02:00:00"),
            ("0 2 * * 7", "2026-12-06T02:00:00"),
            ("0 2 * * 5-7", "2026-12-04T02:00:00"),
            ("0 2 * feb-Mar tue", "2027-02-02T02:00:00"),
            ("0 0 29 2 *", "2028-02-29T00:00:00"),
            ("@hourly", "2026-11-30T10:00:00"),
            ("@daily", "2026-12-01T00:00:00"),
            ("@weekly", "2026-12-06T00:00:00"),
            ("@monthly", "2026-12-01T00:00:00"),
            ("@yearly", "2027-01-01T00:00:00"),
        ] {
            assert_eq!(next(expression, from), due, "{expression}");
        }
    }

    #[test]
    fn either_day_field_may_match_unless_one_begins_with_a_star() {
        let from = "2026-11-30T12:00";
        // The 13th or a Friday.
        assert_eq!(next("0 0 13 * fri", from), "2026-12-04T00:00:00");
        // Every second day of the month that is a Friday.
        assert_eq!(next("0 0 */2 * fri", from), "2026-12-11T00:00:00");
        // The 13th, if it is a Sunday.
        assert_eq!(next("0 0 13 * */7", from), "2026-12-13T00:00:00");
    }

    #[test]
    fn a_time_within_a_minute_is_after_that_minute() {
        assert_eq!(
            next("* * * * *", "2026-12-31T23:59:00.001"),
            "2027-01-01T00:00:00"
        );
    }

    #[test]
    fn what_is_refused() {
        for wrong in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * 32 * *",
            "* * * 13 *",
            "* * * * 8",
            "5/10 * * * *",
            "*/0 * * * *",
            "9-5 * * * *",
            "a * * * *",
            "* * * * fri-mon",
            "-1 * * * *",
            "1,,2 * * * *",
            "+5 * * * *",
            "@reboot",
            "L * * * *",
            "* * 31 2 *",
            "* * 30,31 feb *",
            "0 0 L * *",
            "0 0 * * 5#3",
            "00005 * * * *",
        ] {
            assert!(Cron::parse(wrong).is_err(), "{wrong}");
        }
        let fault = Cron::parse("0 25 * * *").expect_err("hour");
        assert_eq!(fault, "has a wrong hour: \"25\" must be 0 to 23");
        let fault = Cron::parse("0 0 31 2 *").expect_err("31 February");
        assert_eq!(fault, "is never due: no such date exists");
    }

    #[test]
    fn the_rarest_date_is_found() {
        assert_eq!(
            next("0 0 29 2 */7", "2072-03-01T00:00"),
            "2088-02-29T00:00:00"
        );
        // There is no leap day in 2100.
        assert_eq!(
            next("0 0 29 2 */6", "2097-01-01T00:00"),
            "2116-02-29T00:00:00"
        );
    }
}
