//! A job's output on disk, between the supervisor that writes it and the agent that sends it.
//!
//! In the job's folder lie, for each stream, segments named by the offset of their first byte
//! (`stdout.0000001048576`), and an index of the reads, which alone knows in which order the two
//! streams came. A segment ends at the next whole [`SEGMENT_BYTES`], so that an offset names its
//! segment. The last [`KEPT_SEGMENTS`] of a stream are kept: twice what the server keeps, so
//! nothing that it would keep is ever lost, and the node's disk stays bounded.
//!
//! An index segment (`index.0000000000000`) opens with the offsets of both streams where it begins
//! (two u64, little endian), then has one u32 for each read: the top bit is the stream, the rest
//! the length.

mod reader;
mod writer;

use std::path::{Path, PathBuf};

use hyprbox_protocol::Stream;

#[cfg(test)]
pub(crate) use reader::Piece;
pub(crate) use reader::{Batch, SpoolReader, totals_on_disk};
pub(crate) use writer::SpoolWriter;

/// Where a segment ends.
pub(crate) const SEGMENT_BYTES: u64 = 1024 * 1024;
/// Segments of a stream that are kept: 8 MiB.
const KEPT_SEGMENTS: u64 = 8;
/// Reads in one segment of the index.
const INDEX_RECORDS: u64 = 64 * 1024;
/// Segments of the index that are kept: a million reads in 4 MiB. Where a job writes byte by byte
/// the order of the oldest reads is lost before their bytes are.
const KEPT_INDEXES: u64 = 16;
/// The two offsets at a segment's head.
const INDEX_HEAD: u64 = 16;
/// The bit of a record that says stderr.
const STDERR_BIT: u32 = 1 << 31;

/// The most bytes in a batch. Even if each of them must be escaped, a call stays under the server's
/// limit; and a usual one under the 1 MiB that many a proxy allows.
pub(crate) const BATCH_BYTES: usize = 512 * 1024;
/// The most changes between the streams in a batch: each becomes a chunk, with its name and offset.
pub(crate) const MAX_PIECES: usize = 8192;

/// A stream's place in an array.
pub(crate) fn slot(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

fn segment_path(dir: &Path, stream: Stream, start: u64) -> PathBuf {
    dir.join(format!("{}.{start:016}", stream.as_str()))
}

fn index_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("index.{number:016}"))
}

/// Whether that is the name of the file in which a stream or the index begins. Empty, it is as good
/// as none.
pub(crate) fn is_first_segment(name: &str) -> bool {
    let is = |path: PathBuf| path.as_os_str() == name;
    let nowhere = Path::new("");
    let mut streams = Stream::ALL.into_iter();
    is(index_path(nowhere, 0)) || streams.any(|stream| is(segment_path(nowhere, stream, 0)))
}

/// The numbers of the files `<name>.<number>` in a folder, in order.
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
