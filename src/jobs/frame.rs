//! What the events of a job's stream hold.

use hyprbox_protocol::Stream;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::store::job::{Job, JobStatus};

/// The state of a job, as the stream's `status` event tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatusEvent {
    pub(super) status: JobStatus,
    pub(super) started_at: Option<Timestamp>,
    pub(super) cancel_requested_at: Option<Timestamp>,
}

/// The end of a job, as the stream's `done` event tells it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DoneEvent {
    status: JobStatus,
    exit_code: Option<i64>,
    error_msg: Option<String>,
    finished_at: Option<Timestamp>,
}

/// A piece of one stream, as the stream's `output` event tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct OutputEvent {
    pub(super) stream: Stream,
    pub(super) offset: u64,
    pub(super) end: u64,
    pub(super) data: String,
    /// When it arrived.
    #[serde(skip)]
    pub(super) at: Timestamp,
    /// Lines of both streams that had begun once its first byte was there: the number of the line that this byte begins.
    /// `None` where they are not counted.
    #[serde(skip)]
    pub(super) line: Option<u64>,
}

/// The same for those who ask for times.
#[derive(Debug, Serialize)]
pub(super) struct TimedOutput<'e> {
    #[serde(flatten)]
    output: &'e OutputEvent,
    at: Timestamp,
    line: Option<u64>,
}

impl OutputEvent {
    /// Whether each byte of it stands in `data` as it was: no U+FFFD in place of some.
    pub(super) fn is_exact(&self) -> bool {
        self.data.len() as u64 == self.end - self.offset
    }

    /// What of it comes from `offset` on; `None` where it can't be cut there.
    pub(super) fn rest_from(&self, offset: u64) -> Option<Self> {
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

    pub(super) fn timed(&self) -> TimedOutput<'_> {
        TimedOutput {
            output: self,
            at: self.at,
            line: self.line,
        }
    }
}

/// How many lines end in `bytes`.
pub(super) fn line_ends(bytes: &[u8]) -> u64 {
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
pub(super) struct Offsets {
    pub(super) stdout: u64,
    pub(super) stderr: u64,
}

impl Offsets {
    pub(super) fn of(self, stream: Stream) -> u64 {
        match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        }
    }

    pub(super) fn set(&mut self, stream: Stream, offset: u64) {
        match stream {
            Stream::Stdout => self.stdout = offset,
            Stream::Stderr => self.stderr = offset,
        }
    }
}
