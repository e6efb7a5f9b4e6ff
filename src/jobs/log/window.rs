//! Reads a job's kept output from the store, window by window, up to its end when the reading
//! began.
//!
//! No database connection is held between two windows, so that a slow client blocks nothing. The
//! bytes to send are fixed at the start. If the tail moves on and one of them is dropped before it
//! was read, the reading fails: later bytes must not take its place.

use hyprbox_protocol::{PerStream, Stream};

use crate::jobs::{JobError, Jobs};
use crate::store::Tx;
use crate::store::job::{self, Job};
use crate::store::output::{self, StoredChunk};

/// Bytes read from the store at a time.
pub(super) const WINDOW_BYTES: u64 = 128 * 1024;

fn is_wanted(only: Option<Stream>, stream: Stream) -> bool {
    only.is_none_or(|only| only == stream)
}

/// The number of kept bytes of `only` one stream, or of both.
pub(in crate::jobs) fn kept_bytes(job: &Job, only: Option<Stream>) -> u64 {
    let counts = job.counts();
    let wanted = counts.iter().filter(|(stream, _)| is_wanted(only, *stream));
    wanted
        .map(|(_, counts)| counts.bytes - counts.dropped)
        .sum()
}

/// Reads a job's kept output.
#[derive(Debug)]
pub(in crate::jobs) struct WindowReader {
    job_id: String,
    only: Option<Stream>,
    /// Chunks before this position were read.
    position: u64,
    /// The offset of each stream up to which it was read.
    at: PerStream<u64>,
    /// The offset of each stream at which it ended when the reading began.
    ends: PerStream<u64>,
    /// Bytes to leave out before the first wanted one.
    skip: u64,
    /// Wanted bytes that were not read yet.
    left: u64,
}

impl WindowReader {
    /// A reader of everything that is kept now of `only` one stream, or of both in the order in
    /// which the agent read them.
    pub(in crate::jobs) fn new(job: &Job, only: Option<Stream>) -> Self {
        let counts = job.counts();
        Self {
            job_id: job.id.clone(),
            only,
            position: 0,
            at: counts.map(|counts| counts.start),
            ends: counts.map(|counts| counts.bytes),
            skip: 0,
            left: kept_bytes(job, only),
        }
    }

    /// Limits the reader to `length` of the remaining bytes, starting with the one at `from`. Both
    /// must be within them.
    pub(in crate::jobs) fn range(self, from: u64, length: u64) -> Self {
        Self {
            skip: from,
            left: length,
            ..self
        }
    }

    /// Limits the reader to the last `bytes` bytes, or all if there are fewer.
    pub(in crate::jobs) fn last(self, bytes: u64) -> Self {
        let (from, length) = (self.left.saturating_sub(bytes), self.left.min(bytes));
        self.range(from, length)
    }

    /// Whether everything was read.
    pub(in crate::jobs) fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Reads the next chunks, the first and the last cut to what is wanted. Returns none when
    /// everything was read.
    pub(in crate::jobs) fn read(&mut self, tx: &mut dyn Tx) -> Result<Vec<StoredChunk>, JobError> {
        let mut wanted = Vec::new();
        while wanted.is_empty() && self.left > 0 {
            let job = self.find_job(tx)?;
            if self.skip > 0 && self.skip_chunks(tx, &job)? {
                continue;
            }
            let chunks = output::window(tx, &job, self.only, self.position, WINDOW_BYTES)?;
            if chunks.is_empty() {
                return Err(JobError::OutputDropped);
            }
            wanted.extend(chunks.into_iter().filter_map(|chunk| self.cut(chunk)));
        }
        Ok(wanted)
    }

    /// The job's row. Fails if a byte that was not read yet has been dropped.
    fn find_job(&self, tx: &mut dyn Tx) -> Result<Job, JobError> {
        let job = job::find(tx, &self.job_id)?.ok_or(JobError::OutputDropped)?;
        let is_dropped = job.counts().iter().any(|(stream, counts)| {
            let at = self.at[stream];
            is_wanted(self.only, stream) && at < self.ends[stream] && counts.start > at
        });
        if is_dropped {
            return Err(JobError::OutputDropped);
        }
        Ok(job)
    }

    /// Skips chunks without wanted bytes, and does not read them. Returns whether there were any.
    fn skip_chunks(&mut self, tx: &mut dyn Tx, job: &Job) -> Result<bool, JobError> {
        let mut has_skipped = false;
        for extent in output::extents(tx, job, self.only, self.position)? {
            if extent.length > self.skip {
                break;
            }
            self.skip -= extent.length;
            self.at[extent.stream] = extent.end_offset;
            self.position = extent.end_position;
            has_skipped = true;
        }
        Ok(has_skipped)
    }

    /// Cuts a chunk to its wanted bytes.
    fn cut(&mut self, mut chunk: StoredChunk) -> Option<StoredChunk> {
        self.position = chunk.end_position();
        if chunk.end_offset() > self.ends[chunk.stream] {
            // The chunk arrived after the reading began.
            return None;
        }
        self.at[chunk.stream] = chunk.end_offset();
        let skip = self.skip.min(chunk.data.len() as u64);
        self.skip -= skip;
        chunk.skip(skip);
        chunk
            .data
            .truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= chunk.data.len() as u64;
        (!chunk.data.is_empty()).then_some(chunk)
    }
}

/// The last part of a job's kept output.
#[derive(Debug)]
pub struct OutputEnd {
    /// In the order in which the agent read both streams.
    chunks: Vec<StoredChunk>,
    /// Whether the job wrote more before these chunks.
    is_cut: bool,
}

impl OutputEnd {
    /// Adds a chunk, joined with the last one if it continues there at the same time, since even
    /// a chunk of one byte takes a hundred bytes of memory.
    fn push(&mut self, chunk: StoredChunk) {
        if let Some(last) = self.chunks.last_mut()
            && last.stream == chunk.stream
            && last.arrived_at == chunk.arrived_at
            && last.end_offset() == chunk.start_offset
            && last.end_position() == chunk.position
        {
            last.data.extend_from_slice(&chunk.data);
        } else {
            self.chunks.push(chunk);
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        joined(&self.chunks)
    }

    pub fn into_bytes(self) -> Vec<u8> {
        joined(&self.chunks)
    }

    /// Whether the beginning of the job's output is missing.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    pub(super) fn chunks(&self) -> &[StoredChunk] {
        &self.chunks
    }
}

impl Jobs {
    /// The last `bytes` bytes of a job's kept output.
    pub async fn output_end(&self, id: String, bytes: u64) -> Result<OutputEnd, JobError> {
        self.store
            .read(move |tx| {
                let job = job::find(tx, &id)?.ok_or(JobError::NotFound)?;
                let mut reader = WindowReader::new(&job, None).last(bytes);
                let mut end = OutputEnd {
                    is_cut: reader.left < job.stdout.bytes + job.stderr.bytes,
                    chunks: Vec::new(),
                };
                while !reader.is_done() {
                    for chunk in reader.read(tx)? {
                        end.push(chunk);
                    }
                }
                Ok::<_, JobError>(end)
            })
            .await
    }
}

/// The bytes of all chunks.
pub(in crate::jobs) fn joined(chunks: &[StoredChunk]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(chunks.iter().map(|chunk| chunk.data.len()).sum());
    for chunk in chunks {
        bytes.extend_from_slice(&chunk.data);
    }
    bytes
}
