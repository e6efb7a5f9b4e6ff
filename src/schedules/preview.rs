//! The next due times of an expression that may not be stored yet.

use super::cron::Cron;
use super::due_times::{DueTime, DueTimes, find_zone};
use crate::clock;
use crate::http::{ApiError, FieldErrors};

/// How many due times a preview shows.
const COUNT: usize = 5;

/// The next five due times of an expression in a time zone.
///
/// # Errors
/// Names what is wrong with `cron` and `timeZone`.
pub fn upcoming_times(cron: &str, time_zone: &str) -> Result<Vec<DueTime>, ApiError> {
    let mut faults = FieldErrors::default();
    let cron = Cron::parse(cron).map_err(|rule| faults.add("cron", rule));
    let zone = find_zone(time_zone).map_err(|rule| faults.add("timeZone", rule));
    faults.into_result()?;
    Ok(match (cron, zone) {
        (Ok(cron), Ok(zone)) => DueTimes::new(cron, zone).upcoming(clock::now(), COUNT),
        _ => Vec::new(),
    })
}
