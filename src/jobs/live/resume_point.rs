//! The id of an event of `GET /api/events`, by which a dashboard resumes.

use std::fmt;

use crate::clock::{self, Timestamp};
use crate::hub::REMEMBERED_MS;
use crate::jobs::live::event_id::{parse_offsets, write_offsets};
use crate::jobs::live::events::Offsets;

/// How far before its resume point a client receives changes again, in milliseconds: they may have
/// been on their way when the id was made.
pub(in crate::jobs) const OVERLAP_MS: i64 = 5_000;

/// A client's progress: the time up to which it received all changes, and its offsets in the
/// output of each named job.
#[derive(Debug, Clone)]
pub(in crate::jobs) struct ResumePoint {
    pub(in crate::jobs) at: Timestamp,
    pub(in crate::jobs) named: Vec<(String, Offsets)>,
}

impl fmt::Display for ResumePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.at.as_millis())?;
        for (id, offsets) in &self.named {
            write!(f, ",{id}:")?;
            write_offsets(f, *offsets)?;
        }
        Ok(())
    }
}

impl ResumePoint {
    pub(in crate::jobs) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let at = Timestamp::from_millis(parts.next()?.parse().ok()?);
        let named = parts.map(|part| {
            let (id, offsets) = part.split_once(':')?;
            Some((id.to_owned(), parse_offsets(offsets)?))
        });
        Some(Self {
            at,
            named: named.collect::<Option<_>>()?,
        })
    }

    /// Whether the hub still remembers all changes since then. A time in the future does not
    /// count: a clock was set back.
    pub(in crate::jobs) fn is_recent(&self) -> bool {
        (-OVERLAP_MS..REMEMBERED_MS).contains(&clock::now().millis_since(self.at))
    }

    /// The offsets in the output of a named job.
    pub(in crate::jobs) fn offsets_of(&self, job_id: &str) -> Option<Offsets> {
        self.named
            .iter()
            .find(|(id, _)| id == job_id)
            .map(|(_, offsets)| *offsets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resume_points_round_trip() {
        for text in ["1795512600120", "1795512600120,a:12-0,b:0-7"] {
            assert_eq!(ResumePoint::parse(text).expect(text).to_string(), text);
        }
        for text in ["", "x", "1,a", "1,a:1", "1,a:1-b"] {
            assert!(ResumePoint::parse(text).is_none(), "{text}");
        }
    }
}
