//! A job's steps: when each began, and how each ended. They are stored as they are announced; those
//! of jobs that began under an earlier version of the server are parsed from the output.
//! `assets/steps.js` follows the same rules while a job's page is open.

use hyprbox_protocol::{
    CheckState, PerStream, STEP_LINE_MAX, StepOrder, Stream, failed_verify, parse_step_line,
};

use crate::clock::Timestamp;
use crate::jobs::log::window::{OutputEnd, WindowReader, joined};
use crate::jobs::{JobError, JobView, Jobs};
use crate::store::Tx;
use crate::store::job::{self, Job, JobKind, JobStatus};
use crate::store::job_step::{self, AnnouncedStep};
use crate::store::output::{StoredChunk, stamp_time};

/// Bytes at the end of stderr that are searched for the report of a failed verify. Only few lines
/// follow it.
const VERIFY_BYTES: u64 = 8 * 1024;

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
    /// A check found that the step would run.
    WouldRun,
    /// A check could not tell whether the step would run.
    CantTell,
}

impl From<CheckState> for StepState {
    fn from(found: CheckState) -> Self {
        match found {
            CheckState::Ok => Self::AlreadyDone,
            CheckState::WouldRun => Self::WouldRun,
            CheckState::CantTell => Self::CantTell,
        }
    }
}

impl StepState {
    /// The state in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::AlreadyDone => "already done",
            Self::Failed => "failed",
            Self::VerifyFailed => "verify failed",
            Self::Cancelled => "cancelled",
            Self::WouldRun => "would run",
            Self::CantTell => "can't tell",
        }
    }
}

/// A step that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Counted from 1.
    pub number: u32,
    pub name: String,
    pub state: StepState,
    /// When the step's announcement was written or, from an older agent, when it arrived: up to
    /// 1.5 s later if nobody watched.
    pub began_at: Timestamp,
    /// When the next step began, or the job ended.
    pub ended_at: Option<Timestamp>,
    /// How long the step took by the node's clock, in milliseconds, if that is known.
    pub exact_ms: Option<u64>,
}

/// How long a step took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepDuration {
    pub millis: i64,
    /// Whether the node has measured it. Otherwise it is the time between the arrivals of output.
    pub is_exact: bool,
}

impl Step {
    /// How long the step took, if it has ended and has run.
    pub fn duration(&self) -> Option<StepDuration> {
        use StepState::{AlreadyDone, CantTell, WouldRun};
        let has_run = !matches!(self.state, AlreadyDone | WouldRun | CantTell);
        let ended_at = self.ended_at.filter(|_| has_run)?;
        let arrivals = ended_at.millis_since(self.began_at).max(0);
        let exact = self.exact_ms.and_then(|ms| i64::try_from(ms).ok());
        Some(StepDuration {
            millis: exact.unwrap_or(arrivals),
            is_exact: exact.is_some(),
        })
    }
}

impl Jobs {
    /// The steps that a job has begun. Empty if it began under an earlier version of the server.
    pub async fn steps(&self, id: String) -> Result<Vec<Step>, JobError> {
        self.store
            .read(move |tx| {
                let job = job::find(tx, &id)?.ok_or(JobError::NotFound)?;
                read(tx, &job)
            })
            .await
    }
}

impl OutputEnd {
    /// The steps that this output announces. Earlier steps are unknown.
    pub fn steps(&self, job: &JobView) -> Vec<Step> {
        parse(self.chunks(), job.status, job.finished_at)
    }
}

/// Reads the stored steps of a job.
fn read(tx: &mut dyn Tx, job: &Job) -> Result<Vec<Step>, JobError> {
    let announced = job_step::list(tx, &job.id)?;
    let last = announced.last().map(|step| step.number);
    let is_verify_failed = match last {
        Some(last) if job.status == JobStatus::Failed => reports_failed_verify(tx, job, last)?,
        _ => false,
    };
    Ok(of_announced(announced, job, is_verify_failed))
}

/// Whether the end of stderr reports that the verify of this step has failed.
fn reports_failed_verify(tx: &mut dyn Tx, job: &Job, step: u32) -> Result<bool, JobError> {
    let mut reader = WindowReader::new(job, Some(Stream::Stderr)).last(VERIFY_BYTES);
    let mut chunks = Vec::new();
    while !reader.is_done() {
        chunks.extend(reader.read(tx)?);
    }
    let text = joined(&chunks);
    let mut lines = text.split(|byte| *byte == b'\n');
    Ok(lines
        .any(|line| std::str::from_utf8(line).is_ok_and(|line| failed_verify(line) == Some(step))))
}

/// The steps of a job's announcements.
fn of_announced(announced: Vec<AnnouncedStep>, job: &Job, is_verify_failed: bool) -> Vec<Step> {
    let began_at = |step: &AnnouncedStep| match (job.script_began_at, step.began_ms) {
        (Some(began), Some(ms)) => stamp_time(began, ms).min(step.arrived_at),
        _ => step.arrived_at,
    };
    let is_terminal = job.status.is_terminal();
    let found = |step: &AnnouncedStep| match job.kind {
        JobKind::Check => CheckState::split(&step.name).map(|(_, found)| found.into()),
        JobKind::Apply => None,
    };
    let ends: Vec<(Option<Timestamp>, Option<u64>)> = announced
        .iter()
        .skip(1)
        .map(|next| (Some(began_at(next)), next.began_ms))
        .chain([match is_terminal {
            true => (job.finished_at, job.ran_ms),
            false => (None, None),
        }])
        .collect();
    let steps = announced.into_iter().zip(ends).map(|(step, end)| Step {
        number: step.number,
        began_at: began_at(&step),
        ended_at: end.0,
        // Forged times may run backwards.
        exact_ms: end
            .1
            .zip(step.began_ms)
            .and_then(|(end, began)| end.checked_sub(began)),
        state: match (found(&step), step.is_done, end.0) {
            (Some(found), _, _) => found,
            (None, true, _) => StepState::AlreadyDone,
            (None, false, Some(_)) => StepState::Done,
            (None, false, None) => StepState::Running,
        },
        name: step.name,
    });
    let mut steps: Vec<Step> = steps.collect();
    if let Some(last) = steps.last_mut()
        && is_terminal
    {
        last.state = final_state(last.state, job.status, is_verify_failed);
    }
    steps
}

