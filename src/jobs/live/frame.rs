//! What the events of a job's stream hold.

use hyprbox_protocol::Stream;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::store::job::{Job, JobStatus};

/// The state of a job, as the stream's `status` event tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::jobs) struct StatusEvent {
    pub(in crate::jobs) status: JobStatus,
    pub(in crate::jobs) started_at: Option<Timestamp>,
    pub(in crate::jobs) cancel_requested_at: Option<Timestamp>,
}

/// The end of a job, as the stream's `done` event tells it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::jobs) struct DoneEvent {
    status: JobStatus,
    exit_code: Option<i64>,
    error_msg: Option<String>,
    finished_at: Option<Timestamp>,
}

/// A piece of one stream, as the stream's `output` event tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::jobs) struct OutputEvent {
    pub(in crate::jobs) stream: Stream,
    pub(in crate::jobs) offset: u64,
    pub(in crate::jobs) end: u64,
    pub(in crate::jobs) data: String,
    /// When it arrived.
    #[serde(skip)]
    pub(in crate::jobs) at: Timestamp,
    /// Lines of both streams that had begun once its first byte was there: the number of the line
    /// that this byte begins. `None` where they are not counted.
    #[serde(skip)]
    pub(in crate::jobs) line: Option<u64>,
}

/// The same for those who ask for times.
#[derive(Debug, Serialize)]
pub(in crate::jobs) struct TimedOutput<'e> {
    #[serde(flatten)]
    output: &'e OutputEvent,
    at: Timestamp,
    line: Option<u64>,
}

impl OutputEvent {
    /// Whether each byte of it stands in `data` as it was: no U+FFFD in place of some.
    pub(in crate::jobs) fn is_exact(&self) -> bool {
        self.data.len() as u64 == self.end - self.offset
    }

    /// What of it comes from `offset` on; `None` where it can't be cut there.
    pub(in crate::jobs) fn rest_from(&self, offset: u64) -> Option<Self> {
        let told = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        let rest = self.data.get(told..).filter(|_| self.is_exact())?;
        let begun = line_ends(&self.data.as_bytes()[..told]);
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

/// How many lines end in `bytes`.
pub(in crate::jobs) fn line_ends(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
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

/// How far both streams were told, in bytes since the job began: stdout, stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::jobs) struct Offsets {
    pub(in crate::jobs) stdout: u64,
    pub(in crate::jobs) stderr: u64,
}

impl Offsets {
    pub(in crate::jobs) fn of(self, stream: Stream) -> u64 {
        match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        }
    }

    pub(in crate::jobs) fn set(&mut self, stream: Stream, offset: u64) {
        match stream {
            Stream::Stdout => self.stdout = offset,
            Stream::Stderr => self.stderr = offset,
        }
    }
}
