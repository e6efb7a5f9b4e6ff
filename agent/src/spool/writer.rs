//! The supervisor's side of the spool: appends output, and removes the oldest segments.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hyprbox_protocol::{PerStream, Stream, to_hex};
use ring::digest;

use crate::trusted_dir::own_file;

use super::{
    INDEX_HEAD, INDEX_RECORDS, KEPT_INDEXES, KEPT_SEGMENTS, SEGMENT_BYTES, STDERR_BIT, index_path,
    segment_path,
};

/// Appends a job's output. It never fails: if the disk takes no more, the bytes become a gap, which
/// offsets and totals still count, and the job continues.
pub(crate) struct SpoolWriter {
    dir: PathBuf,
    totals: PerStream<u64>,
    /// SHA-256 of each stream so far, including bytes that the disk did not take.
    hashes: PerStream<digest::Context>,
    segments: PerStream<Segment>,
    index: Index,
}

#[derive(Default)]
struct Segment {
    file: Option<File>,
    /// Start offsets of the segments on the disk, oldest first.
    starts: std::collections::VecDeque<u64>,
}

#[derive(Default)]
struct Index {
    file: Option<File>,
    next_number: u64,
    oldest: u64,
    records: u64,
}

impl SpoolWriter {
    /// Creates a spool in an empty folder.
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            totals: PerStream::default(),
            hashes: PerStream::from_fn(|_| digest::Context::new(&digest::SHA256)),
            segments: PerStream::default(),
            index: Index::default(),
        }
    }

    /// Returns the length of each stream so far, including bytes that the disk did not take.
    pub(crate) fn totals(&self) -> PerStream<u64> {
        self.totals
    }

    /// Returns the SHA-256 of each stream so far, in hex.
    pub(crate) fn sha256(&self) -> PerStream<String> {
        PerStream::from_fn(|stream| to_hex(self.hashes[stream].clone().finish()))
    }

    /// Appends the bytes of one read from a stream.
    pub(crate) fn append(&mut self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.hashes[stream].update(bytes);
        let before = self.totals;
        let mut rest = bytes;
        let mut all_taken = true;
        while !rest.is_empty() {
            let at = self.totals[stream];
            let room = usize::try_from(SEGMENT_BYTES - at % SEGMENT_BYTES).unwrap_or(usize::MAX);
            let (piece, later) = rest.split_at(rest.len().min(room));
            all_taken &= self.write_piece(stream, at, piece).is_ok();
            self.totals[stream] += piece.len() as u64;
            rest = later;
        }
        // The index is written last, so that the bytes to which it refers exist.
        if !all_taken || self.write_record(stream, bytes.len(), before).is_err() {
            // The next read begins a new index segment, which begins with the current offsets.
            self.index.file = None;
        }
    }

    fn write_piece(&mut self, stream: Stream, at: u64, piece: &[u8]) -> io::Result<()> {
        if at.is_multiple_of(SEGMENT_BYTES) {
            self.segments[stream].file = None;
        }
        if self.segments[stream].file.is_none() {
            self.open_segment(stream, at)?;
        }
        self.write_all(stream, piece).inspect_err(|_| {
            // The part that was written stays. The next bytes begin a segment at their own offset.
            self.segments[stream].file = None;
        })
    }

    fn open_segment(&mut self, stream: Stream, at: u64) -> io::Result<()> {
        let path = segment_path(&self.dir, stream, at);
        // A recycled folder already contains the first segment, which is empty.
        let open = || own_file().append(true).create(true).open(&path);
        let file = loop {
            match open() {
                Err(e) if e.kind() == io::ErrorKind::StorageFull && self.drop_oldest() => {}
                done => break done?,
            }
        };
        let segment = &mut self.segments[stream];
        segment.file = Some(file);
        segment.starts.push_back(at);
        while let Some(oldest) = segment.starts.front().copied() {
            if at / SEGMENT_BYTES - oldest / SEGMENT_BYTES < KEPT_SEGMENTS {
                break;
            }
            segment.starts.pop_front();
            let _ = std::fs::remove_file(segment_path(&self.dir, stream, oldest));
        }
        Ok(())
    }

    /// Writes into the open segment. On a full disk the newest output replaces the oldest, because
    /// failures show at the end.
    fn write_all(&mut self, stream: Stream, mut piece: &[u8]) -> io::Result<()> {
        while !piece.is_empty() {
            let file = self.segments[stream].file.as_mut();
            match file.expect("opened by the caller").write(piece) {
                Ok(written) => piece = &piece[written..],
                Err(e) if e.kind() == io::ErrorKind::StorageFull && self.drop_oldest() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Removes the oldest segment of the stream that has more of them. Returns false if none can be
    /// removed.
    fn drop_oldest(&mut self) -> bool {
        let more = Stream::ALL
            .into_iter()
            .max_by_key(|stream| self.segments[*stream].starts.len());
        let Some(stream) = more else { return false };
        let segment = &mut self.segments[stream];
        // Removing the open segment would free no space.
        if segment.starts.len() < 2 {
            return false;
        }
        let oldest = segment.starts.pop_front().expect("there are two");
        std::fs::remove_file(segment_path(&self.dir, stream, oldest)).is_ok()
    }

    fn write_record(
        &mut self,
        stream: Stream,
        len: usize,
        before: PerStream<u64>,
    ) -> io::Result<()> {
        if self.index.records == INDEX_RECORDS {
            self.index.file = None;
        }
        if self.index.file.is_none() {
            let number = self.index.next_number;
            while number - self.index.oldest >= KEPT_INDEXES {
                let _ = std::fs::remove_file(index_path(&self.dir, self.index.oldest));
                self.index.oldest += 1;
            }
            let mut head = [0; INDEX_HEAD as usize];
            head[..8].copy_from_slice(&before[Stream::Stdout].to_le_bytes());
            head[8..].copy_from_slice(&before[Stream::Stderr].to_le_bytes());
            // A reader ignores the segment until its two offsets are complete.
            let path = index_path(&self.dir, number);
            let mut file = own_file()
                .create(true)
                .truncate(false)
                .write(true)
                .open(path)?;
            file.write_all(&head)?;
            self.index.file = Some(file);
            self.index.next_number += 1;
            self.index.records = 0;
        }
        let bit = match stream {
            Stream::Stdout => 0,
            Stream::Stderr => STDERR_BIT,
        };
        let len = u32::try_from(len).expect("a read is far smaller than 2 GiB");
        let file = self.index.file.as_mut().expect("opened above");
        file.write_all(&(len | bit).to_le_bytes())?;
        self.index.records += 1;
        Ok(())
    }

    /// Makes the kept output durable.
    pub(crate) fn sync(&self) {
        let files = self.segments.iter().map(|(_, segment)| &segment.file);
        for file in files.chain([&self.index.file]).flatten() {
            // Without a sync, output may be missing after a power loss.
            let _ = file.sync_data();
        }
    }
}
