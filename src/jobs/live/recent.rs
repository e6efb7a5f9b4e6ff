//! The last frames of a watched job. Viewers that join, or fall behind, receive these as they are;
//! otherwise each would read and encode the same rows, and a crowd would slow itself down.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::jobs::live::events::{Offsets, StatusEvent};
use crate::jobs::live::frame::{Frame, OutputFrame};

/// Bytes kept per viewer of a crowd; the kernel holds many times as much per connection.
const BYTES_PER_VIEWER: usize = 16 * 1024;
/// Bytes kept for few viewers, so that a crowd that arrives at once finds the first frames.
const BYTES_MIN: usize = 256 * 1024;
/// Most bytes kept for a job.
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most bytes handed to a viewer at once: they stay in memory until they are sent.
const BATCH_BYTES: usize = 128 * 1024;

/// The last frames of one job.
#[derive(Debug, Default)]
pub(in crate::jobs) struct RecentFrames(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// The last state, however old.
    status: Option<StatusEvent>,
    output: VecDeque<Arc<OutputFrame>>,
    bytes: usize,
}

impl RecentFrames {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        crate::sync::lock(&self.0)
    }

    /// Keeps a frame that was just sent to so many viewers.
    pub(in crate::jobs) fn push(&self, frame: &Frame, viewers: usize) {
        let mut kept = self.kept();
        match frame {
            Frame::Status(status) => kept.status = Some(status.clone()),
            Frame::Output(output) => {
                kept.bytes += output.bytes_held();
                kept.output.push_back(Arc::clone(output));
            }
            Frame::Done(_) => {}
        }
        let most = (viewers * BYTES_PER_VIEWER).clamp(BYTES_MIN, BYTES_MAX);
        while kept.bytes > most {
            let Some(oldest) = kept.output.pop_front() else {
                break;
            };
            kept.bytes -= oldest.bytes_held();
        }
    }

    /// The last state, and the first batch of the kept output that reaches past `sent`.
    pub(in crate::jobs) fn beyond(
        &self,
        sent: Offsets,
    ) -> (Option<StatusEvent>, Vec<Arc<OutputFrame>>) {
        let kept = self.kept();
        let is_new = |output: &&Arc<OutputFrame>| output.event.end > sent[output.event.stream];
        let mut bytes = 0;
        let fits = |output: &&Arc<OutputFrame>| {
            let has_room = bytes < BATCH_BYTES;
            bytes += output.bytes_held();
            has_room
        };
        let output = kept.output.iter().filter(is_new).take_while(fits);
        let output = output.cloned().collect();
        (kept.status.clone(), output)
    }
}

#[cfg(test)]
mod tests {
    use hyprbox_protocol::Stream;

    use super::*;
    use crate::clock::Timestamp;
    use crate::jobs::live::event_id::EventId;
    use crate::jobs::live::events::OutputEvent;

    fn output(offset: u64, length: usize) -> Frame {
        let before = Offsets::new(offset, 0);
        let event = OutputEvent {
            stream: Stream::Stdout,
            offset,
            end: offset + length as u64,
            data: "x".repeat(length),
            at: Timestamp::from_millis(0),
            line: None,
            step_ms: None,
        };
        let id = EventId::new(None, before);
        Frame::Output(Arc::new(OutputFrame::new(event, before, id)))
    }

    fn begins(frames: &[Arc<OutputFrame>]) -> Vec<u64> {
        frames.iter().map(|frame| frame.event.offset).collect()
    }

    #[test]
    fn only_frames_beyond_the_viewer_are_returned() {
        let recent = RecentFrames::default();
        recent.push(&output(0, 10), 1);
        recent.push(&output(10, 10), 1);
        assert_eq!(begins(&recent.beyond(Offsets::default()).1), [0, 10]);
        let sent = |stdout| Offsets::new(stdout, 0);
        assert_eq!(begins(&recent.beyond(sent(10)).1), [10]);
        assert_eq!(begins(&recent.beyond(sent(11)).1), [10]);
        assert!(recent.beyond(sent(20)).1.is_empty());
    }

    #[test]
    fn more_is_kept_for_a_crowd_than_for_one_viewer() {
        let kept = |viewers| {
            let recent = RecentFrames::default();
            for number in 0..100 {
                recent.push(&output(number * 10_000, 10_000), viewers);
            }
            recent.kept().output.len()
        };
        assert_eq!((kept(1), kept(50), kept(1_000)), (12, 39, 100));
    }

    #[test]
    fn the_memory_of_kept_frames_is_bounded() {
        let recent = RecentFrames::default();
        let length = 64 * 1024;
        for number in 0..1_000 {
            recent.push(&output(number * length as u64, length), 100_000);
        }
        let held = |frames: &[Arc<OutputFrame>]| -> usize {
            frames.iter().map(|frame| frame.bytes_held()).sum()
        };
        let kept = Vec::from(recent.kept().output.clone());
        let bytes = held(&kept);
        assert!(bytes <= BYTES_MAX && bytes > BYTES_MAX / 2);
        assert_eq!(begins(&kept).last(), Some(&(999 * 65_536)));
        let (_, first) = recent.beyond(Offsets::default());
        assert_eq!(begins(&first)[0], begins(&kept)[0]);
        assert!(held(&first) < 2 * BATCH_BYTES);
    }
}
