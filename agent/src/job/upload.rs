//! Sends a job's output from its spool to the server.

use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use hyprbox_protocol::{
    ClaimedJob, ConfirmWait, FLUSH_MS, FLUSH_MS_WATCHED, PerStream, StepTimes, Stream,
};
use tokio::time::Instant;

use super::body::{LastPart, More, body};
use super::context::Context;
use super::report::JobEnd;
use super::upload_policy::{Step, UploadPolicy};
use crate::client::CallError;
use crate::spool::{Batch, SpoolCleaner, SpoolReader, StampReader};
use crate::state::job_dir::JobDir;
use crate::trouble::Caller;

/// The shortest time between two calls while somebody watches. With a thousand viewers, more
/// frequent calls would cost the server more than the viewers would gain.
const WATCHED_PAUSE: Duration = Duration::from_millis(20);

/// For so long after a job's first output its bytes are hardly held back, watched or not: the
/// person who queued the job is about to open its page.
const FIRST_MOMENTS: Duration = Duration::from_secs(3);

/// The result of sending a batch.
#[derive(PartialEq, Eq)]
pub(super) enum Outcome {
    /// There was no output to send.
    Nothing,
    /// The batch has arrived, and there may be more output.
    More,
    /// The batch has arrived.
    All,
    /// The batch has arrived, and the server has accepted the job's completion with it.
    Completed,
    /// The server wants no more output of this job.
    Unwanted,
    /// The call failed, and the wait after it is over.
    Failed,
}

/// The server's answer to an `output` call.
struct Answer {
    /// Where each stream continues.
    next: PerStream<u64>,
    /// Whether the server has accepted the job's completion.
    completed: bool,
    /// The agent's next job, and when the call began.
    job: Option<(ClaimedJob, Instant)>,
}

/// The upload of one job's output.
pub(super) struct Uploader {
    ctx: Arc<Context>,
    dir: JobDir,
    reader: SpoolReader,
    cleaner: SpoolCleaner,
    stamps: StampReader,
    batch: Batch,
    policy: UploadPolicy,
    /// The offsets from which the server last made the upload continue, if it expected others.
    sought: Option<PerStream<u64>>,
    /// When the first call arrived; it also reports bash's pid.
    arrived_at: Option<Instant>,
    /// Whether the server knows that the job waits for a confirmation.
    has_sent_wait: bool,
    /// Whether the job began long ago, because the upload continues after a restart of the agent.
    is_resumed: bool,
    /// Whether the server may send the agent's next job when it accepts this one's completion.
    wants_next: bool,
    next_job: Option<(ClaimedJob, Instant)>,
    flush_after: Duration,
}

impl Uploader {
    pub(super) fn new(ctx: Arc<Context>, dir: JobDir, wants_next: bool) -> Self {
        Self {
            reader: SpoolReader::new(dir.path()),
            cleaner: SpoolCleaner::new(dir.path()),
            stamps: StampReader::new(dir.path()),
            ctx,
            dir,
            batch: Batch::default(),
            policy: UploadPolicy::new(),
            sought: None,
            arrived_at: None,
            has_sent_wait: false,
            is_resumed: false,
            wants_next,
            next_job: None,
            flush_after: Duration::from_millis(FLUSH_MS),
        }
    }

    /// Whether the server has answered a call of this job.
    pub(super) fn has_arrived(&self) -> bool {
        self.arrived_at.is_some()
    }

    /// Takes a supervisor that has died.
    pub(super) fn reap(&self, child: Child) {
        self.ctx.reap_later(child);
    }

    /// Whether something on the path to the server refuses this job's output but lets other calls
    /// pass.
    pub(super) fn is_hopeless(&self) -> bool {
        self.policy.is_hopeless(Instant::now())
    }

    /// Whether half a character was held back, which the next flush must send.
    pub(super) fn holds_back(&self) -> bool {
        self.reader.holds_back()
    }

    /// How long output is held back to be sent together with later output.
    pub(super) fn flush_after(&self) -> Duration {
        let is_recent = |at: Instant| at.elapsed() < FIRST_MOMENTS;
        if !self.is_resumed && self.arrived_at.is_none_or(is_recent) {
            let longest = Duration::from_millis(FLUSH_MS_WATCHED);
            return self.flush_after.min(longest);
        }
        self.flush_after
    }

