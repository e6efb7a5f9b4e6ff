//! Output: chunks at their offsets, in the order in which they came.

use hyprbox_protocol::Stream;

use super::job::Job;
use super::tx::{FromValue, Row, Statement, Tx, Value, read_all};
use super::{StoreError, values};
use crate::clock::Timestamp;

static INSERT: Statement = Statement::new(include_str!("sql/chunk_insert.sql"));
static COUNT: Statement = Statement::new(include_str!("sql/output_count.sql"));
static OLDEST: Statement = Statement::new(include_str!("sql/chunk_oldest.sql"));
static DROP: Statement = Statement::new(include_str!("sql/chunk_drop.sql"));
static WINDOW: Statement = Statement::new(include_str!("sql/chunk_window.sql"));
static KEPT: Statement = Statement::new(include_str!("sql/chunk_kept.sql"));
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
    /// Which stream.
    pub stream: Stream,
    /// Bytes of the stream before it, since the job began.
    pub start_offset: u64,
    /// Bytes of both streams that had arrived before it.
    pub position: u64,
    /// When it arrived.
    pub arrived_at: Timestamp,
    /// Lines of both streams that had begun once its first byte was there; `None` where they are
    /// not counted.
    pub line: Option<u64>,
    /// The bytes.
    pub data: Vec<u8>,
}

/// Inserts a chunk. Its place must be free.
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

/// Writes what is counted of a job's output back to it.
pub fn set_counts(tx: &mut dyn Tx, job: &Job, now: Timestamp) -> Result<(), StoreError> {
    let Job { stdout, stderr, .. } = job;
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
            now
        ],
    )
    .map(|_| ())
}

/// Start offset and length of a stream's oldest chunks, 256 at the most.
pub fn oldest(
    tx: &mut dyn Tx,
    job_id: &str,
    stream: Stream,
) -> Result<Vec<(u64, u64)>, StoreError> {
    read_all(tx.query(&OLDEST, values![job_id, stream])?, |row| {
        Ok((row.take()?, row.take()?))
    })
}

/// Deletes a stream's chunks that begin before `start_offset`; how many.
pub fn drop_before(
    tx: &mut dyn Tx,
    job_id: &str,
    stream: Stream,
    start_offset: u64,
) -> Result<u64, StoreError> {
    tx.execute(&DROP, values![job_id, stream, start_offset])
}

/// The chunks from `position` on, in order: about `bytes` bytes, and at least one chunk where there
/// is one.
pub fn window(
    tx: &mut dyn Tx,
    job_id: &str,
    position: u64,
    bytes: u64,
) -> Result<Vec<StoredChunk>, StoreError> {
    read_all(tx.query(&WINDOW, values![job_id, position, bytes])?, chunk)
}

/// The same of `only` one stream, or of both: the other one's bytes are not read.
pub fn kept_window(
    tx: &mut dyn Tx,
    job_id: &str,
    only: Option<Stream>,
    position: u64,
    bytes: u64,
) -> Result<Vec<StoredChunk>, StoreError> {
    let found = tx.query(&KEPT, values![job_id, position, bytes, pattern(only)])?;
    read_all(found, chunk)
}

/// Where a kept chunk is, without its bytes.
#[derive(Debug, Clone, Copy)]
pub struct ChunkPlace {
    /// Which stream.
    pub stream: Stream,
    /// Bytes of the stream before it, since the job began.
    pub start_offset: u64,
    /// Bytes of both streams that had arrived before it.
    pub position: u64,
    /// How many bytes it has.
    pub length: u64,
}

/// The places of the chunks from `position` on, in order, 4,096 at the most; of `only` one stream,
/// or of both.
pub fn kept_places(
    tx: &mut dyn Tx,
    job_id: &str,
    only: Option<Stream>,
    position: u64,
) -> Result<Vec<ChunkPlace>, StoreError> {
    let found = tx.query(&LENGTHS, values![job_id, position, pattern(only)])?;
    read_all(found, |row| {
        Ok(ChunkPlace {
            stream: row.take()?,
            start_offset: row.take()?,
            position: row.take()?,
            length: row.take()?,
        })
    })
}

fn pattern(only: Option<Stream>) -> &'static str {
    only.map_or("std%", Stream::as_str)
}

fn chunk(row: &mut Row) -> Result<StoredChunk, StoreError> {
    Ok(StoredChunk {
        stream: row.take()?,
        start_offset: row.take()?,
        position: row.take()?,
        arrived_at: row.take()?,
        line: row.take()?,
        data: row.take()?,
    })
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
