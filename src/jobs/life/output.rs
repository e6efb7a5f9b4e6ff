//! Output: each chunk goes to its offset, what is there already is skipped, and the tail alone is
//! kept.

use hyprbox_protocol::{
    Chunk, ChunkDataError, FLUSH_MS, FLUSH_MS_WATCHED, MAX_BYTE_COUNT, OutputAnswer, OutputRequest,
    Stream,
};

use crate::auth::NodeIdentity;
use crate::clock::{self, Timestamp};
use crate::http::FieldErrors;
use crate::jobs::life::claim::NextPoll;
use crate::jobs::life::finish::{self, is_lost, must_hold};
use crate::jobs::{JobError, Jobs};
use crate::store::job::{self, Job, JobStatus, StreamCounts};
use crate::store::output::{self, StoredChunk, count_newlines};
use crate::store::{Change, StoreError, Tx};

/// Bytes per row: chunks that follow one another within a call are joined up to this, larger ones
/// are cut.
const ROW_BYTES: usize = 64 * 1024;

/// Chunks of one call at the most, twice what our agent sends: where a script writes single bytes
/// to both streams in turn, each is a row of its own, for the order of the two is kept; so many are
/// written within a fraction of a second, and no one call holds everybody else up for longer.
const CHUNKS_MAX: usize = 16_384;

/// A stream keeps one row for so many of the bytes that it may keep, on average: what an index
/// needs for a row is about as much, so the disk holds at most twice what the output itself may
/// take.
const BYTES_PER_ROW: u64 = 256;
/// Rows that a stream may have in any case.
const ROWS_MIN: u64 = 16_384;

/// A job that ends sooner has no process that people would look for.
const SHOWN_AFTER_MS: i64 = 1_000;

/// A run of bytes on its way into a stream.
struct Piece {
    stream: Stream,
    /// `None`: appended as it comes.
    offset: Option<u64>,
    data: Vec<u8>,
}

impl Jobs {
    /// Takes output of a job from its agent; with its `end` the job ends, too, and the `next` one
    /// is claimed, all in one commit.
    pub async fn append(
        &self,
        node: NodeIdentity,
        (instance, process): (Option<String>, Option<String>),
        id: String,
        request: OutputRequest,
    ) -> Result<OutputAnswer, JobError> {
        let pid = request.pid;
        let next =
            NextPoll::of(&node, instance.as_deref(), process.as_deref()).filter(|_| request.next);
        let end = request.end.clone();
        if let Some(end) = &end {
            finish::check(end).map_err(in_the_end)?;
        }
        let has_end = end.is_some();
        let pieces = pieces_of(request)?;
        let max_bytes = self.limits.stdout_max_bytes;
        let job_id = id.clone();
        let presence = std::sync::Arc::clone(&self.nodes.presence);
        let bytes = pieces.iter().map(|piece| piece.data.len()).sum();
        let (job, arrived, ends_now, next) = self
            .store
            .write_large(bytes, move |tx| {
                let caller = (node.node_id.as_str(), instance.as_deref());
                let appended = append(tx, caller, &id, (pid, pieces), max_bytes);
                let Some(end) = end else {
                    return appended.map(|(job, arrived)| (job, arrived, false, None));
                };
                let arrived = match appended {
                    Ok((_, arrived)) => arrived,
                    // It has ended already: by this same report, whose answer got lost, or the
                    // report is refused.
                    Err(JobError::WrongState(_)) => 0,
                    Err(error) => return Err(error),
                };
                let (job, is_new) = finish::complete(tx, caller, &id, end)?;
                let next = next
                    .map(|next| next.find_work(tx, &presence))
                    .transpose()?
                    .flatten();
                Ok((job, arrived, is_new, next))
            })
            .await?;
        self.metrics.output(arrived);
        if ends_now {
            self.metrics.finished(&job);
        }
        let next = match next {
            Some(found) => self.open(found).await?,
            None => None,
        };
        let watched = self.tails.is_watched(&job_id);
        Ok(OutputAnswer {
            stdout_bytes: job.stdout.bytes,
            stderr_bytes: job.stderr.bytes,
            flush_ms: if watched { FLUSH_MS_WATCHED } else { FLUSH_MS },
            cancel: job.cancel_requested_at.is_some()
                && (job.status == JobStatus::Running || job.still_running),
            ended: has_end,
            job: next,
        })
    }
}

