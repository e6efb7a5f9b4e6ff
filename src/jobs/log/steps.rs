//! A job's steps, parsed from its output: when each began, and how each ended. `assets/steps.js`
//! follows the same rules while a job's page is open.

use hyprbox_protocol::{PerStream, Stream};

use crate::clock::Timestamp;
use crate::presets::{StepLine, failed_verify, parse_step_line};
use crate::store::job::JobStatus;
use crate::store::output::StoredChunk;

/// Longer lines do not announce a step.
const LINE_MAX: usize = 1_024;

/// The state of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepState {
    Running,
    /// The step's `run` and `verify` succeeded.
    Done,
    /// The step's `unless` succeeded, so that it was skipped.
    AlreadyDone,
    /// The job failed in this step.
    Failed,
    /// The job failed in this step's `verify`.
    VerifyFailed,
    /// The job was cancelled in this step.
    Cancelled,
}

/// A step that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Counted from 1.
    pub number: u32,
    pub name: String,
    pub state: StepState,
    /// When the step's announcement arrived: up to 1.5 s after it was written if nobody watched.
    pub began_at: Timestamp,
    /// When the announcement of the next step arrived, or the job ended.
    pub ended_at: Option<Timestamp>,
}

/// Parses the steps that these chunks announce. The chunks are in the order in which the agent read
/// them; `status` and `finished_at` are the job's.
pub(in crate::jobs) fn parse(
    chunks: &[StoredChunk],
    status: JobStatus,
    finished_at: Option<Timestamp>,
) -> Vec<Step> {
    let mut steps = Steps::default();
    let mut lines = PerStream::<LineBuffer>::default();
    for chunk in chunks {
        let line = &mut lines[chunk.stream];
        if line.next_offset != chunk.start_offset {
            *line = LineBuffer::default();
            steps.has_gap = true;
        }
        line.next_offset = chunk.end_offset();
        for piece in chunk.data.split_inclusive(|byte| *byte == b'\n') {
            let Some((text, began_at)) = line.push(piece, chunk.arrived_at) else {
                continue;
            };
            match chunk.stream {
                Stream::Stdout => steps.parse_announcement(&text, began_at),
                Stream::Stderr => steps.parse_failed_verify(&text),
            }
        }
    }
    steps.finish(status, finished_at)
}

/// The unfinished line of a stream.
#[derive(Default)]
struct LineBuffer {
    next_offset: u64,
    bytes: Vec<u8>,
    began_at: Option<Timestamp>,
}

impl LineBuffer {
    /// Adds a piece. Returns the line once it is complete, and when its first byte arrived.
    fn push(&mut self, piece: &[u8], at: Timestamp) -> Option<(String, Timestamp)> {
        let began_at = *self.began_at.get_or_insert(at);
        let room = (LINE_MAX + 1).saturating_sub(self.bytes.len());
        self.bytes
            .extend_from_slice(&piece[..piece.len().min(room)]);
        if !piece.ends_with(b"\n") {
            return None;
        }
        self.began_at = None;
        let bytes = std::mem::take(&mut self.bytes);
        let text = String::from_utf8(bytes).ok()?;
        Some((text.strip_suffix('\n')?.to_owned(), began_at))
    }
}

#[derive(Default)]
struct Steps {
    steps: Vec<Step>,
    of: u32,
    /// Output is missing since the last step.
    has_gap: bool,
    is_verify_failed: bool,
}

impl Steps {
    /// Parses a line of stdout. Scripts may print similar lines themselves; only a line with the
    /// next number and the same total announces a step.
    fn parse_announcement(&mut self, line: &str, at: Timestamp) {
        let Some(StepLine {
            number,
            of,
            name,
            is_done,
        }) = parse_step_line(line)
        else {
            return;
        };
        let before = self.steps.last().map_or(0, |step| step.number);
        let is_next = number == before + 1 || (self.has_gap && number > before);
        if !is_next || number > of || (before > 0 && of != self.of) {
            return;
        }
        if let Some(last) = self.steps.last_mut() {
            last.ended_at = Some(at);
            if last.state == StepState::Running {
                last.state = StepState::Done;
            }
        }
        self.steps.push(Step {
            number,
            name: name.to_owned(),
            state: if is_done {
                StepState::AlreadyDone
            } else {
                StepState::Running
            },
            began_at: at,
            ended_at: None,
        });
        self.of = of;
        self.has_gap = false;
        self.is_verify_failed = false;
    }

    /// Parses a line of stderr.
    fn parse_failed_verify(&mut self, line: &str) {
        let last = self.steps.last().map(|step| step.number);
        self.is_verify_failed |= last.is_some() && failed_verify(line) == last;
    }

    fn finish(mut self, status: JobStatus, finished_at: Option<Timestamp>) -> Vec<Step> {
        if let Some(last) = self.steps.last_mut()
            && status.is_terminal()
        {
            last.ended_at = finished_at;
            last.state = match status {
                JobStatus::Succeeded if last.state == StepState::AlreadyDone => {
                    StepState::AlreadyDone
                }
                JobStatus::Succeeded => StepState::Done,
                JobStatus::Failed if self.is_verify_failed => StepState::VerifyFailed,
                JobStatus::Failed => StepState::Failed,
                JobStatus::Cancelled => StepState::Cancelled,
                JobStatus::Queued | JobStatus::Running => last.state,
            };
        }
        self.steps
    }
}

