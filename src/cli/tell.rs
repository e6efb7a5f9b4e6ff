//! A followed job as it is told: its output byte for byte on standard output, everything else on
//! standard error.

use hyprbox_protocol::{Chunk, Stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::args::StreamArg;
use super::connection::News;
use super::end::End;
use super::error::{CliError, exit};
use super::follow::Follow;
use super::lines::{LastLines, Output};
use super::progress::Progress;
use super::screen::note;
use super::seen::Seen;
use crate::cli::sse::Event;
use crate::store::job::JobStatus;

/// What there is to tell.
pub(super) enum Told {
    News(News),
    /// The stream has ended, whether it said how or not.
    Over,
    /// Time has passed.
    Tick,
    Note(String),
    /// The person has had enough.
    Detach,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    status: JobStatus,
    cancel_requested_at: Option<String>,
    stdout_bytes: u64,
    stderr_bytes: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    #[serde(flatten)]
    end: End,
    finished_at: Option<String>,
    stdout_bytes: u64,
    stderr_bytes: u64,
}

/// Tells one job.
pub(super) struct Teller<'f> {
    follow: &'f Follow,
    output: Output,
    progress: Progress,
    seen: Seen,
    /// The last lines of what was there before, until all of that has come, which is so many bytes
    /// of each stream.
    held: Option<LastLines>,
    until: Option<(u64, u64)>,
    /// The job's state, once it is known.
    status: Option<JobStatus>,
}

impl<'f> Teller<'f> {
    pub(super) fn new(follow: &'f Follow) -> Self {
        Self {
            output: Output::new(follow.screen),
            progress: Progress::new(&follow.screen, "connecting"),
            seen: Seen::default(),
            held: follow.tail.map(LastLines::new),
            until: None,
            status: None,
            follow,
        }
    }

    /// Tells what comes, until the end or until there is enough; what this program ends with.
    pub(super) fn tell(mut self, mut inbox: mpsc::Receiver<Told>) -> Result<u8, CliError> {
        loop {
            match inbox.blocking_recv() {
                Some(Told::News(News::Event(event))) => {
                    if let Some(code) = self.take(event)? {
                        return Ok(code);
                    }
                }
                Some(Told::News(News::Lost(words))) => self.lost(&words),
                Some(Told::News(News::Back)) => self.note("Reconnected."),
                Some(Told::News(News::Failed(error))) => {
                    self.finish()?;
                    return Err(error);
                }
                Some(Told::Note(words)) => self.note(&words),
                Some(Told::Tick) => self.progress.draw(),
                Some(Told::Detach) => {
                    self.finish()?;
                    note(&self.follow.detached(self.status));
                    return Ok(exit::INTERRUPTED);
                }
                Some(Told::Over) | None => {
                    return Err(CliError::failed(
                        "the job's stream ended before the job did",
                    ));
                }
            }
        }
    }

    /// Takes an event; at the end, what this program ends with.
    fn take(&mut self, event: Event) -> Result<Option<u8>, CliError> {
        let wrong = |error: serde_json::Error| {
            CliError::failed(format!("can't parse the server's stream: {error}"))
                .hint("the server may be older or newer than this program")
        };
        match event.name.as_str() {
            "status" => {
                let status: Status = serde_json::from_str(&event.data).map_err(wrong)?;
                self.json("status", &event.data)?;
                self.status(&status)?;
            }
            "output" => {
                let chunk: Chunk = serde_json::from_str(&event.data).map_err(wrong)?;
                self.chunk(chunk)?;
            }
            "done" => {
                let done: Done = serde_json::from_str(&event.data).map_err(wrong)?;
                return self.done(done).map(Some);
            }
            _ => {}
        }
        Ok(None)
    }

    fn status(&mut self, status: &Status) -> Result<(), CliError> {
        self.until
            .get_or_insert((status.stdout_bytes, status.stderr_bytes));
        self.status = Some(status.status);
        self.release_if_caught_up()?;
        match (status.status, &status.cancel_requested_at) {
            (JobStatus::Queued, _) => self.progress.doing("queued, waiting for the node"),
            (JobStatus::Running, None) => self.progress.doing("running"),
            (JobStatus::Running, Some(_)) => self.progress.doing("cancelling"),
            (JobStatus::Succeeded | JobStatus::Failed | JobStatus::Cancelled, _) => {}
        }
        Ok(())
    }

