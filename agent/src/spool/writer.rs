//! The supervisor's side of the spool: appends output, and removes the oldest segments.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hyprbox_protocol::{PerStream, Stream, to_hex};
use ring::digest;

use crate::trusted_dir::own_file;

use super::kept_files::KeptFiles;
use super::{
    INDEX_HEAD, INDEX_RECORDS, KEPT_INDEXES, KEPT_SEGMENTS, RECORD_BYTES, SEGMENT_BYTES,
    STDERR_BIT, free_for_output, index_path, numbered, segment_path, totals_on_disk,
};

/// Appends a job's output. It never fails: if the disk takes no more, the bytes become a gap, which
/// offsets and totals still count, and the job continues.
pub(crate) struct SpoolWriter {
    dir: PathBuf,
    totals: PerStream<u64>,
    /// SHA-256 of each stream so far, including bytes that the disk did not take. `None` if this
    /// process has not seen the stream from its start.
    hashes: PerStream<Option<digest::Context>>,
    segments: PerStream<Segments>,
    index: Index,
    /// The most bytes on the disk. Without it, the newest segments of each stream are kept.
    max_bytes: Option<u64>,
    /// Whether the disk has no more room for a spool that grows.
    is_disk_scarce: bool,
}

/// The segments of one stream.
#[derive(Default)]
struct Segments {
    /// The newest one, unless the next bytes begin another.
    file: Option<File>,
    kept: KeptFiles,
}

#[derive(Default)]
struct Index {
    file: Option<File>,
    next_number: u64,
    kept: KeptFiles,
    records: u64,
}

impl SpoolWriter {
    /// Creates a spool in an empty folder. With `max_bytes` it keeps everything up to that size.
    pub(crate) fn new(dir: &Path, max_bytes: Option<u64>) -> Self {
        Self {
            dir: dir.to_owned(),
            totals: PerStream::default(),
            hashes: PerStream::from_fn(|_| Some(digest::Context::new(&digest::SHA256))),
            segments: PerStream::default(),
            index: Index::default(),
            max_bytes,
            is_disk_scarce: false,
        }
    }

    /// Continues the spool of a supervisor that has died. What a power loss took is not known, so
    /// the next bytes follow those on the disk.
    pub(crate) fn resume(dir: &Path, max_bytes: Option<u64>) -> io::Result<Self> {
        let mut spool = Self::new(dir, max_bytes);
        spool.totals = totals_on_disk(dir)?;
        spool.hashes = PerStream::default();
        let size = |path: PathBuf| {
            let bytes = path.metadata().map_or(0, |about| about.len());
            usize::try_from(bytes).unwrap_or(usize::MAX)
        };
        for stream in Stream::ALL {
            for start in numbered(dir, stream.as_str())? {
                let kept = &mut spool.segments[stream].kept;
                kept.push(start);
                kept.count(size(segment_path(dir, stream, start)));
            }
        }
        for number in numbered(dir, "index")? {
            spool.index.kept.push(number);
            spool.index.kept.count(size(index_path(dir, number)));
            spool.index.next_number = number + 1;
        }
        Ok(spool)
    }

    /// Returns the length of each stream so far, including bytes that the disk did not take.
    pub(crate) fn totals(&self) -> PerStream<u64> {
        self.totals
    }

    /// Returns the SHA-256 of each stream so far, in hex.
    pub(crate) fn sha256(&self) -> PerStream<Option<String>> {
        PerStream::from_fn(|stream| Some(to_hex(self.hashes[stream].clone()?.finish())))
    }

