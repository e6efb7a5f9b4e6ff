//! Events of a watched job, encoded once for all of its viewers.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::jobs::live::event_id::EventId;
use crate::jobs::live::events::{DoneEvent, Offsets, OutputEvent, StatusEvent};
use crate::jobs::live::sse;

/// Approximate memory of a frame in addition to its output, in bytes.
const FRAME_BYTES: usize = 512;

/// An event of a watched job.
#[derive(Debug, Clone)]
pub(in crate::jobs) enum Frame {
    /// New output.
    Output(Arc<OutputFrame>),
    /// Another status, or a cancel request.
    Status(StatusEvent),
    /// The end of the job, after all of its output.
    Done(DoneEvent),
}

impl Frame {
    /// Encodes the frame as an event of the job's own stream, with or without times.
    pub(in crate::jobs) fn encode(&self, id: &EventId, times: bool) -> Bytes {
        match self {
            Self::Output(output) => output.encode(times),
            Self::Status(status) => sse::encode("status", &id.to_string(), status),
            Self::Done(done) => sse::encode("done", &id.to_string(), done),
        }
    }
}

/// New output. Each encoding is made once, when the first viewer needs it.
#[derive(Debug)]
pub(in crate::jobs) struct OutputFrame {
    pub(in crate::jobs) event: OutputEvent,
    /// The offsets of both streams before this frame.
    pub(in crate::jobs) before: Offsets,
    /// The id of the event, with the offsets after this frame.
    id: EventId,
    plain: OnceLock<Bytes>,
    timed: OnceLock<Bytes>,
}

impl OutputFrame {
    pub(in crate::jobs) fn new(event: OutputEvent, before: Offsets, id: EventId) -> Self {
        Self {
            event,
            before,
            id,
            plain: OnceLock::new(),
            timed: OnceLock::new(),
        }
    }

    /// Approximate memory of the frame: its text, and one encoding.
    pub(in crate::jobs) fn bytes_held(&self) -> usize {
        FRAME_BYTES + 2 * self.event.data.len()
    }

    /// The part that a viewer at `sent` has not received, or `None` if output is missing in
    /// between or the frame can't be cut there.
    ///
    /// A read of the store ends anywhere, most likely within a frame. Without the cut, a viewer
    /// that read the store once would have to read it again for every frame.
    pub(in crate::jobs) fn rest_for(self: &Arc<Self>, sent: Offsets) -> Option<Arc<Self>> {
        if self.before == sent {
            return Some(Arc::clone(self));
        }
        let stream = self.event.stream;
        let mut reached = self.before;
        reached[stream] = sent[stream];
        if reached != sent {
            return None;
        }
        let rest = self.event.rest_from(sent[stream])?;
        Some(Arc::new(Self::new(rest, sent, self.id)))
    }

    /// Encodes the frame as an event of the job's own stream, with or without times.
    pub(in crate::jobs) fn encode(&self, times: bool) -> Bytes {
        let id = || self.id.to_string();
        let encoded = if times {
            self.timed
                .get_or_init(|| sse::encode("output", &id(), &self.event.timed()))
        } else {
            self.plain
                .get_or_init(|| sse::encode("output", &id(), &self.event))
        };
        encoded.clone()
    }
}

#[cfg(test)]
mod tests {
    use hyprbox_protocol::Stream;

    use super::*;
    use crate::clock::Timestamp;

    const BEFORE: Offsets = Offsets::new(10, 3);

    /// Stdout from 10 on; five lines have begun before.
    fn frame(data: &str, end: u64) -> Arc<OutputFrame> {
        let event = OutputEvent {
            stream: Stream::Stdout,
            offset: 10,
            end,
            data: data.to_owned(),
            at: Timestamp::from_millis(0),
            line: Some(5),
            step_ms: None,
        };
        let id = EventId::new(None, Offsets::new(end, 3));
        Arc::new(OutputFrame::new(event, BEFORE, id))
    }

    #[test]
    fn a_frame_is_cut_at_the_viewers_offset() {
        let output = frame("a\nb\u{e9}c", 16);
        let whole = output.rest_for(BEFORE).expect("all of the frame");
        assert!(Arc::ptr_eq(&whole, &output));
        let rest = output.rest_for(Offsets::new(12, 3)).expect("can be cut");
        let event = &rest.event;
        assert_eq!(
            (event.offset, event.end, event.data.as_str(), event.line),
            (12, 16, "b\u{e9}c", Some(6))
        );
        let sent = String::from_utf8(rest.encode(false).to_vec()).expect("text");
        assert!(sent.starts_with("id: -16-3\n"), "{sent}");
    }

    #[test]
    fn a_frame_is_not_cut_if_output_would_be_lost() {
        let none = |stdout, stderr, output: Arc<OutputFrame>| {
            assert!(output.rest_for(Offsets::new(stdout, stderr)).is_none());
        };
        // Bytes are missing before the frame, of its stream or of the other.
        none(9, 3, frame("abc", 13));
        none(11, 2, frame("abc", 13));
        // Within a character, and after a byte that U+FFFD stands for.
        none(11, 3, frame("\u{e9}", 12));
        none(11, 3, frame("a\u{fffd}", 12));
    }
}
