//! The id of an event in a job's stream, by which a viewer resumes.

use std::fmt;
use std::str::FromStr;

use hyprbox_protocol::Stream;

use crate::jobs::live::events::{Offsets, StatusEvent};
use crate::store::job::{Job, JobStatus};

/// A viewer's progress: the last state it received, and its offsets in both streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::jobs) struct EventId {
    state: char,
    pub(in crate::jobs) offsets: Offsets,
}

/// The letter of a viewer that has received no state yet.
const NO_STATE: char = '-';

impl EventId {
    pub(in crate::jobs) fn new(status: Option<&StatusEvent>, offsets: Offsets) -> Self {
        Self {
            state: status.map_or(NO_STATE, state_letter),
            offsets,
        }
    }

    /// Where a viewer that sent `last_id` resumes: right after that event, or at the start if the
    /// id can't be of this job.
    pub(in crate::jobs) fn resume(last_id: Option<Self>, job: &Job) -> Self {
        let is_of_job = |id: &Self| {
            let counts = job.counts();
            id.offsets
                .iter()
                .all(|(stream, offset)| *offset <= counts[stream].bytes)
        };
        last_id
            .filter(is_of_job)
            .unwrap_or_else(|| Self::new(None, Offsets::default()))
    }

    /// Whether the viewer has received no state yet.
    pub(in crate::jobs) fn is_opening(&self) -> bool {
        self.state == NO_STATE
    }

    /// Whether `status` comes later in a job's life than the state that the viewer received.
    pub(in crate::jobs) fn is_before(&self, status: &StatusEvent) -> bool {
        let order = |state| "-qrwkc".find(state).unwrap_or(usize::MAX);
        order(self.state) < order(state_letter(status))
    }

    /// Whether `status` is the state that the viewer received.
    pub(in crate::jobs) fn has_status(&self, status: &StatusEvent) -> bool {
        self.state == state_letter(status)
    }
}

fn state_letter(status: &StatusEvent) -> char {
    match status.status {
        JobStatus::Queued => 'q',
        JobStatus::Running if status.cancel_requested_at.is_some() => 'c',
        JobStatus::Running if status.confirm_requested_at.is_some() => 'k',
        JobStatus::Running if status.confirm_by.is_some() => 'w',
        JobStatus::Running => 'r',
        JobStatus::Succeeded => 's',
        JobStatus::Failed => 'f',
        JobStatus::Cancelled => 'x',
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.state)?;
        write_offsets(f, self.offsets)
    }
}

/// Writes offsets as they stand in ids, such as `12-7`.
pub(in crate::jobs) fn write_offsets(f: &mut fmt::Formatter<'_>, offsets: Offsets) -> fmt::Result {
    let [stdout, stderr] = Stream::ALL.map(|stream| offsets[stream]);
    write!(f, "{stdout}-{stderr}")
}

/// Reads offsets as they stand in ids.
pub(in crate::jobs) fn parse_offsets(text: &str) -> Option<Offsets> {
    let number = |digits: &str| {
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| is_plain)
    };
    let (stdout, stderr) = text.split_once('-')?;
    Some(Offsets::new(number(stdout)?, number(stderr)?))
}

/// The text is not an event's id.
#[derive(Debug)]
pub(in crate::jobs) struct InvalidEventId;

impl FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let state = text
            .chars()
            .next()
            .filter(|c| "-qrwkcsfx".contains(*c))
            .ok_or(InvalidEventId)?;
        let offsets = parse_offsets(&text[1..]).ok_or(InvalidEventId)?;
        Ok(Self { state, offsets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip() {
        for text in ["-0-0", "r12-7", "s4194304-0"] {
            let id: EventId = text.parse().expect(text);
            assert_eq!(id.to_string(), text);
        }
        for text in [
            "",
            "r",
            "r1",
            "r-1",
            "r1-",
            "z1-1",
            "r+1-1",
            "r1-99999999999999999999999",
            "\u{e9}1-1",
        ] {
            assert!(text.parse::<EventId>().is_err(), "{text}");
        }
    }
}
