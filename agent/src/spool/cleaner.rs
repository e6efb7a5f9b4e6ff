//! Removes what the server has acknowledged from a job's spool.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use hyprbox_protocol::{PerStream, Stream};

use super::{
    INDEX_HEAD, KEPT_SEGMENTS, SEGMENT_BYTES, index_path, numbered, parse_head, segment_path,
};

/// Removes acknowledged segments while the supervisor appends others. The supervisor keeps a count
/// of the spool's size and finds out that a segment is gone when it needs room.
pub(crate) struct SpoolCleaner {
    dir: PathBuf,
    /// The blocks of the offsets up to which the server had everything at the last removal.
    blocks: PerStream<u64>,
}

impl SpoolCleaner {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            blocks: PerStream::default(),
        }
    }

    /// The server has everything before these offsets. The newest segments stay in any case: a
    /// server that was restored from a backup asks for them again.
    pub(crate) fn acknowledged(&mut self, next: PerStream<u64>) {
        let blocks = PerStream::from_fn(|stream| next[stream] / SEGMENT_BYTES);
        if blocks == self.blocks {
            return;
        }
        self.blocks = blocks;
        // What can't be removed now is removed at the next block, or with the job.
        for stream in Stream::ALL {
            let _ = self.remove_segments(stream, blocks[stream]);
        }
        let _ = self.remove_indexes(next);
    }

    fn remove_segments(&self, stream: Stream, block: u64) -> io::Result<()> {
        let Some(kept) = block.checked_sub(KEPT_SEGMENTS) else {
            return Ok(());
        };
        for start in numbered(&self.dir, stream.as_str())? {
            if start / SEGMENT_BYTES < kept {
                std::fs::remove_file(segment_path(&self.dir, stream, start))?;
            }
        }
        Ok(())
    }

    /// Removes the index segments that end before these offsets. Without them only the order of
    /// acknowledged bytes is lost, and a reader finds its place sooner.
    fn remove_indexes(&self, next: PerStream<u64>) -> io::Result<()> {
        let numbers = numbered(&self.dir, "index")?;
        for (number, following) in numbers.iter().zip(numbers.iter().skip(1)) {
            let mut head = [0; INDEX_HEAD as usize];
            let file = File::open(index_path(&self.dir, *following))?;
            file.read_exact_at(&mut head, 0)?;
            let offsets = parse_head(&head);
            if offsets
                .iter()
                .any(|(stream, offset)| *offset > next[stream])
            {
                break;
            }
            std::fs::remove_file(index_path(&self.dir, *number))?;
        }
        Ok(())
    }
}
