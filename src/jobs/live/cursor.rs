//! Output as a viewer gets it: bytes in the order in which they were read, cut into events of whole
//! characters.

use hyprbox_protocol::{Stream, last_character_boundary};

use crate::clock::Timestamp;
use crate::jobs::live::frame::{Offsets, OutputEvent, line_ends};
use crate::store::job::Job;
use crate::store::output::{self, StoredChunk};
use crate::store::{StoreError, Tx};

/// Bytes of output in one event at the most.
const EVENT_BYTES: usize = 32 * 1024;
/// Output that came within this many milliseconds may be told in one event: its `at` is right to
/// that.
const EVENT_MS: i64 = 100;
/// Bytes read from the store at a time.
const WINDOW_BYTES: u64 = 64 * 1024;

/// Bytes of one stream that were read and not told, as they may be the beginning of a character.
#[derive(Debug)]
struct Pending {
    /// Offset of the first of them; where the stream goes on when there are none.
    offset: u64,
    bytes: Vec<u8>,
    /// Lines that had begun with the first of them.
    line: Option<u64>,
    /// When the last of them arrived.
    at: Timestamp,
}

/// Reads a job's output from the store, event by event, from wherever a viewer is.
#[derive(Debug)]
pub(in crate::jobs) struct Cursor {
    job_id: String,
    /// Every chunk before this position was read; `None`: to be looked up from the offsets.
    position: Option<u64>,
    stdout: Pending,
    stderr: Pending,
    /// Where the kept tails begin: the chunk at that edge is stored whole, and what fell off its
    /// head is not told.
    kept: Offsets,
}

impl Cursor {
    /// A cursor that goes on where a viewer's offsets are.
    pub(in crate::jobs) fn at(job_id: &str, offsets: Offsets) -> Self {
        let pending = |offset| Pending {
            offset,
            bytes: Vec::new(),
            line: None,
            at: Timestamp::from_millis(0),
        };
        Self {
            job_id: job_id.to_owned(),
            position: None,
            stdout: pending(offsets.stdout),
            stderr: pending(offsets.stderr),
            kept: Offsets::default(),
        }
    }

    /// How far the events told so far go.
    pub(in crate::jobs) fn offsets(&self) -> Offsets {
        Offsets {
            stdout: self.stdout.offset,
            stderr: self.stderr.offset,
        }
    }

