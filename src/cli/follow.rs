//! Following one job to its end: its output byte for byte on standard output, everything else on standard error.

use std::sync::Arc;

use hyprbox_protocol::{Chunk, Stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::{Scoped, StreamArg};
use super::client::{Client, segment};
use super::connection::{self, News};
use super::end::End;
use super::error::{CliError, exit};
use super::lines::{LastLines, Output};
use super::progress::{self, Progress};
use super::screen::{Screen, note};
use crate::sse::Event;
use crate::store::job::JobStatus;

/// Ctrl-C, and SIGTERM where that is to cancel the job. From the moment when this is made they no longer kill.
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Option<Signal>,
}

impl Interrupts {
    pub(super) fn new(cancel: bool) -> Result<Self, CliError> {
        let listen = |kind| signal(kind).map_err(|e| CliError::failed(format!("signals: {e}")));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: cancel
                .then(|| listen(SignalKind::terminate()))
                .transpose()?,
        })
    }

    pub(super) async fn next(&mut self) {
        let terminate = async {
            match &mut self.terminate {
                Some(terminate) => {
                    terminate.recv().await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            () = terminate => {}
        }
    }

    fn cancels(&self) -> bool {
        self.terminate.is_some()
    }
}

/// What of a job to follow, and how.
pub(super) struct Follow {
    pub(super) client: Arc<Client>,
    pub(super) screen: Screen,
    pub(super) id: String,
    pub(super) scope: Scoped,
    /// Which output; `None`: only the end.
    pub(super) stream: Option<StreamArg>,
    /// Begin with so many of the last lines.
    pub(super) tail: Option<usize>,
    /// The job is known to be there, so that a server that can't be reached is waited for.
    pub(super) patient: bool,
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
    stdout_bytes: u64,
    stderr_bytes: u64,
}

impl Follow {
    /// Until the job has ended or the person has had enough; what this program ends with.
    pub(super) async fn run(self, interrupts: &mut Interrupts) -> Result<u8, CliError> {
        let output = match self.stream {
            Some(_) => "exact",
            None => "none",
        };
        let scope = self.scope.query().replace('?', "&");
        let path = format!(
            "/api/jobs/{}/stream?output={output}{scope}",
            segment(&self.id)
        );
        let mut news = connection::open(Arc::clone(&self.client), path, self.patient);
        let mut follower = Follower::new(&self);
        let mut tick = tokio::time::interval(progress::EVERY);
        let mut has_cancelled = false;
        loop {
            tokio::select! {
                item = news.recv() => match item {
                    Some(News::Event(event)) => if let Some(code) = follower.take(event)? {
                        return Ok(code);
                    },
                    Some(News::Lost(words)) => follower.lost(&words),
                    Some(News::Back) => follower.note("The connection is back."),
                    Some(News::Failed(error)) => {
                        follower.finish()?;
                        return Err(error);
                    }
                    None => return Err(CliError::failed("the follower ended without a reason")),
                },
                () = interrupts.next() => {
                    if !interrupts.cancels() || has_cancelled {
                        follower.finish()?;
                        note(&self.detached());
                        return Ok(exit::INTERRUPTED);
                    }
                    has_cancelled = true;
                    follower.note("Cancelling the job; Ctrl-C again leaves it to itself.");
                    if let Err(error) = self.cancel().await {
                        follower.note(&error.to_string());
                    }
                }
                _ = tick.tick() => follower.progress.draw(),
            }
        }
    }

    async fn cancel(&self) -> Result<(), CliError> {
        let path = format!(
            "/api/jobs/{}/cancel{}",
            segment(&self.id),
            self.scope.query()
        );
        let cancelled = self.client.post::<Value>(&path, &Value::Null).await;
        match cancelled {
            // It has ended by itself; its end is on its way.
            Err(error)
                if error
                    .api
                    .as_ref()
                    .is_some_and(|(code, _)| code == "wrong_state") =>
            {
                Ok(())
            }
            other => other.map(drop),
        }
    }

    fn detached(&self) -> String {
        let id = &self.id;
        let scope = match self.scope.query() {
            "" => "",
            _ => " --scope all",
        };
        format!(
            "Detached; the job goes on.\n  follow it again: hyprbox jobs log --follow {id}{scope}\n  cancel it:       hyprbox jobs cancel {id}{scope}"
        )
    }
}

/// What of the output was seen.
#[derive(Default)]
struct Seen {
    stdout: u64,
    stderr: u64,
    lost: u64,
}

impl Seen {
    fn end_of(&mut self, stream: Stream) -> &mut u64 {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    /// The part of `bytes`, which begin at `offset`, that is new.
    fn fresh<'b>(&mut self, stream: Stream, offset: u64, bytes: &'b [u8]) -> &'b [u8] {
        let end = self.end_of(stream);
        let known = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let missing = offset.saturating_sub(*end);
        *end = (*end).max(offset + bytes.len() as u64);
        self.lost += missing;
        bytes.get(known..).unwrap_or_default()
    }
}

struct Follower<'f> {
    follow: &'f Follow,
    output: Output,
    progress: Progress,
    seen: Seen,
    /// The last lines of what was there before, until all of that has come, which is so many bytes of each stream.
    held: Option<LastLines>,
    until: Option<(u64, u64)>,
}

impl<'f> Follower<'f> {
    fn new(follow: &'f Follow) -> Self {
        Self {
            output: Output::new(follow.screen),
            progress: Progress::new(&follow.screen, "connecting"),
            seen: Seen::default(),
            held: follow.tail.map(LastLines::new),
            until: None,
            follow,
        }
    }

    /// Takes an event; at the end, what this program ends with.
    fn take(&mut self, event: Event) -> Result<Option<u8>, CliError> {
        let wrong = |error: serde_json::Error| {
            CliError::failed(format!("the server's stream can't be understood: {error}"))
                .hint("it may be older or newer than this program")
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
        self.release_if_caught_up()?;
        match (status.status, &status.cancel_requested_at) {
            (JobStatus::Queued, _) => self.progress.doing("queued, waiting for its node"),
            (JobStatus::Running, None) => self.progress.doing("running"),
            (JobStatus::Running, Some(_)) => self.progress.doing("is being cancelled"),
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
                "exitCode": done.end.exit_code, "errorMsg": done.end.error_msg, "processExitCode": code});
            self.follow.screen.json_line(&line)?;
        } else {
            note(&format!("Job {} {}", self.follow.id, done.end.words()));
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
            "{bytes} bytes of {what} are not kept: the server keeps the last of each stream (4 MiB, unless it is set otherwise)."
        ));
    }

    fn lost(&mut self, words: &str) {
        self.note(&format!(
            "The connection broke ({words}). The job goes on; trying to come back to it."
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_is_seen_twice_and_what_is_missing_is_counted() {
        let mut seen = Seen::default();
        assert_eq!(seen.fresh(Stream::Stdout, 0, b"abc"), b"abc");
        assert_eq!(seen.fresh(Stream::Stdout, 0, b"abcdef"), b"def");
        assert_eq!(seen.fresh(Stream::Stdout, 2, b"cd"), b"");
        assert_eq!(seen.fresh(Stream::Stderr, 0, b"x"), b"x");
        assert_eq!(seen.fresh(Stream::Stdout, 10, b"k"), b"k");
        assert_eq!((seen.stdout, seen.stderr, seen.lost), (11, 1, 4));
    }
}