    /// The job has ended with this much output.
    pub(super) fn end_at(&mut self, totals: PerStream<u64>) {
        self.reader.end_at(totals);
    }

    /// The agent's next job, if the server sent one, and when the call began.
    pub(super) fn into_next_job(self) -> Option<(ClaimedJob, Instant)> {
        self.next_job
    }

    /// Sends the next batch until it has arrived. The last batch also carries the job's `end`, once
    /// that is known: this saves a call and a commit. An older server, which does not know this
    /// field, accepts only the output, and its answer shows that.
    pub(super) async fn send_next(&mut self, end: Option<&JobEnd>) -> Outcome {
        let from = self.reader.next();
        let max = self.policy.batch_bytes();
        if let Err(e) = self.reader.fill(&mut self.batch, max) {
            tracing::error!(
                "[jobrunner] job {}: output can't be read: {e}",
                self.dir.id()
            );
        }
        if self.batch.pieces.is_empty() {
            return Outcome::Nothing;
        }
        let expected = self.reader.next();
        let end = end.filter(|end| !self.batch.is_full(max) && expected == end.totals(&self.dir));
        let report = end.map(|end| end.report(&self.dir));
        let last = report.as_ref().map(|report| LastPart {
            end: report,
            // Only at the first try: if the server fails at claiming the next job, the end of this
            // one must still get through.
            next: self.wants_next
                && self.policy.is_first_try()
                && end.is_some_and(JobEnd::allows_another_job)
                && self.ctx.can_take_job(),
        });
        // The pid is of no use once the job has ended.
        let pid = if last.is_some() { None } else { self.pid() };
        let more = More {
            pid,
            step_times: self.step_times(from[Stream::Stdout], expected[Stream::Stdout]),
            confirm_wait: self.confirm_wait().filter(|_| last.is_none()),
            last,
        };
        let sends_wait = more.confirm_wait.is_some();
        let content = body(&self.batch, more, self.policy.base64);
        match self.attempt(content).await {
            Ok(answer) => {
                self.has_sent_wait |= sends_wait;
                self.ctx.client.trouble.ended(Caller::Output);
                self.policy.passed(answer.next);
                self.cleaner.acknowledged(answer.next);
                match &report {
                    Some(report) if answer.completed => {
                        self.ctx.completions.record(self.dir.id(), report);
                        self.next_job = answer.job;
                        return Outcome::Completed;
                    }
                    _ if answer.next == expected => self.sought = None,
                    // The server's offsets decide: it may have lost its last writes, or already
                    // have these bytes. It decides only once: if it sent the same offsets each
                    // time, the job would never end.
                    _ if self.sought != Some(answer.next) => {
                        self.sought = Some(answer.next);
                        self.reader.seek(answer.next);
                        return Outcome::More;
                    }
                    _ => {}
                }
            }
            Err(e) if self.policy.halve(&e, self.batch.bytes.len()) => {
                self.reader.seek(from);
                return Outcome::More;
            }
            Err(e) if is_refusal(&e) => {
                tracing::warn!("[jobrunner] output error: {e}");
                return Outcome::Unwanted;
            }
            Err(e) => return self.recover(&e, from).await,
        }
        if self.batch.is_full(max) {
            Outcome::More
        } else {
            Outcome::All
        }
    }

    /// Waits after the batch that begins at `from` did not arrive. If something on the path refuses
    /// only this batch, it is sent in another form next, or dropped.
    async fn recover(&mut self, error: &CallError, from: PerStream<u64>) -> Outcome {
        self.wait_after(error).await;
        if self.policy.may_be_the_content() {
            let empty = body(&Batch::default(), More::default(), false);
            match self.attempt(empty).await {
                Ok(_) => {
                    let bytes = self.batch.bytes.len();
                    if self.policy.change_form(bytes, self.reader.next()) == Step::Drop {
                        tracing::warn!(
                            "[jobrunner] job {}: {bytes} bytes of its output are dropped: {error}",
                            self.dir.id()
                        );
                        return Outcome::Failed;
                    }
                }
                Err(e) if is_refusal(&e) => {
                    tracing::warn!("[jobrunner] output error: {e}");
                    return Outcome::Unwanted;
                }
                // Every call is refused, so the batch is tried again as it is.
                Err(_) => {}
            }
        }
        self.reader.seek(from);
        Outcome::Failed
    }