    /// Appends the bytes of one read from a stream.
    pub(crate) fn append(&mut self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(hash) = &mut self.hashes[stream] {
            hash.update(bytes);
        }
        let before = self.totals;
        self.make_room(bytes.len() as u64);
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
                Err(e) if e.kind() == io::ErrorKind::StorageFull && self.drop_oldest(1) => {}
                done => break done?,
            }
        };
        let segments = &mut self.segments[stream];
        segments.file = Some(file);
        segments.kept.push(at);
        if self.max_bytes.is_some() {
            self.spare_the_disk();
            return Ok(());
        }
        while let Some(oldest) = segments.kept.oldest() {
            if at / SEGMENT_BYTES - oldest / SEGMENT_BYTES < KEPT_SEGMENTS {
                break;
            }
            let _ = std::fs::remove_file(segment_path(&self.dir, stream, oldest));
            segments.kept.pop_oldest();
        }
        Ok(())
    }

    /// Drops the oldest segments if the limit leaves no room for one more read of so many bytes.
    fn make_room(&mut self, bytes: u64) {
        let Some(max) = self.max_bytes else { return };
        let room = max.saturating_sub(bytes + INDEX_HEAD + RECORD_BYTES);
        if self.bytes_on_disk() <= room {
            return;
        }
        self.forget_acknowledged();
        while self.bytes_on_disk() > room && self.drop_oldest(1) {}
    }

    /// Keeps the spool from growing into the last part of the disk. As without a limit, the newest
    /// segments of each stream are kept in any case.
    fn spare_the_disk(&mut self) {
        // Each stream may be about to fill a segment.
        let needed = 2 * SEGMENT_BYTES;
        self.is_disk_scarce = free_for_output(&self.dir).is_ok_and(|free| free < needed);
        if self.is_disk_scarce {
            self.forget_acknowledged();
            // Two for the one that begins, so that the spool makes room for others that need it.
            for _ in 0..2 {
                self.drop_oldest(KEPT_SEGMENTS as usize);
            }
        }
    }

    fn bytes_on_disk(&self) -> u64 {
        let streams = self.segments.iter().map(|(_, segments)| &segments.kept);
        streams
            .chain([&self.index.kept])
            .map(KeptFiles::bytes)
            .sum()
    }

    /// Drops the files from the lists that the agent has removed, because the server has them.
    fn forget_acknowledged(&mut self) {
        let dir = &self.dir;
        for (stream, segments) in self.segments.iter_mut() {
            let path = |start| segment_path(dir, stream, start);
            segments.kept.forget_removed(path);
        }
        self.index
            .kept
            .forget_removed(|number| index_path(dir, number));
    }

    /// Writes into the open segment. On a full disk the newest output replaces the oldest, because
    /// failures show at the end.
    fn write_all(&mut self, stream: Stream, mut piece: &[u8]) -> io::Result<()> {
        while !piece.is_empty() {
            let file = self.segments[stream].file.as_mut();
            match file.expect("opened by the caller").write(piece) {
                Ok(written) => {
                    self.segments[stream].kept.count(written);
                    piece = &piece[written..];
                }
                Err(e) if e.kind() == io::ErrorKind::StorageFull && self.drop_oldest(1) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Removes the oldest segment of the stream that has more of them, but keeps the newest ones:
    /// at least one, because removing the open segment would free no space. Returns false if none
    /// can be removed.
    fn drop_oldest(&mut self, newest: usize) -> bool {
        let more = Stream::ALL
            .into_iter()
            .max_by_key(|stream| self.segments[*stream].kept.len());
        let Some(stream) = more else { return false };
        let kept = &mut self.segments[stream].kept;
        if kept.len() <= newest {
            return false;
        }
        let oldest = kept.pop_oldest().expect("there is more than one");
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
            while self.index.kept.len() as u64 >= self.kept_indexes()
                && let Some(oldest) = self.index.kept.pop_oldest()
            {
                let _ = std::fs::remove_file(index_path(&self.dir, oldest));
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
            self.index.kept.push(number);
            self.index.kept.count(head.len());
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
        self.index.kept.count(size_of_val(&len));
        self.index.records += 1;
        Ok(())
    }

    /// How many index segments are kept. Of a spool with a limit, the index takes at most a
    /// quarter.
    fn kept_indexes(&self) -> u64 {
        match self.max_bytes {
            Some(max) if !self.is_disk_scarce => {
                (max / 4 / (INDEX_HEAD + INDEX_RECORDS * RECORD_BYTES)).max(1)
            }
            Some(_) | None => KEPT_INDEXES,
        }
    }

    /// Makes the kept output durable.
    pub(crate) fn sync(&self) {
        if self.max_bytes.is_some() {
            self.sync_segments();
        }
        let files = self.segments.iter().map(|(_, segment)| &segment.file);
        for file in files.chain([&self.index.file]).flatten() {
            // Without a sync, output may be missing after a power loss.
            let _ = file.sync_data();
        }
    }

    /// Syncs all segments: the server may be away for longer than the node runs.
    fn sync_segments(&self) {
        for (stream, segments) in self.segments.iter() {
            for start in segments.kept.numbers() {
                let file = File::open(segment_path(&self.dir, stream, start));
                let _ = file.and_then(|file| file.sync_data());
            }
        }
    }
}
