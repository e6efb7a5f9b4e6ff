//! The machine's clock, by which time stamps of scripts and of the benchmark can be compared.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the microseconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
pub(crate) fn micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(0))
}

/// Parses bash's `EPOCHREALTIME` into microseconds.
pub(crate) fn parse_bash_time(stamp: &str) -> Option<u64> {
    let (seconds, micros) = stamp.trim().split_once('.')?;
    Some(seconds.parse::<u64>().ok()? * 1_000_000 + micros.parse::<u64>().ok()?)
}