    /// Records a failed call, and waits before the next.
    async fn wait_after(&mut self, error: &CallError) {
        self.ctx.client.trouble.failed(Caller::Output, error);
        self.policy.failed(error, self.ctx.client.answers());
        self.ctx.wait_out(error, &mut self.policy.backoff).await;
    }

    /// Asks the server where to continue after a restart of the agent. Returns false if the server
    /// wants no more of this job's output.
    pub(super) async fn resume(&mut self) -> bool {
        self.is_resumed = true;
        loop {
            let more = More {
                pid: self.pid(),
                confirm_wait: self.confirm_wait(),
                ..More::default()
            };
            let sends_wait = more.confirm_wait.is_some();
            let empty = body(&Batch::default(), more, false);
            match self.attempt(empty).await {
                Ok(answer) => {
                    self.has_sent_wait |= sends_wait;
                    self.ctx.client.trouble.ended(Caller::Output);
                    self.policy.passed(answer.next);
                    self.cleaner.acknowledged(answer.next);
                    self.reader.seek(answer.next);
                    return true;
                }
                Err(e) if is_refusal(&e) => {
                    tracing::warn!("[jobrunner] output error: {e}");
                    return false;
                }
                Err(e) => self.wait_after(&e).await,
            }
            if self.is_hopeless() {
                // The job may have ended meanwhile. The server ignores bytes that it already has.
                return true;
            }
        }
    }

    /// When the steps began whose lines end in this range of stdout. Called after the batch was
    /// read, because the supervisor stamps a line before it writes the line.
    fn step_times(&mut self, after: u64, until: u64) -> Option<StepTimes> {
        self.stamps.times_within(after, until)
    }

    /// Bash's pid, if the server does not know it yet.
    fn pid(&self) -> Option<u32> {
        // Supervisors of older agents write it to a file of its own.
        let read = || self.dir.read("lock").or_else(|| self.dir.read("pid"));
        if self.has_arrived() { None } else { read() }
    }

    /// The job's wait for a confirmation, if the server does not know it yet. Called after the
    /// batch was read, because the supervisor records the wait before it writes the line.
    fn confirm_wait(&self) -> Option<ConfirmWait> {
        self.dir.confirm_wait().filter(|_| !self.has_sent_wait)
    }

    /// Makes one `output` call.
    async fn attempt(&mut self, content: bytes::Bytes) -> Result<Answer, CallError> {
        let called_at = Instant::now();
        let client = &self.ctx.client;
        let answer = client
            .output(self.dir.id(), &self.ctx.instance, content)
            .await?;
        self.arrived_at.get_or_insert_with(Instant::now);
        self.flush_after = flush_after(answer.flush_ms, called_at.elapsed());
        if answer.cancel {
            super::cancel(&self.dir);
        }
        if answer.confirm {
            super::confirm(&self.dir);
        }
        Ok(Answer {
            next: PerStream::new(answer.stdout_bytes, answer.stderr_bytes),
            completed: answer.ended,
            job: answer.job.map(|job| (job, called_at)),
        })
    }
}

/// Whether the server itself refuses this job's output.
fn is_refusal(error: &CallError) -> bool {
    matches!(error.status(), Some(400 | 404 | 409 | 413))
}

/// How long output is held back after a call that `took` so long. While somebody watches, this is
/// four times the call's duration, so that a slow connection is not busy most of the time.
fn flush_after(flush_ms: u64, took: Duration) -> Duration {
    let longest = Duration::from_millis(flush_ms.min(FLUSH_MS));
    if flush_ms >= FLUSH_MS {
        return longest;
    }
    (4 * took).max(WATCHED_PAUSE).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_held_back_as_the_connection_allows_and_never_longer_than_requested() {
        let ms = Duration::from_millis;
        assert_eq!(flush_after(1_500, ms(1)), ms(1_500), "nobody watches");
        assert_eq!(flush_after(9_000, ms(1)), ms(1_500), "at most the default");
        assert_eq!(flush_after(50, ms(1)), ms(20));
        assert_eq!(flush_after(50, ms(8)), ms(32));
        assert_eq!(flush_after(50, ms(400)), ms(50));
        assert_eq!(flush_after(5, ms(400)), ms(5));
    }
}
