//! The events of a job's stream.

use hyprbox_protocol::{PerStream, Stream};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::store::job::{Job, JobStatus};
use crate::store::output::count_newlines;

/// Offsets in both streams, in bytes since the job began.
pub(in crate::jobs) type Offsets = PerStream<u64>;

/// The `status` event: a job's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusEvent {
    pub status: JobStatus,
    pub started_at: Option<Timestamp>,
    pub cancel_requested_at: Option<Timestamp>,
    /// Until when the job waits for a confirmation. Left out of the event unless it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_by: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_requested_at: Option<Timestamp>,
}

impl From<&Job> for StatusEvent {
    fn from(job: &Job) -> Self {
        Self {
            status: job.status,
            started_at: job.started_at,
            cancel_requested_at: job.cancel_requested_at,
            confirm_by: job.confirm_by,
            confirm_requested_at: job.confirm_requested_at,
        }
    }
}

/// The `done` event: a job's end.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DoneEvent {
    pub status: JobStatus,
    pub exit_code: Option<i64>,
    pub error_msg: Option<String>,
    pub finished_at: Option<Timestamp>,
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

/// A job's event with the byte counts of its output, in streams of exact bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counted<E> {
    #[serde(flatten)]
    pub event: E,
    pub stdout_bytes: u64,
    pub stderr_bytes: u64,
    pub stdout_dropped: u64,
    pub stderr_dropped: u64,
}

impl<E: for<'j> From<&'j Job>> From<&Job> for Counted<E> {
    fn from(job: &Job) -> Self {
        Self {
            event: E::from(job),
            stdout_bytes: job.stdout.bytes,
            stderr_bytes: job.stderr.bytes,
            stdout_dropped: job.stdout.dropped,
            stderr_dropped: job.stderr.dropped,
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
    /// If the piece ends with a line that announces a step: when this line was written, in
    /// milliseconds since bash began, by the node's clock.
    #[serde(skip)]
    pub(in crate::jobs) step_ms: Option<u64>,
}

/// An `output` event with its times and line number, for clients that ask for `times`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::jobs) struct TimedOutput<'e> {
    #[serde(flatten)]
    output: &'e OutputEvent,
    at: Timestamp,
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step_ms: Option<u64>,
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
            step_ms: self.step_ms,
        })
    }

    pub(in crate::jobs) fn timed(&self) -> TimedOutput<'_> {
        TimedOutput {
            output: self,
            at: self.at,
            line: self.line,
            step_ms: self.step_ms,
        }
    }
}
