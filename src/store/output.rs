//! A job's output: chunks at their offsets, in the order in which they arrived.

use hyprbox_protocol::Stream;

use super::job::Job;
use super::tx::{FromValue, Statement, Tx, Value, read_all};
use super::{StoreError, job_step, values};
use crate::clock::Timestamp;

static INSERT: Statement = Statement::new(include_str!("sql/chunk_insert.sql"));
static COUNT: Statement = Statement::new(include_str!("sql/output_count.sql"));
static OLDEST: Statement = Statement::new(include_str!("sql/chunk_oldest.sql"));
static DROP: Statement = Statement::new(include_str!("sql/chunk_drop.sql"));
static WINDOW: Statement = Statement::new(include_str!("sql/chunk_window.sql"));
static LENGTHS: Statement = Statement::new(include_str!("sql/chunk_lengths.sql"));
static HOLDING: Statement = Statement::new(include_str!("sql/chunk_holding.sql"));
static FOLLOWING: Statement = Statement::new(include_str!("sql/chunk_following.sql"));

impl FromValue for Stream {
    fn from_value(value: Value) -> Option<Self> {
        let name = String::from_value(value)?;
        Stream::ALL
            .into_iter()
            .find(|stream| stream.as_str() == name)
    }
}

impl From<Stream> for Value {
    fn from(stream: Stream) -> Self {
        Value::from(stream.as_str())
    }
}

/// A kept piece of a stream.
#[derive(Debug, Clone)]
pub struct StoredChunk {
    pub stream: Stream,
    /// Bytes of the stream before this chunk, since the job began.
    pub start_offset: u64,
    /// Bytes of both streams that had arrived before this chunk.
    pub position: u64,
    pub arrived_at: Timestamp,
    /// Lines of both streams that had begun once the first byte was there; `None` if the job's
    /// lines are not counted.
    pub line: Option<u64>,
    /// If the chunk ends with a line that announces a step: when this line was written, in
    /// milliseconds since bash began, by the node's clock. `arrived_at` is the same time by the
    /// server's.
    pub step_ms: Option<u64>,
    pub data: Vec<u8>,
}

impl StoredChunk {
    /// The stream's offset after this chunk.
    pub fn end_offset(&self) -> u64 {
        self.start_offset + self.data.len() as u64
    }

    /// The position after this chunk.
    pub fn end_position(&self) -> u64 {
        self.position + self.data.len() as u64
    }

    /// Removes the first `bytes` bytes, or all if there are fewer.
    pub fn skip(&mut self, bytes: u64) {
        let count = usize::try_from(bytes).map_or(self.data.len(), |n| n.min(self.data.len()));
        let skipped = self.data.drain(..count);
        self.line = self
            .line
            .map(|line| line + count_newlines(skipped.as_slice()));
        drop(skipped);
        self.start_offset += count as u64;
        self.position += count as u64;
    }
}

/// The number of lines that end in `bytes`.
pub fn count_newlines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// Inserts a chunk. No other chunk may hold its bytes.
pub fn insert(tx: &mut dyn Tx, job_id: &str, chunk: &StoredChunk) -> Result<(), StoreError> {
    tx.execute(
        &INSERT,
        values![
            job_id,
            chunk.stream,
            chunk.start_offset,
            chunk.position,
            chunk.arrived_at,
            chunk.line,
            chunk.data.as_slice()
        ],
    )
    .map(|_| ())
}

/// Stores a job's output counts.
pub fn set_counts(tx: &mut dyn Tx, job: &Job, now: Timestamp) -> Result<(), StoreError> {
    let Job { stdout, stderr, .. } = job;
    let [stdout_hash, stderr_hash] = job.proof.states.clone().into_values();
    tx.execute(
        &COUNT,
        values![
            &job.id,
            job.lines,
            job.position,
            stdout.bytes,
            stdout.dropped,
            stdout.start,
            stdout.is_open,
            stdout.rows,
            stderr.bytes,
            stderr.dropped,
            stderr.start,
            stderr.is_open,
            stderr.rows,
            now,
            job.script_began_at,
            stdout_hash,
            stderr_hash
        ],
    )
    .map(|_| ())
}

/// Start offset and length of a stream's oldest chunks, at most 256.
pub fn oldest(
    tx: &mut dyn Tx,
    job_id: &str,
    stream: Stream,
) -> Result<Vec<(u64, u64)>, StoreError> {
    read_all(tx.query(&OLDEST, values![job_id, stream])?, |row| {
        Ok((row.take()?, row.take()?))
    })
}

/// Deletes a stream's chunks that begin before `start_offset` and returns how many there were.
pub fn drop_before(
    tx: &mut dyn Tx,
    job_id: &str,
    stream: Stream,
    start_offset: u64,
) -> Result<u64, StoreError> {
    tx.execute(&DROP, values![job_id, stream, start_offset])
}

