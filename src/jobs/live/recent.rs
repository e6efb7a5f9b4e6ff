//! The last frames of a job that a crowd watches: whoever joins it, or falls behind, is told these
//! as they are, where each would have to read and frame the same rows for itself, the slower the
//! more of them do.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::jobs::live::frame::{Offsets, StatusEvent};
use crate::jobs::live::tail::{Frame, Framed};

/// Bytes kept for each of a crowd; the system holds many times as many for its connection.
const BYTES_A_VIEWER: usize = 16 * 1024;
/// Bytes kept for fewer viewers: a crowd that comes at once finds what the first of it were told.
const BYTES_AT_LEAST: usize = 256 * 1024;
/// Bytes that a viewer is given at a time: while it is told them they are held, whatever is kept.
const BYTES_AT_ONCE: usize = 128 * 1024;
/// Bytes kept for a job.
const BYTES_AT_MOST: usize = 8 * 1024 * 1024;

/// Output, and how far both streams were told before it.
pub(in crate::jobs) type Shared = (Offsets, Arc<Framed>);

/// What was told of one job lately.
#[derive(Debug, Default)]
pub(in crate::jobs) struct Recent(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// The last of all, however old it is.
    status: Option<StatusEvent>,
    output: VecDeque<Shared>,
    bytes: usize,
}

impl Recent {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what so many viewers were told just now.
    pub(in crate::jobs) fn note(&self, frame: &Frame, viewers: usize) {
        let mut kept = self.kept();
        match frame {
            Frame::Status(status) => kept.status = Some(status.clone()),
            Frame::Output { before, output } => {
                kept.bytes += output.bytes_held();
                kept.output.push_back((*before, Arc::clone(output)));
            }
            Frame::Done => {}
        }
        let most = (viewers * BYTES_A_VIEWER).clamp(BYTES_AT_LEAST, BYTES_AT_MOST);
        while kept.bytes > most {
            let Some((_, oldest)) = kept.output.pop_front() else {
                break;
            };
            kept.bytes -= oldest.bytes_held();
        }
    }

    /// The last state that was told, and the first of the output that is kept and goes beyond
    /// `told`.
    pub(in crate::jobs) fn beyond(&self, told: Offsets) -> (Option<StatusEvent>, Vec<Shared>) {
        let kept = self.kept();
        let beyond = |(_, output): &&Shared| output.event.end > told.of(output.event.stream);
        let mut bytes = 0;
        let fits = |(_, output): &&Shared| {
            let is_room = bytes < BYTES_AT_ONCE;
            bytes += output.bytes_held();
            is_room
        };
        let output = kept.output.iter().filter(beyond).take_while(fits);
        let output = output.cloned().collect();
        (kept.status.clone(), output)
    }
}

#[cfg(test)]
mod tests {
    use hyprbox_protocol::Stream;

    use super::*;
    use crate::clock::Timestamp;
    use crate::jobs::live::frame::OutputEvent;
    use crate::jobs::live::stream::EventId;

    fn output(offset: u64, length: usize) -> Frame {
        let before = Offsets {
            stdout: offset,
            stderr: 0,
        };
        let end = offset + length as u64;
        let event = OutputEvent {
            stream: Stream::Stdout,
            offset,
            end,
            data: "x".repeat(length),
            at: Timestamp::from_millis(0),
            line: None,
        };
        let id = EventId::new(None, before);
        Frame::Output {
            before,
            output: Arc::new(Framed::new(event, id)),
        }
    }

    fn begins(told: &[Shared]) -> Vec<u64> {
        told.iter().map(|(before, _)| before.stdout).collect()
    }

    #[test]
    fn what_goes_beyond_a_viewer_is_told_and_the_last_state() {
        let recent = Recent::default();
        recent.note(&output(0, 10), 1);
        recent.note(&output(10, 10), 1);
        assert_eq!(begins(&recent.beyond(Offsets::default()).1), [0, 10]);
        let told = |stdout| Offsets { stdout, stderr: 0 };
        assert_eq!(begins(&recent.beyond(told(10)).1), [10]);
        assert_eq!(begins(&recent.beyond(told(11)).1), [10]);
        assert!(recent.beyond(told(20)).1.is_empty());
    }

    #[test]
    fn a_crowd_keeps_more_than_one_viewer() {
        let kept = |viewers| {
            let recent = Recent::default();
            for number in 0..100 {
                recent.note(&output(number * 10_000, 10_000), viewers);
            }
            recent.kept().output.len()
        };
        assert_eq!((kept(1), kept(50), kept(1_000)), (12, 39, 100));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let recent = Recent::default();
        let length = 64 * 1024;
        for number in 0..1_000 {
            recent.note(&output(number * length as u64, length), 100_000);
        }
        let held = |told: &mut dyn Iterator<Item = &Shared>| -> usize {
            told.map(|(_, output)| output.bytes_held()).sum()
        };
        let kept = recent.kept().output.clone();
        let bytes = held(&mut kept.iter());
        assert!(bytes <= BYTES_AT_MOST && bytes > BYTES_AT_MOST / 2);
        assert_eq!(
            kept.back().map(|(before, _)| before.stdout),
            Some(999 * 65_536)
        );
        let (_, first) = recent.beyond(Offsets::default());
        assert_eq!(first[0].0, kept[0].0);
        assert!(held(&mut first.iter()) < 2 * BYTES_AT_ONCE);
    }
}