    fn chunk(&mut self, chunk: Chunk) -> Result<(), CliError> {
        let (stream, offset) = (chunk.stream, chunk.offset);
        let bytes = chunk
            .into_bytes()
            .map_err(|_| CliError::failed("the server sent a chunk without data"))?;
        let lost_before = self.seen.lost;
        let fresh = self.seen.fresh(stream, offset, &bytes);
        let wanted = match self.follow.stream {
            None => false,
            Some(StreamArg::Both) => true,
            Some(StreamArg::Stdout) => stream == Stream::Stdout,
            Some(StreamArg::Stderr) => stream == Stream::Stderr,
        };
        if self.seen.lost > lost_before && wanted && self.held.is_none() {
            self.say_lost(self.seen.lost - lost_before, stream.as_str());
        }
        if stream == Stream::Stdout {
            self.progress.saw(fresh);
        }
        if wanted && !fresh.is_empty() {
            if self.follow.screen.json {
                let start = offset + (bytes.len() - fresh.len()) as u64;
                self.json_chunk(&Chunk::new(stream, start, fresh))?;
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

    /// What was there before the last lines were asked for is behind us.
    fn release_if_caught_up(&mut self) -> Result<(), CliError> {
        let caught_up = self
            .until
            .is_some_and(|(out, err)| self.seen.stdout >= out && self.seen.stderr >= err);
        if caught_up { self.release() } else { Ok(()) }
    }

    fn release(&mut self) -> Result<(), CliError> {
        let Some(mut held) = self.held.take() else {
            return Ok(());
        };
        self.progress.clear();
        self.output.write(&held.take())
    }

    fn done(&mut self, done: Done) -> Result<u8, CliError> {
        self.release()?;
        self.finish()?;
        let code = done.end.exit_code();
        // What the node counted and could not send.
        let missing = done.stdout_bytes.saturating_sub(self.seen.stdout)
            + done.stderr_bytes.saturating_sub(self.seen.stderr);
        if missing > 0 && self.follow.stream == Some(StreamArg::Both) {
            self.say_lost(missing, "output");
        }
        if self.follow.screen.json {
            let line = json!({"type": "done", "jobId": self.follow.id, "status": done.end.status,
                "exitCode": done.end.exit_code, "errorMsg": done.end.error_msg, "finishedAt": done.finished_at,
                "processExitCode": code});
            self.follow.screen.json_line(&line)?;
        } else {
            let step = match done.end.status {
                JobStatus::Failed => self.progress.step().map(|step| format!(" in {step}")),
                JobStatus::Queued | JobStatus::Running => None,
                JobStatus::Succeeded | JobStatus::Cancelled => None,
            };
            let (id, words) = (&self.follow.id, done.end.words());
            note(&format!("Job {id} {words}{}", step.unwrap_or_default()));
        }
        Ok(code)
    }

    fn json(&self, kind: &str, data: &str) -> Result<(), CliError> {
        if !self.follow.screen.json || self.follow.stream.is_none() {
            return Ok(());
        }
        let mut line = json!({"type": kind});
        if let (Some(line), Ok(Value::Object(data))) =
            (line.as_object_mut(), serde_json::from_str(data))
        {
            line.extend(data);
        }
        self.follow.screen.json_line(&line)
    }

    fn json_chunk(&self, chunk: &Chunk) -> Result<(), CliError> {
        let data = serde_json::to_string(chunk).map_err(|e| CliError::failed(e.to_string()))?;
        self.json("output", &data)
    }

    fn say_lost(&mut self, bytes: u64, what: &str) {
        self.note(&format!(
            "{bytes} bytes of {what} are not kept: the server keeps only the end of each stream (4 MiB by default)."
        ));
    }

    fn lost(&mut self, words: &str) {
        self.note(&format!(
            "Connection lost ({words}). The job goes on; reconnecting."
        ));
        self.progress.doing("reconnecting");
    }

    fn note(&mut self, words: &str) {
        self.progress.clear();
        note(words);
    }

    /// Leaves the terminal as it was.
    fn finish(&mut self) -> Result<(), CliError> {
        self.progress.clear();
        self.output.finish()
    }
}
