//! Prints a followed job: its output byte for byte on standard output, everything else on standard
//! error.

use hyprbox_protocol::{Chunk, PerStream, Stream};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::args::{OneJob, StreamArg};
use super::connection::StreamEvent;
use super::error::{CliError, exit};
use super::lines::{LastLines, Output};
use super::position::ReadPosition;
use super::progress::Progress;
use super::screen::{Screen, print_note};
use super::sse::Event;
use super::times;
use crate::jobs::{Counted, DoneEvent, StatusEvent};
use crate::store::job::JobStatus;

/// What the reporter reacts to.
pub(super) enum Message {
    Stream(StreamEvent),
    /// The stream has ended; no event follows.
    StreamEnded,
    /// Time to redraw the progress line.
    Tick,
    Note(String),
    /// The user detaches from the job.
    Detach,
}

/// Prints one job.
pub(super) struct Reporter {
    job: OneJob,
    stream: Option<StreamArg>,
    screen: Screen,
    output: Output,
    progress: Progress,
    position: ReadPosition,
    /// The last lines of the output that existed when the stream was opened, until all of it has
    /// arrived.
    held: Option<LastLines>,
    /// How much of each stream existed then.
    until: Option<PerStream<u64>>,
    /// The job's state, once it is known.
    status: Option<JobStatus>,
    has_explained_wait: bool,
}

impl Reporter {
    pub(super) fn new(
        job: OneJob,
        stream: Option<StreamArg>,
        tail: Option<usize>,
        screen: Screen,
    ) -> Self {
        Self {
            job,
            stream,
            screen,
            output: Output::new(screen),
            progress: Progress::new(&screen, "connecting"),
            position: ReadPosition::default(),
            held: tail.map(LastLines::new),
            until: None,
            status: None,
            has_explained_wait: false,
        }
    }

    /// Prints until the job ends or the user detaches. Returns this program's exit code.
    pub(super) fn run(mut self, mut inbox: mpsc::Receiver<Message>) -> Result<u8, CliError> {
        loop {
            match inbox.blocking_recv() {
                Some(Message::Stream(StreamEvent::Event(event))) => {
                    if let Some(code) = self.handle_event(event)? {
                        return Ok(code);
                    }
                }
                Some(Message::Stream(StreamEvent::Disconnected(reason))) => {
                    self.note(&format!(
                        "Connection lost ({reason}). The job continues; reconnecting."
                    ));
                    self.progress.set_activity("reconnecting");
                }
                Some(Message::Stream(StreamEvent::Reconnected)) => self.note("Reconnected."),
                Some(Message::Stream(StreamEvent::Failed(error))) => {
                    self.finish()?;
                    return Err(error);
                }
                Some(Message::Note(text)) => self.note(&text),
                Some(Message::Tick) => self.progress.draw(),
                Some(Message::Detach) => {
                    self.finish()?;
                    print_note(&detached(&self.job, self.status));
                    return Ok(exit::INTERRUPTED);
                }
                Some(Message::StreamEnded) | None => {
                    return Err(CliError::failed(
                        "the job's stream ended before the job did",
                    ));
                }
            }
        }
    }

    /// Handles an event. Returns the exit code at the job's end.
    fn handle_event(&mut self, event: Event) -> Result<Option<u8>, CliError> {
        let wrong = |error: serde_json::Error| {
            CliError::failed(format!("can't parse the server's stream: {error}"))
                .hint("the server may be older or newer than this program")
        };
        match event.name.as_str() {
            "status" => {
                let status = serde_json::from_str(&event.data).map_err(wrong)?;
                self.print_event("status", &event.data)?;
                self.handle_status(&status)?;
            }
            "output" => {
                let chunk: Chunk = serde_json::from_str(&event.data).map_err(wrong)?;
                self.handle_output(chunk)?;
            }
            "done" => {
                let done = serde_json::from_str(&event.data).map_err(wrong)?;
                return self.handle_done(&done).map(Some);
            }
            _ => {}
        }
        Ok(None)
    }

    fn handle_status(&mut self, status: &Counted<StatusEvent>) -> Result<(), CliError> {
        self.until
            .get_or_insert(PerStream::new(status.stdout_bytes, status.stderr_bytes));
        self.status = Some(status.event.status);
        self.release_if_caught_up()?;
        match (status.event.status, status.event.cancel_requested_at) {
            (JobStatus::Queued, _) => self.progress.set_activity("queued, waiting for the node"),
            (JobStatus::Running, None) => {
                self.progress.set_activity("running");
                self.explain_wait(&status.event);
            }
            (JobStatus::Running, Some(_)) => self.progress.set_activity("cancelling"),
            (JobStatus::Succeeded | JobStatus::Failed | JobStatus::Cancelled, _) => {}
        }
        Ok(())
    }

    /// Says once how to confirm a job that waits for it.
    fn explain_wait(&mut self, status: &StatusEvent) {
        let waits = status
            .confirm_by
            .filter(|_| status.confirm_requested_at.is_none());
        let Some(by) = waits.filter(|_| !std::mem::replace(&mut self.has_explained_wait, true))
        else {
            return;
        };
        self.progress.set_activity("waiting for confirmation");
        let (id, until) = (&self.job.id, times::time_of_day(by));
        self.note(&format!(
            "Job {id} waits for confirmation until {until}; without it, its changes are undone.\n\
             To prove that you can still sign in, open a new SSH session to the node and type there:\n  \
             sudo hyprbox-agent confirm {id}\n\
             Or confirm from here, which proves only that you reach the server:\n  {}",
            self.job.command("confirm")
        ));
    }

