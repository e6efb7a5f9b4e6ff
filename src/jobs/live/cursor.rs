//! Reads a job's output as events of whole characters, in the order in which the agent read it.

use hyprbox_protocol::{PerStream, Stream, last_character_boundary};

use crate::clock::Timestamp;
use crate::jobs::live::events::{Offsets, OutputEvent};
use crate::store::job::{self, Job};
use crate::store::output::{self, StoredChunk, count_newlines};
use crate::store::{Store, StoreError, Tx};

/// Most bytes of output in one event.
const EVENT_BYTES: usize = 32 * 1024;
/// Output that arrived within this many milliseconds may share an event, and so its `at`.
const EVENT_MS: i64 = 100;
/// Bytes read from the store at a time.
pub(in crate::jobs) const WINDOW_BYTES: u64 = 64 * 1024;

/// Bytes of one stream that were read but are in no event yet, since they may be the beginning of a
/// character.
#[derive(Debug)]
struct Pending {
    /// Offset of the first of these bytes. Without any, offset of the stream's next byte.
    offset: u64,
    bytes: Vec<u8>,
    /// Lines of both streams that had begun with the first of these bytes.
    line: Option<u64>,
    /// When the last of these bytes arrived.
    at: Timestamp,
    /// The node's time of the step that the last line announces.
    step_ms: Option<u64>,
}

impl Pending {
    /// The offset of the next byte to read.
    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// Turns the pending bytes into events. The beginning of a character stays pending, unless
    /// `is_end`: then nothing can complete it.
    fn flush(&mut self, stream: Stream, is_end: bool, events: &mut Vec<OutputEvent>) {
        while !self.bytes.is_empty() {
            let most = self.bytes.len().min(EVENT_BYTES);
            let whole = if is_end && most == self.bytes.len() {
                most
            } else {
                last_character_boundary(&self.bytes[..most])
            };
            if whole == 0 {
                return;
            }
            let rest = self.bytes.split_off(whole);
            let bytes = std::mem::replace(&mut self.bytes, rest);
            let newlines = count_newlines(&bytes);
            let data = String::from_utf8(bytes)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
            let end = self.offset + whole as u64;
            push_or_join(
                events,
                OutputEvent {
                    stream,
                    offset: self.offset,
                    end,
                    data,
                    at: self.at,
                    line: self.line,
                    step_ms: self.step_ms.filter(|_| self.bytes.is_empty()),
                },
            );
            self.offset = end;
            self.line = self.line.map(|line| line + newlines);
        }
    }
}

/// Reads a job's output from the store, event by event, from a viewer's offsets on.
#[derive(Debug)]
pub(in crate::jobs) struct Cursor {
    job_id: String,
    /// Every chunk before this position was read. `None` until the offsets were looked up.
    position: Option<u64>,
    pending: PerStream<Pending>,
}

/// A job's row and the output that follows a cursor, read in one transaction.
pub(in crate::jobs) struct Snapshot {
    /// `None` if the job no longer exists.
    pub(in crate::jobs) job: Option<Job>,
    /// The cursor after these events.
    pub(in crate::jobs) cursor: Cursor,
    pub(in crate::jobs) events: Vec<OutputEvent>,
    /// Whether there may be more to read right away.
    pub(in crate::jobs) has_more: bool,
}

impl Cursor {
    /// A cursor that continues at a viewer's offsets.
    pub(in crate::jobs) fn at(job_id: &str, offsets: Offsets) -> Self {
        Self {
            job_id: job_id.to_owned(),
            position: None,
            pending: offsets.map(|offset| Pending {
                offset,
                bytes: Vec::new(),
                line: None,
                at: Timestamp::from_millis(0),
                step_ms: None,
            }),
        }
    }

    /// The offsets after the events that were read so far.
    pub(in crate::jobs) fn offsets(&self) -> Offsets {
        PerStream::from_fn(|stream| self.pending[stream].offset)
    }

    /// Reads what follows. If the job has ended, this includes the beginning of a character that
    /// will never be completed.
    pub(in crate::jobs) async fn read_next(
        mut self,
        store: &Store,
    ) -> Result<Snapshot, StoreError> {
        store
            .read(move |tx| {
                let mut job = job::find(tx, &self.job_id)?;
                if let Some(job) = &mut job {
                    // No event has them, and up to megabytes of them would wait with the viewer.
                    job.params = String::new();
                }
                let (mut events, mut has_more) = (Vec::new(), false);
                if let Some(job) = &job {
                    (events, has_more) = self.read_window(tx, job)?;
                    if !has_more && job.status.is_terminal() {
                        for (stream, pending) in self.pending.iter_mut() {
                            pending.flush(stream, true, &mut events);
                        }
                    }
                }
                Ok(Snapshot {
                    job,
                    cursor: self,
                    events,
                    has_more,
                })
            })
            .await
    }

    fn read_window(
        &mut self,
        tx: &mut dyn Tx,
        job: &Job,
    ) -> Result<(Vec<OutputEvent>, bool), StoreError> {
        let mut position = match self.position {
            Some(position) => position,
            None => self.find_position(tx, job.position)?,
        };
        let chunks = output::window(tx, job, None, position, WINDOW_BYTES)?;
        let has_more = !chunks.is_empty();
        let mut events = Vec::new();
        for chunk in chunks {
            position = chunk.end_position();
            self.push(chunk, &mut events);
        }
        self.position = Some(position);
        Ok((events, has_more))
    }

    /// The position of the earliest chunk with bytes that were not read yet; `end` if there is
    /// none.
    fn find_position(&self, tx: &mut dyn Tx, end: u64) -> Result<u64, StoreError> {
        let mut earliest = end;
        for (stream, pending) in self.pending.iter() {
            if let Some(position) = output::position_after(tx, &self.job_id, stream, pending.end())?
            {
                earliest = earliest.min(position);
            }
        }
        Ok(earliest)
    }

