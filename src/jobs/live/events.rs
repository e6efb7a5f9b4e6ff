//! The events of a job's stream.

use hyprbox_protocol::{PerStream, Stream};
use serde::Serialize;

use crate::clock::Timestamp;
use crate::store::job::{Job, JobStatus};
use crate::store::output::count_newlines;

/// Offsets in both streams, in bytes since the job began.
pub(in crate::jobs) type Offsets = PerStream<u64>;

/// The `status` event: a job's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::jobs) struct StatusEvent {
    pub(in crate::jobs) status: JobStatus,
    pub(in crate::jobs) started_at: Option<Timestamp>,
    pub(in crate::jobs) cancel_requested_at: Option<Timestamp>,
}

impl From<&Job> for StatusEvent {
    fn from(job: &Job) -> Self {
        Self {
            status: job.status,
            started_at: job.started_at,
            cancel_requested_at: job.cancel_requested_at,
        }
    }
}

/// The `done` event: a job's end.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::jobs) struct DoneEvent {
    status: JobStatus,
    exit_code: Option<i64>,
    error_msg: Option<String>,
    finished_at: Option<Timestamp>,
}

impl From<&Job> for DoneEvent {
    fn from(job: &Job) -> Self {
        Self {
            status: job.status,
            exit_code: job.exit_code,
            error_msg: job.error_msg.clone(),
            finished_at: job.finished_at,
        }
    }
}

/// The `output` event: a piece of one stream as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::jobs) struct OutputEvent {
    pub(in crate::jobs) stream: Stream,
    pub(in crate::jobs) offset: u64,
    pub(in crate::jobs) end: u64,
    pub(in crate::jobs) data: String,
    /// When the piece arrived.
    #[serde(skip)]
    pub(in crate::jobs) at: Timestamp,
    /// Lines of both streams that had begun once the first byte was there: the number of the line
    /// that this byte begins or continues. `None` if the job's lines are not counted.
    #[serde(skip)]
    pub(in crate::jobs) line: Option<u64>,
}

/// An `output` event with its time and line number, for clients that ask for `times`.
#[derive(Debug, Serialize)]
pub(in crate::jobs) struct TimedOutput<'e> {
    #[serde(flatten)]
    output: &'e OutputEvent,
    at: Timestamp,
    line: Option<u64>,
}

impl OutputEvent {
    /// Whether `data` holds every byte unchanged, without U+FFFD in place of some.
    pub(in crate::jobs) fn is_exact(&self) -> bool {
        self.data.len() as u64 == self.end - self.offset
    }

    /// The part from `offset` on, or `None` if the event can't be cut there.
    pub(in crate::jobs) fn rest_from(&self, offset: u64) -> Option<Self> {
        let skipped = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        let rest = self.data.get(skipped..).filter(|_| self.is_exact())?;
        let begun = count_newlines(&self.data.as_bytes()[..skipped]);
        Some(Self {
            stream: self.stream,
            offset,
            end: self.end,
            data: rest.to_owned(),
            at: self.at,
            line: self.line.map(|line| line + begun),
        })
    }

    pub(in crate::jobs) fn timed(&self) -> TimedOutput<'_> {
        TimedOutput {
            output: self,
            at: self.at,
            line: self.line,
        }
    }
}