/// Names the fields of a refused report by where they stand in a call of output.
fn in_the_end(error: JobError) -> JobError {
    let JobError::Fields(faults) = error else {
        return error;
    };
    JobError::Fields(faults.within("end"))
}

fn pieces_of(request: OutputRequest) -> Result<Vec<Piece>, JobError> {
    let mut faults = FieldErrors::default();
    let mut pieces = Vec::new();
    let chunks = request.chunks.unwrap_or_default();
    if chunks.len() > CHUNKS_MAX {
        return Err(JobError::TooManyChunks { max: CHUNKS_MAX });
    }
    for (index, chunk) in chunks.into_iter().enumerate() {
        let Chunk { stream, offset, .. } = chunk;
        match chunk.into_bytes() {
            Ok(data) if offset.saturating_add(data.len() as u64) <= MAX_BYTE_COUNT => {
                join(
                    &mut pieces,
                    Piece {
                        stream,
                        offset: Some(offset),
                        data,
                    },
                );
            }
            Ok(_) => faults.add(
                format!("chunks[{index}].offset"),
                "must end at 2^53 at the most",
            ),
            Err(ChunkDataError::NotExactlyOne) => {
                faults.add(
                    format!("chunks[{index}].data"),
                    "exactly one of data and dataBase64 is needed",
                );
            }
            Err(ChunkDataError::NotBase64) => {
                faults.add(
                    format!("chunks[{index}].dataBase64"),
                    "must be standard base64",
                );
            }
        }
    }
    faults.into_faults().map_err(JobError::Fields)?;
    for (stream, text) in [
        (Stream::Stdout, request.stdout),
        (Stream::Stderr, request.stderr),
    ] {
        if let Some(text) = text {
            pieces.push(Piece {
                stream,
                offset: None,
                data: text.into_bytes(),
            });
        }
    }
    Ok(pieces)
}

/// Adds a piece, to the one before where it goes on there: a row per read would be dear for a
/// chatty script.
fn join(pieces: &mut Vec<Piece>, piece: Piece) {
    if let Some(last) = pieces.last_mut()
        && last.stream == piece.stream
        && last.offset.map(|offset| offset + last.data.len() as u64) == piece.offset
        && last.data.len() + piece.data.len() <= ROW_BYTES
    {
        last.data.extend_from_slice(&piece.data);
    } else {
        pieces.push(piece);
    }
}

fn append(
    tx: &mut dyn Tx,
    (node_id, instance): (&str, Option<&str>),
    id: &str,
    (pid, pieces): (Option<u32>, Vec<Piece>),
    max_bytes: u64,
) -> Result<(Job, u64), JobError> {
    // The row's lock puts appends in order: each gives its bytes the positions that follow the last
    // one's.
    let mut job = job::find_locked(tx, id)?
        .filter(|job| job.node_id == node_id)
        .ok_or(JobError::NotFound)?;
    if job.status != JobStatus::Queued {
        must_hold(&job, instance)?;
    }
    if job.status != JobStatus::Running && !is_lost(&job) {
        return Err(JobError::WrongState(job.status));
    }
    if is_lost(&job) && !job.still_running {
        job.still_running = true;
        job::set_still_running(tx, id, true)?;
        tx.note(Change::Job {
            id: id.to_owned(),
            node_id: node_id.to_owned(),
        });
    }
    let before = (job.position, job.stdout, job.stderr);
    let now = clock::now();
    if let Some(pid) = pid
        && job.pid != Some(pid.into())
    {
        set_pid(tx, &mut job, pid, now)?;
    }
    for piece in pieces {
        place(tx, &mut job, piece, now)?;
    }
    if (job.position, job.stdout, job.stderr) == before {
        return Ok((job, 0));
    }
    for stream in Stream::ALL {
        trim(tx, &mut job, stream, max_bytes)?;
        trim_rows(
            tx,
            &mut job,
            stream,
            ROWS_MIN.max(max_bytes / BYTES_PER_ROW),
        )?;
    }
    output::set_counts(tx, &job, now)?;
    tx.note(Change::Output {
        job_id: id.to_owned(),
    });
    let arrived = job.position - before.0;
    Ok((job, arrived))
}