/// The state of the last step once the job has ended.
fn final_state(state: StepState, status: JobStatus, is_verify_failed: bool) -> StepState {
    match status {
        // What a check found stays.
        _ if matches!(state, StepState::WouldRun | StepState::CantTell) => state,
        JobStatus::Succeeded if state == StepState::AlreadyDone => StepState::AlreadyDone,
        JobStatus::Succeeded => StepState::Done,
        JobStatus::Failed if is_verify_failed => StepState::VerifyFailed,
        JobStatus::Failed => StepState::Failed,
        JobStatus::Cancelled => StepState::Cancelled,
        JobStatus::Queued | JobStatus::Running => state,
    }
}

/// Parses the steps that these chunks announce. The chunks are in the order in which the agent read
/// them; `status` and `finished_at` are the job's.
fn parse(chunks: &[StoredChunk], status: JobStatus, finished_at: Option<Timestamp>) -> Vec<Step> {
    let mut steps = Steps::default();
    let mut lines = PerStream::<LineBuffer>::default();
    for chunk in chunks {
        let line = &mut lines[chunk.stream];
        if line.next_offset != chunk.start_offset {
            *line = LineBuffer::default();
            steps.order.has_gap = true;
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
        let room = (STEP_LINE_MAX + 1).saturating_sub(self.bytes.len());
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
    order: StepOrder,
    is_verify_failed: bool,
}

impl Steps {
    /// Parses a line of stdout.
    fn parse_announcement(&mut self, line: &str, at: Timestamp) {
        let Some(step) = parse_step_line(line).filter(|step| self.order.accept(step)) else {
            return;
        };
        if let Some(last) = self.steps.last_mut() {
            last.ended_at = Some(at);
            if last.state == StepState::Running {
                last.state = StepState::Done;
            }
        }
        self.steps.push(Step {
            number: step.number,
            name: step.name.to_owned(),
            state: if step.is_done {
                StepState::AlreadyDone
            } else {
                StepState::Running
            },
            began_at: at,
            ended_at: None,
            exact_ms: None,
        });
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
            last.state = final_state(last.state, status, self.is_verify_failed);
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
                step_ms: None,
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

    /// A line of the table: `["stdout", SECOND, TEXT]`, with `TEXT, LAST CHARACTER, TIMES` for a
    /// long one, or `["gap"]`.
    fn line_of(line: &serde_json::Value) -> Option<(Stream, i64, String)> {
        let stream = match line[0].as_str() {
            Some("stdout") => Stdout,
            Some("stderr") => Stderr,
            _ => return None,
        };
        let rest = line[3].as_str().unwrap_or_default();
        let times = line[4].as_u64().unwrap_or(0) as usize;
        let text = line[2].as_str().expect("a text").to_owned() + &rest.repeat(times);
        Some((stream, line[1].as_i64().expect("a second"), text + "\n"))
    }

    /// `tests/browser/cases.rs` runs `assets/steps.js` on the same cases.
    #[test]
    fn steps_are_parsed_as_in_the_table_of_cases() {
        let cases = include_str!("../../../tests/cases/steps.json");
        let cases: Vec<serde_json::Value> = serde_json::from_str(cases).expect("cases");
        for case in cases {
            let lines: Vec<_> = case["lines"]
                .as_array()
                .expect("lines")
                .iter()
                .map(line_of)
                .collect();
            let written: Vec<_> = lines
                .iter()
                .flatten()
                .map(|(s, at, text)| (*s, *at, &**text))
                .collect();
            let mut chunks = chunks(&written);
            let gaps = lines.iter().scan(0, |gaps, line| {
                *gaps += u64::from(line.is_none());
                Some(line.is_some().then_some(*gaps))
            });
            for (chunk, gaps) in chunks.iter_mut().zip(gaps.flatten()) {
                chunk.start_offset += 1_000 * gaps;
            }
            let status = case["status"]
                .as_str()
                .and_then(JobStatus::parse)
                .expect("a status");
            let state = |state| match state {
                Running => "running",
                Done => "done",
                AlreadyDone => "already done",
                Failed => "failed",
                VerifyFailed => "verify failed",
                Cancelled => "cancelled",
                StepState::WouldRun | StepState::CantTell => "of a check",
            };
            let parsed: Vec<_> = parsed(&chunks, status)
                .into_iter()
                .map(|(number, name, end, took)| {
                    serde_json::json!([number, name, state(end), took])
                })
                .collect();
            assert_eq!(
                serde_json::Value::from(parsed),
                case["steps"],
                "{}",
                case["about"]
            );
        }
    }

    #[test]
    fn a_line_that_is_not_text_or_not_ended_is_not_a_step() {
        let chunks = chunks(&[
            (Stdout, 0, "==> [1/2] One\n"),
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
    fn a_line_that_a_gap_interrupts_is_not_a_step() {
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
