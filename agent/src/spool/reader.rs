//! The agent's side of the spool: reads what to send next, in the order in which it was written.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use hyprbox_protocol::{PerStream, Stream, last_character_boundary};

use super::{
    INDEX_HEAD, MAX_PIECES, SEGMENT_BYTES, STDERR_BIT, index_path, numbered, parse_head,
    segment_path,
};

/// How many index records are read at once.
const RECORDS_AT_ONCE: usize = 1024;

/// A part of one stream in a [`Batch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BatchPiece {
    pub(crate) stream: Stream,
    /// Its offset in the stream.
    pub(crate) offset: u64,
    /// Its position in the batch's bytes.
    pub(crate) range: Range<usize>,
}

/// The output that one call sends. Reused for each call, to reuse its memory.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) pieces: Vec<BatchPiece>,
}

impl Batch {
    /// Whether the batch is full, so that more output may be waiting.
    pub(crate) fn is_full(&self, max: usize) -> bool {
        self.bytes.len() >= max || self.pieces.len() >= MAX_PIECES
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.pieces.clear();
    }

    /// Records that the bytes from `from` on belong to `stream`, at `offset`.
    fn record(&mut self, stream: Stream, offset: u64, from: usize) {
        let end = self.bytes.len();
        match self.pieces.last_mut() {
            Some(p) if p.stream == stream && p.offset + p.range.len() as u64 == offset => {
                p.range.end = end;
            }
            _ if from < end => self.pieces.push(BatchPiece {
                stream,
                offset,
                range: from..end,
            }),
            _ => {}
        }
    }
}

/// Reads one job's spool while the job writes it.
pub(crate) struct SpoolReader {
    dir: PathBuf,
    /// The next offset to read, by stream.
    next: PerStream<u64>,
    /// Bytes before these offsets are sent regardless of their order, which is not in the index.
    unordered: PerStream<u64>,
    /// No bytes before these offsets are left on the disk.
    floor: PerStream<u64>,
    /// Total length of each stream, once the job has ended.
    end: Option<PerStream<u64>>,
    index: Option<IndexCursor>,
    segments: PerStream<Option<(u64, File)>>,
}

/// A position in the index.
struct IndexCursor {
    number: u64,
    file: File,
    /// Position in the file after those in `records`.
    position: u64,
    records: Vec<u32>,
    /// Index of the next record in `records`.
    at: usize,
    /// Offsets of both streams before that record.
    offsets: PerStream<u64>,
}