/// Reads kept chunks of `only` one stream, or of both, from `position` on, in order: about `bytes`
/// bytes, and always the first chunk.
///
/// The chunk at the head of the kept tail is stored whole; here it begins at the first kept byte.
/// Chunks are cut after each line that announces a step, so that each part has the time at which it
/// was written at the latest. `job` is the job's row as of this transaction.
pub fn window(
    tx: &mut dyn Tx,
    job: &Job,
    only: Option<Stream>,
    position: u64,
    bytes: u64,
) -> Result<Vec<StoredChunk>, StoreError> {
    let found = tx.query(&WINDOW, values![&job.id, position, bytes, pattern(only)])?;
    let counts = job.counts();
    let chunks = read_all(found, |row| {
        let mut chunk = StoredChunk {
            stream: row.take()?,
            start_offset: row.take()?,
            position: row.take()?,
            arrived_at: row.take()?,
            line: row.take()?,
            step_ms: None,
            data: row.take()?,
        };
        chunk.skip(
            counts[chunk.stream]
                .start
                .saturating_sub(chunk.start_offset),
        );
        Ok(chunk)
    })?;
    let first_of_stdout = chunks.iter().find(|chunk| chunk.stream == Stream::Stdout);
    match (job.script_began_at, first_of_stdout) {
        (Some(began_at), Some(first)) => {
            let stamps = job_step::stamps_after(tx, &job.id, first.start_offset)?;
            Ok(cut_at_stamps(chunks, &stamps, began_at))
        }
        _ => Ok(chunks),
    }
}

/// Cuts chunks after each line that announces a step, with that line's time. `stamps` are the ends
/// of these lines with their times, in order.
fn cut_at_stamps(
    chunks: Vec<StoredChunk>,
    stamps: &[(u64, u64)],
    began_at: Timestamp,
) -> Vec<StoredChunk> {
    let mut cut = Vec::with_capacity(chunks.len() + stamps.len());
    let mut stamps = stamps.iter().peekable();
    for mut chunk in chunks {
        while chunk.stream == Stream::Stdout
            && let Some((line_end, ms)) = stamps.next_if(|(end, _)| *end <= chunk.end_offset())
        {
            let length = line_end.saturating_sub(chunk.start_offset);
            let end = usize::try_from(length).unwrap_or(usize::MAX);
            let Some(data) = chunk.data.get(..end).filter(|data| !data.is_empty()) else {
                continue;
            };
            cut.push(StoredChunk {
                arrived_at: chunk.arrived_at.min(stamp_time(began_at, *ms)),
                step_ms: Some(*ms),
                data: data.to_vec(),
                ..chunk
            });
            chunk.skip(length);
        }
        // The beginning of a line that announces a step, or what was written before one.
        if chunk.stream == Stream::Stdout
            && let Some((_, ms)) = stamps.peek()
        {
            chunk.arrived_at = chunk.arrived_at.min(stamp_time(began_at, *ms));
        }
        if !chunk.data.is_empty() {
            cut.push(chunk);
        }
    }
    cut
}

/// The time that the node reported, by the server's clock.
pub fn stamp_time(began_at: Timestamp, ms: u64) -> Timestamp {
    began_at.plus_millis(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// The extent of a kept chunk, without its bytes.
#[derive(Debug, Clone, Copy)]
pub struct ChunkExtent {
    pub stream: Stream,
    /// The stream's offset after the chunk.
    pub end_offset: u64,
    /// The position after the chunk.
    pub end_position: u64,
    /// Number of kept bytes.
    pub length: u64,
}

/// Reads the extents of at most 4,096 chunks that `window` would return.
pub fn extents(
    tx: &mut dyn Tx,
    job: &Job,
    only: Option<Stream>,
    position: u64,
) -> Result<Vec<ChunkExtent>, StoreError> {
    let found = tx.query(&LENGTHS, values![&job.id, position, pattern(only)])?;
    let counts = job.counts();
    read_all(found, |row| {
        let stream = row.take()?;
        let (start_offset, position, length): (u64, u64, u64) =
            (row.take()?, row.take()?, row.take()?);
        let dropped = counts[stream]
            .start
            .saturating_sub(start_offset)
            .min(length);
        Ok(ChunkExtent {
            stream,
            end_offset: start_offset + length,
            end_position: position + length,
            length: length - dropped,
        })
    })
}

fn pattern(only: Option<Stream>) -> &'static str {
    only.map_or("std%", Stream::as_str)
}

/// The position of the first chunk of `stream` that reaches past `offset`, if there is one.
pub fn position_after(
    tx: &mut dyn Tx,
    job_id: &str,
    stream: Stream,
    offset: u64,
) -> Result<Option<u64>, StoreError> {
    if let Some(mut row) = tx.query_one(&HOLDING, values![job_id, stream, offset])? {
        let (position, start_offset, length): (u64, u64, u64) =
            (row.take()?, row.take()?, row.take()?);
        if start_offset + length > offset {
            return Ok(Some(position));
        }
    }
    tx.query_one(&FOLLOWING, values![job_id, stream, offset])?
        .map(|mut row| row.take())
        .transpose()
}