fn set_pid(tx: &mut dyn Tx, job: &mut Job, pid: u32, now: Timestamp) -> Result<(), StoreError> {
    job.pid = Some(pid.into());
    job::set_pid(tx, &job.id, pid)?;
    let began = job.started_at.unwrap_or(job.created_at);
    // Whoever looks at the job's start sees it with that anyhow.
    if now.millis_since(began) > SHOWN_AFTER_MS {
        tx.note(Change::Job {
            id: job.id.clone(),
            node_id: job.node_id.clone(),
        });
    }
    Ok(())
}

fn counts_of(job: &mut Job, stream: Stream) -> &mut StreamCounts {
    match stream {
        Stream::Stdout => &mut job.stdout,
        Stream::Stderr => &mut job.stderr,
    }
}

/// Where a chunk goes: how many of its bytes are there already, and how many are missing before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    skip: u64,
    gap: u64,
}

fn place_of(offset: u64, end: u64) -> Place {
    Place {
        skip: end.saturating_sub(offset),
        gap: offset.saturating_sub(end),
    }
}

fn place(tx: &mut dyn Tx, job: &mut Job, piece: Piece, now: Timestamp) -> Result<(), StoreError> {
    let (mut position, mut lines) = (job.position, job.lines);
    let id = job.id.clone();
    let counts = counts_of(job, piece.stream);
    let offset = piece.offset.unwrap_or(counts.bytes);
    let Place { skip, gap } = place_of(offset, counts.bytes);
    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
    let Some(new) = piece.data.get(skip..).filter(|new| !new.is_empty()) else {
        return Ok(());
    };
    counts.bytes += gap;
    counts.dropped += gap;
    if counts.bytes == counts.dropped {
        // Nothing is kept yet, so the tail begins here.
        counts.start = counts.bytes;
    }
    for row in new.chunks(ROW_BYTES) {
        let (line, after) = lines_of(row, counts.is_open, lines);
        let chunk = StoredChunk {
            stream: piece.stream,
            start_offset: counts.bytes,
            position,
            arrived_at: now,
            line,
            data: row.to_vec(),
        };
        output::insert(tx, &id, &chunk)?;
        counts.rows += 1;
        counts.bytes += row.len() as u64;
        counts.is_open = !row.ends_with(b"\n");
        position += row.len() as u64;
        lines = after;
    }
    (job.position, job.lines) = (position, lines);
    Ok(())
}

/// Lines that have begun once the first byte of `row` is there, and once all of it is. A line
/// begins with its first byte; where the stream's last one `is_open`, the row goes on with that.
fn lines_of(row: &[u8], is_open: bool, lines: Option<u64>) -> (Option<u64>, Option<u64>) {
    let first = lines.map(|lines| lines + u64::from(!is_open));
    let ends = count_newlines(&row[..row.len().saturating_sub(1)]);
    (first, first.map(|first| first + ends))
}

/// Drops what the stream keeps beyond `max_bytes`, from its head.
fn trim(tx: &mut dyn Tx, job: &mut Job, stream: Stream, max_bytes: u64) -> Result<(), StoreError> {
    let id = job.id.clone();
    let counts = counts_of(job, stream);
    let mut excess = (counts.bytes - counts.dropped).saturating_sub(max_bytes);
    counts.dropped += excess;
    while excess > 0 {
        let rows = output::oldest(tx, &id, stream)?;
        if rows.is_empty() {
            break;
        }
        let (start, left) = cut(&rows, counts.start, excess);
        counts.start = start;
        excess = left;
        // The row at the edge stays whole: the reader begins inside it.
        let edge = rows
            .iter()
            .find(|(offset, length)| offset + length > start)
            .map_or(start, |(offset, _)| *offset);
        let gone = output::drop_before(tx, &id, stream, edge)?;
        counts.rows = counts.rows.saturating_sub(gone);
    }
    Ok(())
}

/// Drops the stream's oldest rows beyond `max_rows`: a row of one byte takes as much of the disk as
/// one of a few hundred.
fn trim_rows(
    tx: &mut dyn Tx,
    job: &mut Job,
    stream: Stream,
    max_rows: u64,
) -> Result<(), StoreError> {
    let id = job.id.clone();
    let counts = counts_of(job, stream);
    while counts.rows > max_rows {
        let rows = output::oldest(tx, &id, stream)?;
        let (start, dropped) = first_rows(&rows, counts.start, counts.rows - max_rows);
        let gone = output::drop_before(tx, &id, stream, start)?;
        if gone == 0 {
            break;
        }
        counts.start = start;
        counts.dropped += dropped;
        counts.rows = counts.rows.saturating_sub(gone);
    }
    Ok(())
}

