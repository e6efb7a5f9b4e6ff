//! How far a client of `GET /api/events` was told: the id of an event, by which it resumes.

use std::fmt;

use crate::clock::{self, Timestamp};
use crate::hub::REMEMBERED_MS;
use crate::jobs::live::frame::Offsets;

/// What is told again after a resume, in milliseconds: events that were under way when the id was
/// made.
pub(in crate::jobs) const OVERLAP_MS: i64 = 5_000;

/// Until when the client was told all that changed, and how far each named job was.
#[derive(Debug, Clone)]
pub(in crate::jobs) struct Place {
    pub(in crate::jobs) at: Timestamp,
    pub(in crate::jobs) named: Vec<(String, Offsets)>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.at.as_millis())?;
        for (id, offsets) in &self.named {
            write!(f, ",{id}:{}-{}", offsets.stdout, offsets.stderr)?;
        }
        Ok(())
    }
}

impl Place {
    pub(in crate::jobs) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let at = Timestamp::from_millis(parts.next()?.parse().ok()?);
        let named = parts.map(|part| {
            let (id, offsets) = part.split_once(':')?;
            let (stdout, stderr) = offsets.split_once('-')?;
            Some((
                id.to_owned(),
                Offsets {
                    stdout: stdout.parse().ok()?,
                    stderr: stderr.parse().ok()?,
                },
            ))
        });
        Some(Self {
            at,
            named: named.collect::<Option<_>>()?,
        })
    }

    /// A client that was away for long hears how things stand anew, as does one from the future:
    /// then a clock was put back.
    pub(in crate::jobs) fn is_recent(&self) -> bool {
        (-OVERLAP_MS..REMEMBERED_MS).contains(&clock::now().millis_since(self.at))
    }

    pub(in crate::jobs) fn of(&self, job_id: &str) -> Option<Offsets> {
        self.named
            .iter()
            .find(|(id, _)| id == job_id)
            .map(|(_, offsets)| *offsets)
    }
}