    fn pending(&mut self, stream: Stream) -> &mut Pending {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    /// Reads on: the next events, and whether there may be more at once. `job` is the row of this
    /// transaction.
    pub(in crate::jobs) fn read(
        &mut self,
        tx: &mut dyn Tx,
        job: &Job,
    ) -> Result<(Vec<OutputEvent>, bool), StoreError> {
        self.kept = Offsets {
            stdout: job.stdout.start,
            stderr: job.stderr.start,
        };
        let position = match self.position {
            Some(position) => position,
            None => self.look_up(tx, job.position)?,
        };
        let chunks = output::window(tx, &self.job_id, position, WINDOW_BYTES)?;
        let more = !chunks.is_empty();
        let mut events = Vec::new();
        for chunk in chunks {
            self.position = Some(chunk.position + chunk.data.len() as u64);
            self.take(chunk, &mut events);
        }
        if self.position.is_none() {
            self.position = Some(position);
        }
        Ok((events, more))
    }

    /// The end of the job: what was held back is no character's beginning.
    pub(in crate::jobs) fn finish(&mut self) -> Vec<OutputEvent> {
        let mut events = Vec::new();
        for stream in Stream::ALL {
            flush(self.pending(stream), stream, true, &mut events);
        }
        events
    }

    /// The position of the earliest chunk that holds something not told yet; `end` where there is
    /// none.
    fn look_up(&self, tx: &mut dyn Tx, end: u64) -> Result<u64, StoreError> {
        let mut earliest = end;
        for (stream, pending) in [
            (Stream::Stdout, &self.stdout),
            (Stream::Stderr, &self.stderr),
        ] {
            let at = pending.offset + pending.bytes.len() as u64;
            if let Some(position) = output::position_after(tx, &self.job_id, stream, at)? {
                earliest = earliest.min(position);
            }
        }
        Ok(earliest)
    }

    fn take(&mut self, chunk: StoredChunk, events: &mut Vec<OutputEvent>) {
        let stream = chunk.stream;
        let begin = chunk.start_offset.max(self.kept.of(stream));
        let pending = self.pending(stream);
        let at = pending.offset + pending.bytes.len() as u64;
        let end = chunk.start_offset + chunk.data.len() as u64;
        if end <= at.max(begin) {
            return;
        }
        if begin > at {
            // Bytes are missing before this chunk: nothing can complete what was held back.
            flush(pending, stream, true, events);
            pending.offset = begin;
        }
        let from = at.max(begin);
        let known = usize::try_from(from - chunk.start_offset).unwrap_or(usize::MAX);
        let mut before = chunk.data;
        let new = before.split_off(known.min(before.len()));
        if pending.bytes.is_empty() {
            pending.line = chunk.line.map(|line| line + line_ends(&before));
            pending.bytes = new;
        } else {
            pending.bytes.extend(new);
        }
        pending.at = chunk.arrived_at;
        flush(pending, stream, false, events);
    }
}

/// Turns what is pending into events; the beginning of a character is held back, unless this is the
/// `end`.
fn flush(pending: &mut Pending, stream: Stream, end: bool, events: &mut Vec<OutputEvent>) {
    while !pending.bytes.is_empty() {
        let most = pending.bytes.len().min(EVENT_BYTES);
        let whole = if end && most == pending.bytes.len() {
            most
        } else {
            last_character_boundary(&pending.bytes[..most])
        };
        if whole == 0 {
            return;
        }
        let rest = pending.bytes.split_off(whole);
        let bytes = std::mem::replace(&mut pending.bytes, rest);
        let ended = line_ends(&bytes);
        let data = String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        let next = pending.offset + whole as u64;
        add(
            events,
            OutputEvent {
                stream,
                offset: pending.offset,
                end: next,
                data,
                at: pending.at,
                line: pending.line,
            },
        );
        pending.offset = next;
        pending.line = pending.line.map(|line| line + ended);
    }
}

/// Adds an event, to the one before where it goes on there.
fn add(events: &mut Vec<OutputEvent>, event: OutputEvent) {
    if let Some(last) = events.last_mut()
        && last.stream == event.stream
        && last.end == event.offset
        && event.end - last.offset <= EVENT_BYTES as u64
        // A client can then cut it again wherever an event could end: each byte of it is there.
        && last.is_exact()
        && event.is_exact()
        && event.at.millis_since(last.at) <= EVENT_MS
    {
        last.data.push_str(&event.data);
        last.end = event.end;
    } else {
        events.push(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(stream: Stream, start_offset: u64, position: u64, data: &[u8]) -> StoredChunk {
        StoredChunk {
            stream,
            start_offset,
            position,
            arrived_at: Timestamp::from_millis(0),
            line: None,
            data: data.to_vec(),
        }
    }

    fn told(chunks: &[StoredChunk]) -> (Vec<(u64, u64, String)>, Cursor) {
        let mut cursor = Cursor::at("j", Offsets::default());
        let mut events = Vec::new();
        for chunk in chunks {
            cursor.take(chunk.clone(), &mut events);
        }
        events.extend(cursor.finish());
        (
            events
                .into_iter()
                .map(|event| (event.offset, event.end, event.data))
                .collect(),
            cursor,
        )
    }

    #[test]
    fn a_character_cut_by_a_chunk_is_told_whole_even_across_the_other_stream() {
        let (events, _) = told(&[
            chunk(Stream::Stdout, 0, 0, b"h\xc3"),
            chunk(Stream::Stderr, 0, 2, b"x"),
            chunk(Stream::Stdout, 2, 3, b"\xa9y"),
        ]);
        let expected = [
            (0, 1, "h".to_owned()),
            (0, 1, "x".to_owned()),
            (1, 4, "\u{e9}y".to_owned()),
        ];
        assert_eq!(events, expected);
    }

    #[test]
    fn a_gap_shows_as_an_offset_past_the_last_end() {
        let (events, cursor) = told(&[
            chunk(Stream::Stdout, 0, 0, b"ab\xc3"),
            chunk(Stream::Stdout, 10, 3, b"\xa9z"),
        ]);
        let expected = [
            (0, 2, "ab".to_owned()),
            (2, 3, "\u{fffd}".to_owned()),
            (10, 12, "\u{fffd}z".to_owned()),
        ];
        assert_eq!(events, expected);
        assert_eq!(
            cursor.offsets(),
            Offsets {
                stdout: 12,
                stderr: 0
            }
        );
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        let mut cursor = Cursor::at(
            "j",
            Offsets {
                stdout: 3,
                stderr: 0,
            },
        );
        let mut events = Vec::new();
        cursor.take(chunk(Stream::Stdout, 0, 0, b"abcdef"), &mut events);
        cursor.take(chunk(Stream::Stdout, 0, 0, b"abcdef"), &mut events);
        assert_eq!(
            events,
            [OutputEvent {
                stream: Stream::Stdout,
                offset: 3,
                end: 6,
                data: "def".into(),
                at: Timestamp::from_millis(0),
                line: None,
            }]
        );
    }

    #[test]
    fn lines_are_counted_from_wherever_the_reading_begins() {
        let numbered = |stream, start_offset, position, line, data| StoredChunk {
            line: Some(line),
            ..chunk(stream, start_offset, position, data)
        };
        let chunks = [
            numbered(Stream::Stdout, 0, 0, 1, b"a\nb\nc"),
            numbered(Stream::Stderr, 0, 5, 4, b"x\n"),
            numbered(Stream::Stdout, 5, 7, 4, b"c\nd\n"),
        ];
        let lines = |stdout| {
            let mut cursor = Cursor::at("j", Offsets { stdout, stderr: 0 });
            let mut events = Vec::new();
            for chunk in &chunks {
                cursor.take(chunk.clone(), &mut events);
            }
            events
                .iter()
                .map(|event| (event.data.clone(), event.line))
                .collect::<Vec<_>>()
        };
        let told = |texts: [(&str, u64); 3]| {
            texts
                .map(|(text, line)| (text.to_owned(), Some(line)))
                .to_vec()
        };
        assert_eq!(lines(0), told([("a\nb\nc", 1), ("x\n", 4), ("c\nd\n", 4)]));
        assert_eq!(lines(2), told([("b\nc", 2), ("x\n", 4), ("c\nd\n", 4)]));
        assert_eq!(lines(4), told([("c", 3), ("x\n", 4), ("c\nd\n", 4)]));
        assert_eq!(
            lines(7),
            [("x\n".to_owned(), Some(4)), ("d\n".to_owned(), Some(5))]
        );
    }

    #[test]
    fn what_came_later_is_an_event_of_its_own() {
        let later = StoredChunk {
            arrived_at: Timestamp::from_millis(EVENT_MS + 1),
            ..chunk(Stream::Stdout, 1, 1, b"b")
        };
        let (events, _) = told(&[chunk(Stream::Stdout, 0, 0, b"a"), later.clone()]);
        assert_eq!(events.len(), 2);
        let soon = StoredChunk {
            arrived_at: Timestamp::from_millis(EVENT_MS),
            ..later
        };
        let (events, _) = told(&[chunk(Stream::Stdout, 0, 0, b"a"), soon]);
        assert_eq!(events.len(), 1);
    }

    #[test]
    fn what_is_no_text_stays_an_event_of_its_own() {
        let texts = |chunks: &[StoredChunk]| {
            let (events, _) = told(chunks);
            events
                .into_iter()
                .map(|(_, _, text)| text)
                .collect::<Vec<_>>()
        };
        let chunks = [
            chunk(Stream::Stdout, 0, 0, b"a"),
            chunk(Stream::Stdout, 1, 1, b"b"),
            chunk(Stream::Stdout, 2, 2, b"\xff-"),
            chunk(Stream::Stdout, 4, 4, b"c"),
        ];
        assert_eq!(texts(&chunks), ["ab", "\u{fffd}-", "c"]);
    }

    #[test]
    fn large_output_comes_in_bounded_events() {
        let (events, _) = told(&[chunk(
            Stream::Stdout,
            0,
            0,
            &vec![b'a'; EVENT_BYTES * 2 + 1],
        )]);
        assert_eq!(events.len(), 3);
        assert!(
            events
                .iter()
                .all(|(offset, end, _)| end - offset <= EVENT_BYTES as u64)
        );
    }
}
