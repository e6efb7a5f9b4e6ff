//! How far a job's output was read, so that no byte is printed twice after a reconnect.

use hyprbox_protocol::{PerStream, Stream};

/// The position in each stream.
#[derive(Default)]
pub(super) struct ReadPosition {
    /// Offset of the next byte.
    pub(super) ends: PerStream<u64>,
    /// Bytes that were skipped.
    pub(super) lost: u64,
}

impl ReadPosition {
    /// Moves past `bytes`, which start at `offset`. Returns the part that is new.
    pub(super) fn advance<'b>(&mut self, stream: Stream, offset: u64, bytes: &'b [u8]) -> &'b [u8] {
        let end = &mut self.ends[stream];
        let known = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let missing = offset.saturating_sub(*end);
        *end = (*end).max(offset + bytes.len() as u64);
        self.lost += missing;
        bytes.get(known..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_is_seen_twice_and_what_is_missing_is_counted() {
        let mut seen = ReadPosition::default();
        assert_eq!(seen.advance(Stream::Stdout, 0, b"abc"), b"abc");
        assert_eq!(seen.advance(Stream::Stdout, 0, b"abcdef"), b"def");
        assert_eq!(seen.advance(Stream::Stdout, 2, b"cd"), b"");
        assert_eq!(seen.advance(Stream::Stderr, 0, b"x"), b"x");
        assert_eq!(seen.advance(Stream::Stdout, 10, b"k"), b"k");
        assert_eq!((seen.ends, seen.lost), (PerStream::new(11, 1), 4));
    }
}
