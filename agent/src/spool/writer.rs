//! The supervisor's side of the spool: appends, and lets the oldest go.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hyprbox_protocol::Stream;

use crate::trusted_dir::own_file;

use super::{
    INDEX_HEAD, INDEX_RECORDS, KEPT_INDEXES, KEPT_SEGMENTS, SEGMENT_BYTES, STDERR_BIT, index_path,
    segment_path, slot,
};

/// Appends what a job writes. Nothing here fails: where the disk takes no more, bytes become a gap
/// that offsets and totals still count, and the job goes on.
pub(crate) struct SpoolWriter {
    dir: PathBuf,
    totals: [u64; 2],
    segments: [Segment; 2],
    index: Index,
}

#[derive(Default)]
struct Segment {
    file: Option<File>,
    /// Starts of the segments on disk, oldest first.
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
    /// A fresh spool in an empty folder.
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            totals: [0; 2],
            segments: [Segment::default(), Segment::default()],
            index: Index::default(),
        }
    }

    /// Bytes of each stream so far, with those that the disk didn't take.
    pub(crate) fn totals(&self) -> [u64; 2] {
        self.totals
    }

    /// Appends what was read of a stream, as one read.
    pub(crate) fn append(&mut self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let before = self.totals;
        let mut rest = bytes;
        let mut all_taken = true;
        while !rest.is_empty() {
            let at = self.totals[slot(stream)];
            let room = usize::try_from(SEGMENT_BYTES - at % SEGMENT_BYTES).unwrap_or(usize::MAX);
            let (piece, later) = rest.split_at(rest.len().min(room));
            all_taken &= self.write_piece(stream, at, piece).is_ok();
            self.totals[slot(stream)] += piece.len() as u64;
            rest = later;
        }
        // The index comes last, so that what it names is there.
        if !all_taken || self.write_record(stream, bytes.len(), before).is_err() {
            // The next read begins a new segment of the index, whose head says where it goes on.
            self.index.file = None;
        }
    }

    fn write_piece(&mut self, stream: Stream, at: u64, piece: &[u8]) -> io::Result<()> {
        if at.is_multiple_of(SEGMENT_BYTES) {
            self.segments[slot(stream)].file = None;
        }
        if self.segments[slot(stream)].file.is_none() {
            self.open_segment(stream, at)?;
        }
        self.write_all(stream, piece).inspect_err(|_| {
            // Whatever part of it was written stays; the next bytes begin a segment at their own
            // offset.
            self.segments[slot(stream)].file = None;
        })
    }

    fn open_segment(&mut self, stream: Stream, at: u64) -> io::Result<()> {
        let path = segment_path(&self.dir, stream, at);
        // The first one may wait in the folder, and is empty then.
        let open = || own_file().append(true).create(true).open(&path);
        let file = loop {
            match open() {
                Err(e) if e.kind() == io::ErrorKind::StorageFull && self.drop_oldest() => {}
                done => break done?,
            }
        };
        let segment = &mut self.segments[slot(stream)];
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

    /// Writes into the open segment. On a full disk the newest output takes the place of the
    /// oldest, as that is where a failure shows.
    fn write_all(&mut self, stream: Stream, mut piece: &[u8]) -> io::Result<()> {
        while !piece.is_empty() {
            let file = self.segments[slot(stream)].file.as_mut();
            match file.expect("opened by the caller").write(piece) {
                Ok(written) => piece = &piece[written..],
                Err(e) if e.kind() == io::ErrorKind::StorageFull && self.drop_oldest() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Removes the oldest segment of the stream that has more of them; false where none can go.
    fn drop_oldest(&mut self) -> bool {
        let more = Stream::ALL
            .into_iter()
            .max_by_key(|stream| self.segments[slot(*stream)].starts.len());
        let Some(stream) = more else { return false };
        let segment = &mut self.segments[slot(stream)];
        // The one that is being written gives no room back: it stays open.
        if segment.starts.len() < 2 {
            return false;
        }
        let oldest = segment.starts.pop_front().expect("there are two");
        std::fs::remove_file(segment_path(&self.dir, stream, oldest)).is_ok()
    }

    fn write_record(&mut self, stream: Stream, len: usize, before: [u64; 2]) -> io::Result<()> {
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
            head[..8].copy_from_slice(&before[0].to_le_bytes());
            head[8..].copy_from_slice(&before[1].to_le_bytes());
            // A reader takes a segment for none until its head is whole.
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

    /// Puts the kept output on the disk for good, before the end is told.
    pub(crate) fn sync(&self) {
        let files = self.segments.iter().map(|s| &s.file);
        for file in files.chain([&self.index.file]).flatten() {
            // What can't be synced is reported as output that may be missing after a power loss,
            // which it is anyway.
            let _ = file.sync_data();
        }
    }
}