#[cfg(test)]
mod tests {
    use Stream::{Stderr, Stdout};

    use super::StepState::{AlreadyDone, Cancelled, Done, Failed, Running, VerifyFailed};
    use super::*;

    /// Chunks as they would be stored: the stream, the time of arrival in seconds, and the bytes.
    fn chunks(parts: &[(Stream, i64, &str)]) -> Vec<StoredChunk> {
        let (mut ends, mut position) = (PerStream::<u64>::default(), 0);
        let chunk = |&(stream, second, text): &(Stream, i64, &str)| {
            let end = &mut ends[stream];
            let chunk = StoredChunk {
                stream,
                start_offset: *end,
                position,
                arrived_at: Timestamp::from_millis(second * 1_000),
                line: None,
                data: text.as_bytes().to_vec(),
            };
            *end += text.len() as u64;
            position += text.len() as u64;
            chunk
        };
        parts.iter().map(chunk).collect()
    }

    /// Number, name, state, and duration in seconds.
    type Summary = (u32, String, StepState, Option<i64>);

    fn parsed(chunks: &[StoredChunk], status: JobStatus) -> Vec<Summary> {
        let finished_at = status
            .is_terminal()
            .then(|| Timestamp::from_millis(100_000));
        let summary = |step: Step| {
            let took = step
                .ended_at
                .map(|end| end.millis_since(step.began_at) / 1_000);
            (step.number, step.name, step.state, took)
        };
        parse(chunks, status, finished_at)
            .into_iter()
            .map(summary)
            .collect()
    }

    fn step(number: u32, name: &str, state: StepState, took: impl Into<Option<i64>>) -> Summary {
        (number, name.to_owned(), state, took.into())
    }

    #[test]
    fn each_step_has_its_time_however_the_lines_are_split() {
        let chunks = chunks(&[
            (Stdout, 0, "before\n==> [1/4] One (already done)\n==> [2/"),
            (Stderr, 5, "a warning\n"),
            (Stdout, 7, "4] Two\nwork\n"),
            (Stdout, 30, "==> [3/4] Three\n"),
        ]);
        let before = [step(1, "One", AlreadyDone, 0), step(2, "Two", Done, 30)];
        for (status, state, took) in [
            (JobStatus::Running, Running, None),
            (JobStatus::Succeeded, Done, Some(70)),
            (JobStatus::Failed, Failed, Some(70)),
            (JobStatus::Cancelled, Cancelled, Some(70)),
        ] {
            let steps = parsed(&chunks, status);
            assert_eq!(steps[..2], before);
            assert_eq!(steps[2..], [step(3, "Three", state, took)]);
        }
    }

    #[test]
    fn a_failed_verify_counts_only_for_its_own_step() {
        let failed = |text| {
            let chunks = chunks(&[(Stdout, 0, "==> [1/2] One\n"), (Stderr, 1, text)]);
            parsed(&chunks, JobStatus::Failed)[0].2
        };
        assert_eq!(failed("==> [1/2] verify failed: One\n"), VerifyFailed);
        assert_eq!(failed("==> [2/2] verify failed: Two\n"), Failed);
        assert_eq!(failed("verify failed\n"), Failed);
    }

    #[test]
    fn lines_that_a_script_prints_itself_do_not_count() {
        let long = format!("==> [2/2] {}\n", "x".repeat(LINE_MAX));
        let chunks = chunks(&[
            (Stdout, 0, "==> [1/2] One\n==> [1/2] One\n==> [2/9] Two\n"),
            (Stdout, 1, "==> [7/2] Seven\n  ==> [2/2] Two\n==> [2/2] \n"),
            (Stderr, 2, "==> [2/2] Two\n"),
            (Stdout, 3, &long),
            (Stdout, 4, "==> [2/2] not ended"),
        ]);
        assert_eq!(
            parsed(&chunks, JobStatus::Running),
            [step(1, "One", Running, None)]
        );
        let not_text = StoredChunk {
            data: b"==> [1/1] \xff\n".to_vec(),
            ..chunks[0].clone()
        };
        assert_eq!(parsed(&[not_text], JobStatus::Running), []);
    }

    #[test]
    fn steps_continue_after_a_gap() {
        let mut chunks = chunks(&[
            (Stdout, 0, "==> [1/9] One\n==> [2/"),
            (Stdout, 1, "lost\n==> [5/9] Five\n==> [7/9] Seven\n"),
            (Stdout, 2, "==> [6/9] Six\n"),
        ]);
        for chunk in &mut chunks[1..] {
            chunk.start_offset += 1_000;
        }
        assert_eq!(
            parsed(&chunks, JobStatus::Running),
            [
                step(1, "One", Done, 1),
                step(5, "Five", Done, 1),
                step(6, "Six", Running, None)
            ]
        );
    }
}