/// Where the stream begins once the first `count` of `rows` (offset, length) have gone, as far as
/// they are there, and how many kept bytes go with them. `start` is the first kept offset before.
fn first_rows(rows: &[(u64, u64)], start: u64, count: u64) -> (u64, u64) {
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(rows.len());
    let (gone, left) = rows.split_at(count);
    let kept = |(offset, length): &(u64, u64)| (offset + length).saturating_sub(start.max(*offset));
    let end = gone
        .last()
        .map_or(start, |(offset, length)| offset + length);
    let next = left.first().map_or(end, |(offset, _)| *offset);
    (next, gone.iter().map(kept).sum())
}

/// The new first kept offset after `excess` bytes went from the head of `rows` (offset, length),
/// and what is still to go when they did not suffice. `start` is the first kept offset before.
fn cut(rows: &[(u64, u64)], start: u64, mut excess: u64) -> (u64, u64) {
    let mut at = start;
    for (offset, length) in rows {
        let from = start.max(*offset);
        let kept = (offset + length).saturating_sub(from);
        if excess < kept {
            return (from + excess, 0);
        }
        excess -= kept;
        at = offset + length;
    }
    (at, excess)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_skipped_and_what_is_missing_is_a_gap() {
        assert_eq!(place_of(0, 10), Place { skip: 10, gap: 0 });
        assert_eq!(place_of(10, 10), Place { skip: 0, gap: 0 });
        assert_eq!(place_of(12, 10), Place { skip: 0, gap: 2 });
    }

    #[test]
    fn the_head_goes_row_by_row_and_inside_a_row() {
        let rows = [(0, 10), (10, 10), (25, 10)];
        assert_eq!(cut(&rows, 0, 3), (3, 0));
        assert_eq!(cut(&rows, 3, 3), (6, 0));
        assert_eq!(cut(&rows, 0, 10), (10, 0));
        // Over the gap between 20 and 25, whose bytes were never kept.
        assert_eq!(cut(&rows, 0, 20), (25, 0));
        assert_eq!(cut(&rows, 0, 22), (27, 0));
        assert_eq!(cut(&rows, 0, 35), (35, 5));
    }

    #[test]
    fn the_oldest_rows_go_with_the_bytes_that_were_kept_of_them() {
        let rows = [(0, 10), (10, 10), (25, 10)];
        assert_eq!(first_rows(&rows, 0, 1), (10, 10));
        // The first row was cut before; after the second one is a gap, whose bytes were never kept.
        assert_eq!(first_rows(&rows, 4, 2), (25, 16));
        assert_eq!(first_rows(&rows, 0, 9), (35, 30));
        assert_eq!(first_rows(&[], 7, 9), (7, 0));
    }

    #[test]
    fn a_line_begins_with_its_first_byte() {
        let after = |row: &[u8], is_open| lines_of(row, is_open, Some(7));
        assert_eq!(after(b"a\n", false), (Some(8), Some(8)));
        assert_eq!(after(b"a\nb", false), (Some(8), Some(9)));
        assert_eq!(after(b"a\nb\n\n", true), (Some(7), Some(9)));
        assert_eq!(after(b"\n", true), (Some(7), Some(7)));
        assert_eq!(lines_of(b"a\nb", false, None), (None, None));
    }

    #[test]
    fn chunks_that_follow_one_another_are_joined() {
        let mut pieces = Vec::new();
        let mut add = |stream, offset, data: &[u8]| {
            join(
                &mut pieces,
                Piece {
                    stream,
                    offset: Some(offset),
                    data: data.to_vec(),
                },
            );
        };
        add(Stream::Stdout, 0, b"ab");
        add(Stream::Stdout, 2, b"cd");
        add(Stream::Stderr, 0, b"x");
        add(Stream::Stdout, 4, b"e");
        add(Stream::Stdout, 9, b"z");
        let shapes: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.stream, piece.offset, piece.data.len()))
            .collect();
        let (out, err) = (Stream::Stdout, Stream::Stderr);
        assert_eq!(
            shapes,
            [
                (out, Some(0), 4),
                (err, Some(0), 1),
                (out, Some(4), 1),
                (out, Some(9), 1)
            ]
        );
    }
}
