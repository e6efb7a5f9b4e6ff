//! The limits of a stream's kept tail: its bytes and its rows are dropped from the head.

use hyprbox_protocol::Stream;

use crate::clock::{self, Timestamp};
use crate::store::job::{Job, StreamCounts};
use crate::store::{StoreError, Tx, output};

/// A stream may keep one row per this many of the bytes that it may keep. Lines are rarely shorter,
/// so the limit of bytes drops a script's output before this limit does.
const BYTES_PER_ROW: u64 = 16;
/// Rows that a stream may have from the start. A row takes about a hundred bytes of the disk.
const ROWS_MIN: u64 = 65_536;
/// Further rows for each second since the job's start. A script that prints line by line stays
/// below this rate; a caller that sends single bytes gains little from it.
const ROWS_PER_SECOND: u64 = 200;

/// Drops the head of the stream until it is within its limits of bytes and rows.
pub(super) fn trim(
    tx: &mut dyn Tx,
    job: &mut Job,
    stream: Stream,
    max_bytes: u64,
) -> Result<(), StoreError> {
    let max_rows = max_rows(job.started_at, clock::now(), max_bytes);
    drop_excess_bytes(tx, job, stream, max_bytes)?;
    drop_excess_rows(tx, job, stream, max_rows)
}

fn max_rows(started_at: Option<Timestamp>, now: Timestamp, max_bytes: u64) -> u64 {
    let ran = started_at.map_or(0, |started_at| now.millis_since(started_at).max(0));
    let earned = ROWS_MIN + ran.unsigned_abs() / 1_000 * ROWS_PER_SECOND;
    earned.min(ROWS_MIN.max(max_bytes / BYTES_PER_ROW))
}

/// The job's counts of the stream.
pub(super) fn counts_of(job: &mut Job, stream: Stream) -> &mut StreamCounts {
    match stream {
        Stream::Stdout => &mut job.stdout,
        Stream::Stderr => &mut job.stderr,
    }
}

/// Drops the stream's oldest bytes beyond `max_bytes`.
fn drop_excess_bytes(
    tx: &mut dyn Tx,
    job: &mut Job,
    stream: Stream,
    max_bytes: u64,
) -> Result<(), StoreError> {
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
        // The row at the edge stays whole; readers begin inside it.
        let edge = rows
            .iter()
            .find(|(offset, length)| offset + length > start)
            .map_or(start, |(offset, _)| *offset);
        let gone = output::drop_before(tx, &id, stream, edge)?;
        counts.rows = counts.rows.saturating_sub(gone);
    }
    Ok(())
}

/// Drops the stream's oldest rows beyond `max_rows`, because a row of one byte takes as much of the
/// disk as a row of a few hundred.
fn drop_excess_rows(
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

/// The stream's new start, and the number of kept bytes dropped, after the first `count` of `rows`
/// (offset, length) are dropped. `start` is the first kept offset before.
fn first_rows(rows: &[(u64, u64)], start: u64, count: u64) -> (u64, u64) {
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(rows.len());
    let (dropped, left) = rows.split_at(count);
    let kept = |(offset, length): &(u64, u64)| (offset + length).saturating_sub(start.max(*offset));
    let end = dropped
        .last()
        .map_or(start, |(offset, length)| offset + length);
    let next = left.first().map_or(end, |(offset, _)| *offset);
    (next, dropped.iter().map(kept).sum())
}

/// The stream's new start after `excess` bytes are dropped from the head of `rows` (offset,
/// length), and the excess that remains if the rows have fewer. `start` is the first kept offset
/// before.
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
    fn bytes_are_cut_at_and_inside_rows() {
        let rows = [(0, 10), (10, 10), (25, 10)];
        assert_eq!(cut(&rows, 0, 3), (3, 0));
        assert_eq!(cut(&rows, 3, 3), (6, 0));
        assert_eq!(cut(&rows, 0, 10), (10, 0));
        // The bytes of the gap from 20 to 25 were never kept.
        assert_eq!(cut(&rows, 0, 20), (25, 0));
        assert_eq!(cut(&rows, 0, 22), (27, 0));
        assert_eq!(cut(&rows, 0, 35), (35, 5));
    }

    #[test]
    fn dropped_rows_count_only_their_kept_bytes() {
        let rows = [(0, 10), (10, 10), (25, 10)];
        assert_eq!(first_rows(&rows, 0, 1), (10, 10));
        // The first row was cut before. The bytes of the gap after the second were never kept.
        assert_eq!(first_rows(&rows, 4, 2), (25, 16));
        assert_eq!(first_rows(&rows, 0, 9), (35, 30));
        assert_eq!(first_rows(&[], 7, 9), (7, 0));
    }

    #[test]
    fn rows_are_earned_with_time_up_to_one_for_each_16_bytes() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        let max = |seconds: i64| max_rows(Some(at(1_000)), at(1_000 + seconds), 4 << 20);
        assert_eq!(
            [-5, 0, 10, 1_000_000].map(max),
            [65_536, 65_536, 67_536, 262_144]
        );
        assert_eq!(max_rows(None, at(0), 1 << 16), 65_536);
    }
}