    fn push(&mut self, mut chunk: StoredChunk, events: &mut Vec<OutputEvent>) {
        let pending = &mut self.pending[chunk.stream];
        chunk.skip(pending.end().saturating_sub(chunk.start_offset));
        if chunk.data.is_empty() {
            return;
        }
        if chunk.start_offset > pending.end() {
            // Bytes are missing before this chunk, so nothing can complete the pending ones.
            pending.flush(chunk.stream, true, events);
            pending.offset = chunk.start_offset;
        }
        if pending.bytes.is_empty() {
            pending.line = chunk.line;
            pending.bytes = chunk.data;
        } else {
            pending.bytes.extend(chunk.data);
        }
        pending.at = chunk.arrived_at;
        pending.step_ms = chunk.step_ms;
        pending.flush(chunk.stream, false, events);
    }
}

/// Adds an event, joined with the last one if it continues there.
fn push_or_join(events: &mut Vec<OutputEvent>, event: OutputEvent) {
    if let Some(last) = events.last_mut()
        && last.stream == event.stream
        && last.end == event.offset
        && event.end - last.offset <= EVENT_BYTES as u64
        // With every byte in place, the joined event can be cut again wherever one could end.
        && last.is_exact()
        && event.is_exact()
        && event.at.millis_since(last.at) <= EVENT_MS
        // A step keeps its own time.
        && last.step_ms.is_none()
        && event.step_ms.is_none()
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
            step_ms: None,
            data: data.to_vec(),
        }
    }

    /// The events of a whole job's chunks.
    fn read_all(chunks: &[StoredChunk]) -> (Vec<(u64, u64, String)>, Cursor) {
        let mut cursor = Cursor::at("j", Offsets::default());
        let mut events = Vec::new();
        for chunk in chunks {
            cursor.push(chunk.clone(), &mut events);
        }
        for (stream, pending) in cursor.pending.iter_mut() {
            pending.flush(stream, true, &mut events);
        }
        (
            events
                .into_iter()
                .map(|event| (event.offset, event.end, event.data))
                .collect(),
            cursor,
        )
    }

    #[test]
    fn a_character_split_between_chunks_is_sent_whole_even_across_the_other_stream() {
        let (events, _) = read_all(&[
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
        let (events, cursor) = read_all(&[
            chunk(Stream::Stdout, 0, 0, b"ab\xc3"),
            chunk(Stream::Stdout, 10, 3, b"\xa9z"),
        ]);
        let expected = [
            (0, 2, "ab".to_owned()),
            (2, 3, "\u{fffd}".to_owned()),
            (10, 12, "\u{fffd}z".to_owned()),
        ];
        assert_eq!(events, expected);
        assert_eq!(cursor.offsets(), Offsets::new(12, 0));
    }

    #[test]
    fn bytes_before_the_cursor_are_not_sent_again() {
        let mut cursor = Cursor::at("j", Offsets::new(3, 0));
        let mut events = Vec::new();
        cursor.push(chunk(Stream::Stdout, 0, 0, b"abcdef"), &mut events);
        cursor.push(chunk(Stream::Stdout, 0, 0, b"abcdef"), &mut events);
        assert_eq!(
            events,
            [OutputEvent {
                stream: Stream::Stdout,
                offset: 3,
                end: 6,
                data: "def".into(),
                at: Timestamp::from_millis(0),
                line: None,
                step_ms: None,
            }]
        );
    }

    #[test]
    fn line_numbers_are_right_wherever_the_reading_begins() {
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
            let mut cursor = Cursor::at("j", Offsets::new(stdout, 0));
            let mut events = Vec::new();
            for chunk in &chunks {
                cursor.push(chunk.clone(), &mut events);
            }
            events
                .iter()
                .map(|event| (event.data.clone(), event.line))
                .collect::<Vec<_>>()
        };
        let expected = |texts: [(&str, u64); 3]| {
            texts
                .map(|(text, line)| (text.to_owned(), Some(line)))
                .to_vec()
        };
        assert_eq!(
            lines(0),
            expected([("a\nb\nc", 1), ("x\n", 4), ("c\nd\n", 4)])
        );
        assert_eq!(lines(2), expected([("b\nc", 2), ("x\n", 4), ("c\nd\n", 4)]));
        assert_eq!(lines(4), expected([("c", 3), ("x\n", 4), ("c\nd\n", 4)]));
        assert_eq!(
            lines(7),
            [("x\n".to_owned(), Some(4)), ("d\n".to_owned(), Some(5))]
        );
    }

    #[test]
    fn output_that_arrived_later_is_a_separate_event() {
        let later = StoredChunk {
            arrived_at: Timestamp::from_millis(EVENT_MS + 1),
            ..chunk(Stream::Stdout, 1, 1, b"b")
        };
        let (events, _) = read_all(&[chunk(Stream::Stdout, 0, 0, b"a"), later.clone()]);
        assert_eq!(events.len(), 2);
        let soon = StoredChunk {
            arrived_at: Timestamp::from_millis(EVENT_MS),
            ..later
        };
        let (events, _) = read_all(&[chunk(Stream::Stdout, 0, 0, b"a"), soon]);
        assert_eq!(events.len(), 1);
    }

    #[test]
    fn events_with_replacement_characters_are_not_joined() {
        let texts = |chunks: &[StoredChunk]| {
            let (events, _) = read_all(chunks);
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
    fn large_output_is_split_into_bounded_events() {
        let (events, _) = read_all(&[chunk(
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
