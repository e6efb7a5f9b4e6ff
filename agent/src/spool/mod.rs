//! A job's output on disk, between the supervisor that writes it and the agent that sends it.
//!
//! The job's folder contains segments of each stream, named by the offset of their first byte
//! (`stdout.0000001048576`), and an index of the reads, which records the order of the two streams.
//! A segment ends at the next multiple of [`SEGMENT_BYTES`], so an offset determines its segment.
//! The last [`KEPT_SEGMENTS`] of a stream are kept. That is twice what the server keeps, so nothing
//! that the server would keep is lost, and the use of the node's disk is bounded.
//!
//! If the server wants all output, the supervisor keeps everything up to a limit in bytes, and the
//! agent removes what the server has acknowledged, except each stream's last [`KEPT_SEGMENTS`].
//!
//! An index segment (`index.0000000000000`) begins with the offsets of both streams at its start
//! (two u64, little endian), followed by one u32 for each read: the top bit is the stream, and the
//! other bits are the length.

mod cleaner;
mod disk;
mod kept_files;
mod reader;
mod stamps;
mod writer;

use std::path::{Path, PathBuf};

use hyprbox_protocol::{PerStream, Stream};

pub(crate) use cleaner::SpoolCleaner;
pub(crate) use disk::{RESERVED_PERCENT, free_for_output};
#[cfg(test)]
pub(crate) use reader::BatchPiece;
pub(crate) use reader::{Batch, SpoolReader, totals_on_disk};
pub(crate) use stamps::{STAMPS, StampReader, StampWriter};
pub(crate) use writer::SpoolWriter;

/// Size of a segment.
pub(crate) const SEGMENT_BYTES: u64 = 1024 * 1024;
/// How many segments of a stream are kept: 8 MiB.
const KEPT_SEGMENTS: u64 = 8;
/// How many reads one index segment records.
const INDEX_RECORDS: u64 = 64 * 1024;
/// How many index segments are kept: a million reads in 4 MiB. If a job writes byte by byte, the
/// order of the oldest reads is lost before their bytes are.
const KEPT_INDEXES: u64 = 16;
/// Size of the two offsets at the start of an index segment.
const INDEX_HEAD: u64 = 16;
/// Size of a record in the index.
const RECORD_BYTES: u64 = 4;
/// The bit of a record that means stderr.
const STDERR_BIT: u32 = 1 << 31;

/// The most bytes in a batch. Even if each byte must be escaped, a call stays below the server's
/// limit, and a usual call stays below the 1 MiB that many proxies allow.
pub(crate) const BATCH_BYTES: usize = 512 * 1024;
/// The most pieces in a batch. Each becomes a chunk with a stream and an offset.
pub(crate) const MAX_PIECES: usize = 8192;

fn segment_path(dir: &Path, stream: Stream, start: u64) -> PathBuf {
    dir.join(format!("{}.{start:016}", stream.as_str()))
}

fn index_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("index.{number:016}"))
}

/// Whether this is the name of a stream's or the index's first segment. An empty file with that
/// name means the same as a missing one.
pub(crate) fn is_first_segment(name: &str) -> bool {
    let is = |path: PathBuf| path.as_os_str() == name;
    let nowhere = Path::new("");
    let mut streams = Stream::ALL.into_iter();
    is(index_path(nowhere, 0)) || streams.any(|stream| is(segment_path(nowhere, stream, 0)))
}

/// The offsets of both streams at the start of an index segment.
fn parse_head(head: &[u8; INDEX_HEAD as usize]) -> PerStream<u64> {
    let (stdout, stderr) = head.split_at(size_of::<u64>());
    let offset = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    PerStream::new(offset(stdout), offset(stderr))
}

/// Returns the numbers of the files `<name>.<number>` in a folder, sorted.
fn numbered(dir: &Path, name: &str) -> std::io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let file = entry?.file_name();
        let number: Option<u64> = file
            .to_str()
            .and_then(|f| f.strip_prefix(name)?.strip_prefix('.')?.parse().ok());
        found.extend(number);
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests;
