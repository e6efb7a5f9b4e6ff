//! Reading the kept output of a job from the store, a window at a time, as far as it went when the
//! reading began.
//!
//! Between two windows no connection to the store is held: a client that takes its time keeps
//! nothing busy. What is read was promised at the start, to the byte. When the tail moves on and a
//! promised byte falls off its head before it was read, the reading fails: the bytes after it must
//! not come in its place.

use hyprbox_protocol::Stream;

use crate::jobs::live::frame::Offsets;
use crate::jobs::log::steps::{self, Step};
use crate::jobs::{JobError, JobView, Jobs};
use crate::store::job::{self, Job, StreamCounts};
use crate::store::output::{self, StoredChunk};
use crate::store::{StoreError, Tx};

/// Bytes read from the store at a time.
pub(super) const WINDOW_BYTES: u64 = 128 * 1024;

/// Why the reading ends before everything that was promised was read.
#[derive(Debug, thiserror::Error)]
pub(in crate::jobs) enum KeptError {
    /// The job went on writing, or is deleted: what was promised is not there any more.
    #[error("the output that was asked for fell off the head while it was read")]
    Fallen,
    /// The store's own.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How many bytes are kept of `only` one stream, or of both.
pub(in crate::jobs) fn kept_bytes(job: &Job, only: Option<Stream>) -> u64 {
    let kept = |counts: StreamCounts| counts.bytes - counts.dropped;
    match only {
        Some(stream) => kept(counts_of(job, stream)),
        None => kept(job.stdout) + kept(job.stderr),
    }
}

fn counts_of(job: &Job, stream: Stream) -> StreamCounts {
    match stream {
        Stream::Stdout => job.stdout,
        Stream::Stderr => job.stderr,
    }
}

/// A reading of a job's kept output.
#[derive(Debug)]
pub(in crate::jobs) struct Reading {
    job_id: String,
    only: Option<Stream>,
    /// Chunks before this position were read.
    position: u64,
    /// How far each stream was read, and where it ended when the reading began.
    at: Offsets,
    ends: Offsets,
    /// Bytes to be left out before the first that is wanted.
    skip: u64,
    /// Bytes that are wanted and were not read yet.
    left: u64,
}

impl Reading {
    /// Everything that is kept now of `only` one stream, or of both in the order in which the agent
    /// read them.
    pub(in crate::jobs) fn new(job: &Job, only: Option<Stream>) -> Self {
        Self {
            job_id: job.id.clone(),
            only,
            position: 0,
            at: Offsets {
                stdout: job.stdout.start,
                stderr: job.stderr.start,
            },
            ends: Offsets {
                stdout: job.stdout.bytes,
                stderr: job.stderr.bytes,
            },
            skip: 0,
            left: kept_bytes(job, only),
        }
    }

    /// Of what is left, `length` bytes from `from` on; both are within it.
    pub(in crate::jobs) fn part(self, from: u64, length: u64) -> Self {
        Self {
            skip: from,
            left: length,
            ..self
        }
    }

    /// The last `bytes` bytes, or all where there are fewer.
    pub(in crate::jobs) fn end(self, bytes: u64) -> Self {
        let (from, length) = (self.left.saturating_sub(bytes), self.left.min(bytes));
        self.part(from, length)
    }

    /// Whether everything was read.
    pub(in crate::jobs) fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Reads on: whole chunks, less what is not wanted of the first and the last. None at all:
    /// everything was read.
    pub(in crate::jobs) fn read(&mut self, tx: &mut dyn Tx) -> Result<Vec<StoredChunk>, KeptError> {
        let mut wanted = Vec::new();
        while wanted.is_empty() && self.left > 0 {
            self.check(tx)?;
            if self.skip > 0 && self.pass_over(tx)? {
                continue;
            }
            let chunks =
                output::kept_window(tx, &self.job_id, self.only, self.position, WINDOW_BYTES)?;
            if chunks.is_empty() {
                return Err(KeptError::Fallen);
            }
            wanted.extend(chunks.into_iter().filter_map(|chunk| self.take(chunk)));
        }
        Ok(wanted)
    }