impl SpoolReader {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            next: PerStream::default(),
            unordered: PerStream::default(),
            floor: PerStream::default(),
            end: None,
            index: None,
            segments: PerStream::default(),
        }
    }

    /// Continues at these offsets, which came from the server.
    pub(crate) fn seek(&mut self, next: PerStream<u64>) {
        self.next = next;
        self.unordered = PerStream::default();
        self.index = None;
    }

    /// Returns the next offset to read, by stream.
    pub(crate) fn next(&self) -> PerStream<u64> {
        self.next
    }

    /// Whether the last batch held back half a character, which the next flush must send in any
    /// case.
    pub(crate) fn holds_back(&self) -> bool {
        Stream::ALL
            .into_iter()
            .any(|stream| self.next[stream] < self.unordered[stream])
    }

    /// Sets the total length of each stream, because the job has ended.
    pub(crate) fn end_at(&mut self, totals: PerStream<u64>) {
        self.end = Some(totals);
    }

    /// Reads at most `max` bytes. An empty batch means that there is nothing to read now.
    pub(crate) fn fill(&mut self, batch: &mut Batch, max: usize) -> io::Result<()> {
        batch.clear();
        loop {
            for stream in Stream::ALL {
                let to = self.unordered[stream];
                self.read_into(stream, to, batch, max)?;
            }
            if batch.is_full(max) {
                return Ok(());
            }
            let record = self.peek()?;
            if self.holds_back() {
                // The index segment that was just opened begins after the next offset.
                continue;
            }
            let Some((stream, end)) = record else {
                if let Some(end) = self.end
                    && end != self.unordered
                {
                    self.unordered = end;
                    continue;
                }
                self.hold_back_half_a_character(batch);
                return Ok(());
            };
            self.read_into(stream, end, batch, max)?;
            if batch.is_full(max) {
                self.hold_back_half_a_character(batch);
                return Ok(());
            }
            self.advance(stream, end);
        }
    }

    /// Reads bytes of `stream` up to offset `to` into the batch, as far as there is room. Skips
    /// what is no longer on the disk.
    fn read_into(
        &mut self,
        stream: Stream,
        to: u64,
        batch: &mut Batch,
        max: usize,
    ) -> io::Result<()> {
        while self.next[stream] < to && !batch.is_full(max) {
            if self.next[stream] < self.floor[stream] {
                self.next[stream] = self.floor[stream].min(to);
                continue;
            }
            let from = self.next[stream];
            let block_end = (from / SEGMENT_BYTES + 1) * SEGMENT_BYTES;
            let room = (max - batch.bytes.len()) as u64;
            let want = usize::try_from(to.min(block_end) - from)
                .unwrap_or(usize::MAX)
                .min(usize::try_from(room).unwrap_or(usize::MAX));
            let before = batch.bytes.len();
            batch.bytes.resize(before + want, 0);
            let got = self.read_at(stream, from, &mut batch.bytes[before..]);
            batch.bytes.truncate(before + *got.as_ref().unwrap_or(&0));
            let got = got?;
            if got == 0 {
                self.floor[stream] = self.next_start(stream, from)?.unwrap_or(to);
            } else {
                batch.record(stream, from, before);
                self.next[stream] += got as u64;
            }
        }
        Ok(())
    }

    /// Reads from the segment that contains offset `from`. Returns 0 if it is missing. A segment
    /// that can't be read counts as missing, so that the rest of the output is still sent.
    fn read_at(&mut self, stream: Stream, from: u64, buf: &mut [u8]) -> io::Result<usize> {
        let block = from / SEGMENT_BYTES * SEGMENT_BYTES;
        if let Some((start, file)) = &self.segments[stream]
            && (block..=from).contains(start)
            && let Ok(got @ 1..) = file.read_at(buf, from - start)
        {
            return Ok(got);
        }
        // Usually one segment fills its block. After a failed write another one begins in the
        // middle of the block.
        if let Some(got @ 1..) = self.read_from(stream, block, from, buf) {
            return Ok(got);
        }
        let starts = numbered(&self.dir, stream.as_str())?;
        let start = starts.into_iter().rev().find(|start| *start <= from);
        let start = start.filter(|start| *start > block);
        Ok(start
            .and_then(|start| self.read_from(stream, start, from, buf))
            .unwrap_or(0))
    }

    /// Reads from the segment that begins at `start`. Returns `None` if it does not exist.
    fn read_from(
        &mut self,
        stream: Stream,
        start: u64,
        from: u64,
        buf: &mut [u8],
    ) -> Option<usize> {
        let file = File::open(segment_path(&self.dir, stream, start)).ok();
        let segment = &mut self.segments[stream];
        *segment = file.map(|file| (start, file));
        let (_, file) = segment.as_ref()?;
        Some(file.read_at(buf, from - start).unwrap_or(0))
    }

    /// Returns the first offset after `from` that is still on the disk.
    fn next_start(&self, stream: Stream, from: u64) -> io::Result<Option<u64>> {
        let starts = numbered(&self.dir, stream.as_str())?;
        Ok(starts.into_iter().find(|start| *start > from))
    }

    /// Returns the next read in the index: its stream, and its end offset.
    fn peek(&mut self) -> io::Result<Option<(Stream, u64)>> {
        if self.index.is_none() {
            self.index = self.open_index(0)?;
            if self.index.is_none()
                && let Some(oldest) = numbered(&self.dir, "index")?.first()
            {
                self.index = self.open_index(*oldest)?;
            }
            self.skip_to_start_of_index();
        }
        loop {
            let Some(cursor) = &mut self.index else {
                return Ok(None);
            };
            if let Some(record) = cursor.next_record()? {
                let stream = if record & STDERR_BIT == 0 {
                    Stream::Stdout
                } else {
                    Stream::Stderr
                };
                let end = cursor.offsets[stream] + u64::from(record & !STDERR_BIT);
                return Ok(Some((stream, end)));
            }
            let number = cursor.number;
            let is_deleted = cursor.file.metadata()?.nlink() == 0;
            let following = if is_deleted {
                numbered(&self.dir, "index")?
                    .into_iter()
                    .find(|n| *n > number)
            } else {
                Some(number + 1)
            };
            let Some(next) = following else {
                return Ok(None);
            };
            let Some(opened) = self.open_index(next)? else {
                return Ok(None);
            };
            // The writer may have appended to the previous segment just before it began this one.
            let last = self.index.as_mut().expect("checked above");
            if last.next_record()?.is_some() {
                continue;
            }
            self.index = Some(opened);
            self.skip_to_start_of_index();
        }
    }

    /// Marks everything before the start of the index segment as unordered.
    fn skip_to_start_of_index(&mut self) {
        if let Some(cursor) = &self.index {
            for (stream, unordered) in self.unordered.iter_mut() {
                *unordered = cursor.offsets[stream].max(*unordered);
            }
        }
    }

    fn open_index(&self, number: u64) -> io::Result<Option<IndexCursor>> {
        let file = match File::open(index_path(&self.dir, number)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut head = [0; INDEX_HEAD as usize];
        if file.read_exact_at(&mut head, 0).is_err() {
            return Ok(None);
        }
        Ok(Some(IndexCursor {
            number,
            file,
            position: INDEX_HEAD,
            records: Vec::new(),
            at: 0,
            offsets: parse_head(&head),
        }))
    }

    /// Moves past the record that was peeked.
    fn advance(&mut self, stream: Stream, end: u64) {
        if let Some(cursor) = &mut self.index
            && end > cursor.offsets[stream]
        {
            cursor.at += 1;
            cursor.offsets[stream] = end;
        }
    }

    /// Keeps a batch from ending inside a character: the whole chunk would have to be sent as
    /// base64. The bytes that are held back begin the next batch, even if nothing follows them.
    fn hold_back_half_a_character(&mut self, batch: &mut Batch) {
        let half = batch.bytes.len() - last_character_boundary(&batch.bytes);
        if let Some(piece) = batch.pieces.last_mut()
            && (1..piece.range.len()).contains(&half)
        {
            piece.range.end -= half;
            batch.bytes.truncate(piece.range.end);
            let stream = piece.stream;
            self.unordered[stream] = self.unordered[stream].max(self.next[stream]);
            self.next[stream] -= half as u64;
        }
    }
}

impl IndexCursor {
    fn next_record(&mut self) -> io::Result<Option<u32>> {
        if self.at == self.records.len() {
            let mut raw = [0; RECORDS_AT_ONCE * 4];
            let got = self.file.read_at(&mut raw, self.position)?;
            let whole = got / 4 * 4;
            if whole == 0 {
                return Ok(None);
            }
            self.records.clear();
            self.records.extend(
                raw[..whole]
                    .chunks_exact(4)
                    .map(|r| u32::from_le_bytes(r.try_into().expect("four bytes"))),
            );
            self.position += whole as u64;
            self.at = 0;
        }
        Ok(self.records.get(self.at).copied())
    }
}

/// Returns the total length of each stream from the files on the disk, for a job whose supervisor
/// was killed.
pub(crate) fn totals_on_disk(dir: &Path) -> io::Result<PerStream<u64>> {
    let mut totals = PerStream::default();
    for stream in Stream::ALL {
        if let Some(start) = numbered(dir, stream.as_str())?.last() {
            let len = std::fs::metadata(segment_path(dir, stream, *start))?.len();
            totals[stream] = start + len;
        }
    }
    Ok(totals)
}
