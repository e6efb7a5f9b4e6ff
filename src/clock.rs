//! The one source of "now": UTC, in whole milliseconds.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A time in UTC, in milliseconds since 1970. Outside the program it is written as RFC 3339 with
/// milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Returns the current time by the machine's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
pub fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// Returns the current time in the form in which the system reports the times of files.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
pub fn system_now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

/// The longest sleep before the clock is read again, since it may have been changed.
const RECHECK: Duration = Duration::from_secs(30);

/// Waits until the machine's clock has reached this time.
pub async fn reached(at: Timestamp) {
    while let Ok(left @ 1..) = u64::try_from(at.millis_since(now())) {
        tokio::time::sleep(Duration::from_millis(left).min(RECHECK)).await;
    }
}

impl Timestamp {
    /// Parses RFC 3339 with an offset, from 1970 on, as people and programs send it.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let at: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(at.as_millisecond()).ok()?;
        Some(Self(at.as_millisecond()))
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns the time `millis` milliseconds after 1970, limited to the years that RFC 3339 can
    /// express.
    pub fn from_millis(millis: i64) -> Self {
        const YEAR_9999: i64 = 253_402_207_200_000;
        Self(millis.clamp(0, YEAR_9999))
    }

    /// Returns the time `millis` milliseconds later, or earlier if negative.
    pub fn plus_millis(self, millis: i64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this time; negative if `earlier` is later.
    pub fn millis_since(self, earlier: Timestamp) -> i64 {
        self.0 - earlier.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = jiff::Timestamp::from_millisecond(self.0).map_err(|_| fmt::Error)?;
        write!(f, "{at:.3}")
    }
}

/// A text that can't be read as a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a time: {0:?}")]
pub struct NotATime(String);

impl FromStr for Timestamp {
    type Err = NotATime;

    /// Parses RFC 3339, and the format of SQLite's `datetime('now')` (`2026-11-24 09:30:00`, in
    /// UTC).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NotATime(text.to_owned());
        if let Ok(at) = text.parse::<jiff::Timestamp>() {
            return Ok(Self(at.as_millisecond()));
        }
        let civil: jiff::civil::DateTime = text.parse().map_err(|_| wrong())?;
        let at = jiff::tz::TimeZone::UTC
            .to_timestamp(civil)
            .map_err(|_| wrong())?;
        Ok(Self(at.as_millisecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(
                utoipa::openapi::KnownFormat::DateTime,
            )))
            .description(Some("RFC 3339, UTC, with milliseconds"))
            .into()
    }
}

impl utoipa::ToSchema for Timestamp {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_with_milliseconds_and_read_back() {
        let at = Timestamp::from_millis(1_795_512_600_120);
        assert_eq!(at.to_string(), "2026-11-24T09:30:00.120Z");
        assert_eq!("2026-11-24T09:30:00.120Z".parse(), Ok(at));
        assert_eq!(
            Timestamp::from_millis(0).to_string(),
            "1970-01-01T00:00:00.000Z"
        );
        assert_eq!(
            Timestamp::from_millis(i64::MAX).to_string(),
            "9999-12-30T22:00:00.000Z"
        );
    }

    #[test]
    fn reads_what_an_operator_types() {
        let second = Timestamp::from_millis(1_795_512_600_000);
        assert_eq!("2026-11-24 09:30:00".parse(), Ok(second));
        assert_eq!("2026-11-24T10:30:00+01:00".parse(), Ok(second));
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