    /// Fails when a byte that was promised and not read has fallen off.
    fn check(&self, tx: &mut dyn Tx) -> Result<(), KeptError> {
        let job = job::find(tx, &self.job_id)?.ok_or(KeptError::Fallen)?;
        let has_fallen = |stream| {
            let at = self.at.of(stream);
            at < self.ends.of(stream) && counts_of(&job, stream).start > at
        };
        let streams = Stream::ALL.into_iter();
        let mut wanted = streams.filter(|stream| self.only.is_none_or(|only| only == *stream));
        if wanted.any(has_fallen) {
            return Err(KeptError::Fallen);
        }
        Ok(())
    }

    /// Passes over chunks of which nothing is wanted, without reading their bytes; whether there
    /// were any.
    fn pass_over(&mut self, tx: &mut dyn Tx) -> Result<bool, KeptError> {
        let mut passed = false;
        for place in output::kept_places(tx, &self.job_id, self.only, self.position)? {
            let end = place.start_offset + place.length;
            let kept = end - self.at.of(place.stream).max(place.start_offset).min(end);
            if kept > self.skip {
                break;
            }
            self.skip -= kept;
            self.at.set(place.stream, end);
            self.position = place.position + place.length;
            passed = true;
        }
        Ok(passed)
    }

    /// What is wanted of a chunk.
    fn take(&mut self, mut chunk: StoredChunk) -> Option<StoredChunk> {
        let end = chunk.start_offset + chunk.data.len() as u64;
        self.position = chunk.position + chunk.data.len() as u64;
        if end > self.ends.of(chunk.stream) {
            // It came after the reading began.
            return None;
        }
        // The chunk at the tail's edge is stored whole; its head has fallen off.
        let fallen = self.at.of(chunk.stream).saturating_sub(chunk.start_offset);
        self.at.set(chunk.stream, end);
        let from = (fallen + self.skip).min(chunk.data.len() as u64);
        self.skip = self.skip.saturating_sub(from.saturating_sub(fallen));
        chunk.data.drain(..usize::try_from(from).ok()?);
        chunk
            .data
            .truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= chunk.data.len() as u64;
        chunk.start_offset += from;
        (!chunk.data.is_empty()).then_some(chunk)
    }
}

/// The end of a job's kept output, read at once.
#[derive(Debug)]
pub struct OutputEnd {
    /// In the order in which the agent read both streams.
    chunks: Vec<StoredChunk>,
    /// Whether the job had written more before it.
    is_cut: bool,
}

impl OutputEnd {
    /// Adds a chunk. One that goes on from the last one at the same time is joined with it: a chunk
    /// of one byte takes a hundred.
    fn push(&mut self, chunk: StoredChunk) {
        if let Some(last) = self.chunks.last_mut()
            && last.stream == chunk.stream
            && last.arrived_at == chunk.arrived_at
            && last.start_offset + last.data.len() as u64 == chunk.start_offset
            && last.position + last.data.len() as u64 == chunk.position
        {
            last.data.extend_from_slice(&chunk.data);
        } else {
            self.chunks.push(chunk);
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        joined(&self.chunks)
    }

    /// Its bytes, in place of its chunks.
    pub fn into_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for chunk in self.chunks {
            bytes.extend_from_slice(&chunk.data);
        }
        bytes
    }

    /// Whether the beginning of the job's output is missing.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The steps that it tells of, of a job that stands so. Of those that began before it nothing
    /// is known.
    pub fn steps(&self, job: &JobView) -> Vec<Step> {
        steps::read(&self.chunks, job.status, job.finished_at)
    }
}

impl Jobs {
    /// The last `bytes` bytes of the kept output of a job that was found.
    pub async fn output_end(&self, id: String, bytes: u64) -> Result<OutputEnd, JobError> {
        self.store
            .read(move |tx| {
                let job = job::find(tx, &id)?.ok_or(JobError::NotFound)?;
                let mut reading = Reading::new(&job, None).end(bytes);
                let mut end = OutputEnd {
                    is_cut: reading.left < job.stdout.bytes + job.stderr.bytes,
                    chunks: Vec::new(),
                };
                while !reading.is_done() {
                    for chunk in reading.read(tx)? {
                        end.push(chunk);
                    }
                }
                Ok::<_, JobError>(end)
            })
            .await
    }
}

/// The bytes of chunks, one after the other.
pub(in crate::jobs) fn joined(chunks: &[StoredChunk]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(chunks.iter().map(|chunk| chunk.data.len()).sum());
    for chunk in chunks {
        bytes.extend_from_slice(&chunk.data);
    }
    bytes
}