    fn handle_output(&mut self, chunk: Chunk) -> Result<(), CliError> {
        let (stream, offset) = (chunk.stream, chunk.offset);
        let bytes = chunk
            .into_bytes()
            .map_err(|_| CliError::failed("the server sent a chunk without data"))?;
        let lost_before = self.position.lost;
        let fresh = self.position.advance(stream, offset, &bytes);
        let wanted = match self.stream {
            None => false,
            Some(StreamArg::Both) => true,
            Some(StreamArg::Stdout) => stream == Stream::Stdout,
            Some(StreamArg::Stderr) => stream == Stream::Stderr,
        };
        if self.position.lost > lost_before && wanted && self.held.is_none() {
            self.report_lost_bytes(self.position.lost - lost_before, stream.as_str());
        }
        if stream == Stream::Stdout {
            self.progress.scan(fresh);
        }
        if wanted && !fresh.is_empty() {
            if self.screen.json {
                let start = offset + (bytes.len() - fresh.len()) as u64;
                self.print_chunk(&Chunk::new(stream, start, fresh))?;
            } else if let Some(held) = &mut self.held {
                held.push(fresh);
            } else {
                self.progress.clear();
                self.output.write(fresh)?;
            }
        }
        self.release_if_caught_up()?;
        self.progress.draw();
        Ok(())
    }

    /// Prints the last lines once all output that existed at the start has arrived.
    fn release_if_caught_up(&mut self) -> Result<(), CliError> {
        let read = self.position.ends;
        let caught_up = self
            .until
            .is_some_and(|until| until.iter().all(|(stream, end)| read[stream] >= *end));
        if caught_up { self.release() } else { Ok(()) }
    }

    fn release(&mut self) -> Result<(), CliError> {
        let Some(mut held) = self.held.take() else {
            return Ok(());
        };
        self.progress.clear();
        self.output.write(&held.take())
    }

    fn handle_done(&mut self, done: &Counted<DoneEvent>) -> Result<u8, CliError> {
        self.release()?;
        self.finish()?;
        let code = done.event.process_exit_code();
        // Bytes that the node counted but could not send.
        let ends = PerStream::new(done.stdout_bytes, done.stderr_bytes);
        let missing = ends
            .iter()
            .map(|(stream, end)| end.saturating_sub(self.position.ends[stream]));
        let missing: u64 = missing.sum();
        if missing > 0 && self.stream == Some(StreamArg::Both) {
            self.report_lost_bytes(missing, "output");
        }
        if self.screen.json {
            let line = json!({"type": "done", "jobId": self.job.id, "status": done.event.status,
                "exitCode": done.event.exit_code, "errorMsg": done.event.error_msg, "finishedAt": done.event.finished_at,
                "processExitCode": code});
            self.screen.json_line(&line)?;
        } else {
            let step = match done.event.status {
                JobStatus::Failed => self.progress.step().map(|step| format!(" in {step}")),
                JobStatus::Queued | JobStatus::Running => None,
                JobStatus::Succeeded | JobStatus::Cancelled => None,
            };
            let (id, outcome) = (&self.job.id, done.event.describe());
            print_note(&format!("Job {id} {outcome}{}", step.unwrap_or_default()));
        }
        Ok(code)
    }

    fn print_event(&self, kind: &str, data: &str) -> Result<(), CliError> {
        if !self.screen.json || self.stream.is_none() {
            return Ok(());
        }
        let mut line = json!({"type": kind});
        if let (Some(line), Ok(Value::Object(data))) =
            (line.as_object_mut(), serde_json::from_str(data))
        {
            line.extend(data);
        }
        self.screen.json_line(&line)
    }

    fn print_chunk(&self, chunk: &Chunk) -> Result<(), CliError> {
        let data = serde_json::to_string(chunk).map_err(|e| CliError::failed(e.to_string()))?;
        self.print_event("output", &data)
    }

    fn report_lost_bytes(&mut self, bytes: u64, what: &str) {
        self.note(&format!(
            "{bytes} bytes of {what} are not kept: the server keeps only the end of each stream (4 MiB by default)."
        ));
    }

    fn note(&mut self, words: &str) {
        self.progress.clear();
        print_note(words);
    }

    /// Restores the terminal.
    fn finish(&mut self) -> Result<(), CliError> {
        self.progress.clear();
        self.output.finish()?;
        self.output.end_line()
    }
}

/// The message for a user who detaches from a job with this state.
pub(super) fn detached(job: &OneJob, status: Option<JobStatus>) -> String {
    let state = match status {
        Some(JobStatus::Queued) => "the job stays queued",
        Some(JobStatus::Running) | None => "the job continues",
        Some(JobStatus::Succeeded | JobStatus::Failed | JobStatus::Cancelled) => {
            "the job has ended"
        }
    };
    format!(
        "Detached; {state}.\n  to follow it again: {}\n  to cancel it:       {}",
        job.command("log --follow"),
        job.command("cancel")
    )
}
