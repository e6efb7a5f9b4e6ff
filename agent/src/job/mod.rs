//! One job, from the start of its supervisor to the server's word that its end is known.

pub(crate) mod context;
mod passage;
pub(crate) mod script_env;
mod upload;
mod wake;

use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use hyprbox_protocol::{ClaimedJob, CompleteRequest, FLUSH_MS};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::client::CallError;
use crate::host;
use crate::job::context::Context;
use crate::job::passage::{Passage, Step};
use crate::job::upload::{Last, body};
use crate::job::wake::{Heard, Wake};
use crate::spool::{Batch, SpoolReader, totals_on_disk};
use crate::state::job_dir::{EndedBy, Exit, JobDir, STARTED, Started};
use crate::supervisor::handle::Supervisor;
use crate::supervisor::process::{end_marked, takes_another};
use crate::trouble::Caller;

/// Between two looks at a supervisor that is just ending or starting.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The least time between two calls while somebody watches; with more of them a thousand viewers
/// would cost the server more than they would gain.
const WATCHED_PAUSE: Duration = Duration::from_millis(20);

/// What a job leaves to the next one.
#[derive(Default)]
pub(crate) struct Left {
    /// Its supervisor, where that waits for the next job now.
    pub(crate) supervisor: Option<Child>,
    /// The next job, where the server gave one with its word on the end, and when it was asked.
    pub(crate) next: Option<(ClaimedJob, Instant)>,
}

/// Follows a job to its acknowledged end: one that was just started (`supervisor`), or one found
/// after a restart. Where it is the only one, the server is asked for the next with its end.
pub(crate) async fn follow(
    ctx: Arc<Context>,
    dir: JobDir,
    supervisor: Option<Supervisor>,
    is_only_one: bool,
) -> Left {
    let found = supervisor.is_none();
    let mut follower = Follower {
        reader: SpoolReader::new(dir.path()),
        ctx,
        dir,
        supervisor,
        batch: Batch::default(),
        passage: Passage::new(),
        sought: None,
        tells_pid: true,
        takes_another: false,
        wants_next: is_only_one,
        next: None,
        flush: Duration::from_millis(FLUSH_MS),
    };
    if let Some(end) = follower.forward(found).await {
        let request = follower.report(&end);
        complete(&follower.ctx, follower.dir.id(), &request).await;
    }
    follower.ctx.client.trouble.ended(Caller::Output);
    let mut left = Left {
        next: follower.next.take(),
        ..Left::default()
    };
    if let Some(old) = follower.dir.put_away() {
        // What had secrets, or left something alive, leaves nothing.
        let is_left = follower.takes_another;
        let ctx = Arc::clone(&follower.ctx);
        // Beside the next poll, which need not wait for it. What is left by a kill the next agent
        // removes.
        tokio::task::spawn_blocking(move || {
            if is_left {
                ctx.folders.take_back(&old);
            } else {
                let _ = std::fs::remove_dir_all(old);
            }
        });
    }
    if let Some(supervisor) = follower.supervisor {
        let (child, may_wait) = supervisor.into_child();
        if follower.takes_another && may_wait {
            left.supervisor = Some(child);
        } else {
            follower.ctx.bury(child);
        }
    }
    left
}

/// Reports how a job ended until the server itself accepts or refuses that.
pub(crate) async fn complete(ctx: &Context, id: &str, request: &CompleteRequest) {
    let mut backoff = Backoff::default();
    loop {
        match ctx.client.complete(id, &ctx.instance, request).await {
            Ok(()) => break,
            Err(e) if matches!(e.status(), Some(404 | 409)) => {
                tracing::warn!("[jobrunner] job {id}: the server doesn't take its end: {e}");
                break;
            }
            Err(e) => {
                ctx.client.trouble.failed(Caller::Complete, &e);
                ctx.wait_out(&e, &mut backoff).await;
            }
        }
    }
    ctx.client.trouble.ended(Caller::Complete);
    ctx.ends.note(id, request);
}

/// How a job ended, as far as this node knows.
enum End {
    /// As its supervisor wrote down.
    Told(Exit),
    /// The supervisor could not tell; this is why.
    Lost(String),
}

impl End {
    /// False where the supervisor was told of a shutdown.
    fn leaves_the_machine_up(&self) -> bool {
        matches!(self, Self::Told(exit) if !exit.at_shutdown)
    }
}

/// What became of a batch.
#[derive(PartialEq, Eq)]
enum Sent {
    /// There was none.
    Nothing,
    /// It has arrived, and there may be more at once.
    More,
    /// It has arrived.
    All,
    /// It has arrived, and the server has taken the job's end with it.
    Ended,
    /// The server wants no more output of this job.
    Unwanted,
    /// The call failed, and its wait is over.
    Failed,
}

/// What the server says to output.
struct Answer {
    /// Where each stream goes on.
    next: [u64; 2],
    /// It has taken the job's end.
    ended: bool,
    /// The agent's next job, and when it was asked for.
    job: Option<(ClaimedJob, Instant)>,
}

struct Follower {
    ctx: Arc<Context>,
    dir: JobDir,
    supervisor: Option<Supervisor>,
    reader: SpoolReader,
    batch: Batch,
    passage: Passage,
    /// Where the server sent us last, other than where we would have gone on.
    sought: Option<[u64; 2]>,
    /// Whether the server has yet to be told bash's process.
    tells_pid: bool,
    /// Whether the supervisor waits for another job once this one is done with.
    takes_another: bool,
    /// Whether the server may give the agent's next job with its word on this one's end.
    wants_next: bool,
    /// That job, and when it was asked for.
    next: Option<(ClaimedJob, Instant)>,
    flush: Duration,
}

impl Follower {
    /// Sends the output as it comes, until the job has ended and all of it is sent. Gives the end
    /// where the server has yet to be told.
    async fn forward(&mut self, found: bool) -> Option<End> {
        let mut wanted = true;
        if found {
            wanted = self.ask_where_to_go_on().await;
        }
        let wake = Wake::open(&self.dir).ok();
        let mut heard = Heard {
            full: false,
            look: found || wake.is_none(),
        };
        let mut end = None;
        let mut send_at = Instant::now();
        let mut more = found;
        loop {
            while end.is_none() {
                if heard.look {
                    end = self.look_for_the_end().await;
                    if end.is_some() {
                        break;
                    }
                    heard.look = false;
                }
                let Some(wake) = &wake else {
                    tokio::time::sleep(LOOK_AGAIN).await;
                    heard.look = true;
                    break;
                };
                if more && (heard.full || Instant::now() >= send_at) {
                    break;
                }
                tokio::select! {
                    () = wake.listen(&mut heard) => more = true,
                    () = self.child_ended() => heard.look = true,
                    () = tokio::time::sleep_until(send_at), if more => {}
                }
            }
            if let Some(end) = &end {
                self.reader.end_at(self.totals(end));
                if let (End::Told(exit), Some(supervisor)) = (end, &self.supervisor) {
                    self.takes_another = takes_another(supervisor.has_secrets(), exit);
                }
            }
            let sent = if wanted {
                self.send_next(end.as_ref()).await
            } else {
                Sent::Nothing
            };
            if sent == Sent::Ended {
                return None;
            }
            if end.is_some() && matches!(sent, Sent::Nothing | Sent::Unwanted) {
                return end;
            }
            if end.is_some() && sent == Sent::Failed && self.passage.is_hopeless() {
                tracing::warn!(
                    "[jobrunner] job {}: something between agent and server refuses its output; its end is reported without the rest",
                    self.dir.id()
                );
                return end;
            }
            wanted &= sent != Sent::Unwanted;
            heard.full = matches!(sent, Sent::More | Sent::Failed);
            // The job may have ended while the call was tried.
            heard.look |= sent == Sent::Failed;
            more = heard.full || self.reader.holds_back();
            if sent != Sent::Nothing {
                send_at = Instant::now() + self.flush;
            }
        }
    }

    /// Takes the next batch and sends it until it has arrived; the last one together with the job's
    /// `end`, once that is known: one call and one commit fewer. A server that doesn't know of this
    /// takes the output alone and says so.
    async fn send_next(&mut self, end: Option<&End>) -> Sent {
        let from = self.reader.next();
        let most = self.passage.batch_bytes();
        if let Err(e) = self.reader.fill(&mut self.batch, most) {
            tracing::error!(
                "[jobrunner] job {}: output can't be read: {e}",
                self.dir.id()
            );
        }
        if self.batch.pieces.is_empty() {
            return Sent::Nothing;
        }
        let expected = self.reader.next();
        let end = end.filter(|end| !self.batch.is_full(most) && expected == self.totals(end));
        let report = end.map(|end| self.report(end));
        let last = report.as_ref().map(|report| Last {
            end: report,
            // Asked once: should the next job be what the server can't do, the end of this one gets
            // through all the same.
            next: self.wants_next
                && self.passage.is_first_try()
                && end.is_some_and(End::leaves_the_machine_up),
        });
        // Nobody looks for the process of a job that has ended.
        let pid = if last.is_some() { None } else { self.pid() };
        let content = body(&self.batch, pid, last, self.passage.base64);
        match self.attempt(content).await {
            Ok(Answer { next, ended, job }) => {
                self.ctx.client.trouble.ended(Caller::Output);
                self.passage.passed(next);
                match &report {
                    Some(report) if ended => {
                        self.ctx.ends.note(self.dir.id(), report);
                        self.next = job;
                        return Sent::Ended;
                    }
                    _ if next == expected => self.sought = None,
                    // The server knows better: it has lost its last moments, or had these bytes
                    // before. But one that says the same place twice does not listen, and would
                    // never let the job end.
                    _ if self.sought != Some(next) => {
                        self.sought = Some(next);
                        self.reader.seek(next);
                        return Sent::More;
                    }
                    _ => {}
                }
            }
            Err(e) if self.passage.halve(&e, self.batch.bytes.len()) => {
                // Something on the path takes only smaller ones.
                self.reader.seek(from);
                return Sent::More;
            }
            Err(e) if is_refusal(&e) => {
                tracing::warn!("[jobrunner] output error: {e}");
                return Sent::Unwanted;
            }
            Err(e) => return self.overcome(&e, from).await,
        }
        if self.batch.is_full(most) {
            Sent::More
        } else {
            Sent::All
        }
    }

    /// Waits after a batch that began at `from` did not arrive. If only this batch is refused, and
    /// not by the server, it is sent in another form next, or left out.
    async fn overcome(&mut self, error: &CallError, from: [u64; 2]) -> Sent {
        self.failed(error).await;
        if self.passage.may_be_the_content() {
            let nothing = body(&Batch::default(), None, None, false);
            match self.attempt(nothing).await {
                Ok(_) => {
                    let bytes = self.batch.bytes.len();
                    if self.passage.change_form(bytes, self.reader.next()) == Step::Drop {
                        tracing::warn!(
                            "[jobrunner] job {}: {bytes} bytes of its output are dropped: {error}",
                            self.dir.id()
                        );
                        return Sent::Failed;
                    }
                }
                Err(e) if is_refusal(&e) => {
                    tracing::warn!("[jobrunner] output error: {e}");
                    return Sent::Unwanted;
                }
                // All of it is refused, and tried again.
                Err(_) => {}
            }
        }
        self.reader.seek(from);
        Sent::Failed
    }

    /// Records a failed call, and waits before the next.
    async fn failed(&mut self, error: &CallError) {
        self.ctx.client.trouble.failed(Caller::Output, error);
        self.passage.failed(error, self.ctx.client.answers());
        self.ctx.wait_out(error, &mut self.passage.backoff).await;
    }

    /// Finds the place after a restart. False when the server wants no more of this job's output.
    async fn ask_where_to_go_on(&mut self) -> bool {
        loop {
            let nothing = body(&Batch::default(), self.pid(), None, false);
            match self.attempt(nothing).await {
                Ok(Answer { next, .. }) => {
                    self.ctx.client.trouble.ended(Caller::Output);
                    self.passage.passed(next);
                    self.reader.seek(next);
                    return true;
                }
                Err(e) if is_refusal(&e) => {
                    tracing::warn!("[jobrunner] output error: {e}");
                    return false;
                }
                Err(e) => self.failed(&e).await,
            }
            if self.passage.is_hopeless() {
                // The job's end may be known by now. The server ignores what it already has.
                return true;
            }
        }
    }

    /// Bash's process, where the server has yet to be told.
    fn pid(&self) -> Option<u32> {
        // Supervisors of older agents have a file of its own for it.
        let pid = || self.dir.read("lock").or_else(|| self.dir.read("pid"));
        self.tells_pid.then(pid).flatten()
    }

    /// One `output` call.
    async fn attempt(&mut self, content: bytes::Bytes) -> Result<Answer, CallError> {
        let asked_at = Instant::now();
        let client = &self.ctx.client;
        let answer = client
            .output(self.dir.id(), &self.ctx.instance, content)
            .await?;
        self.tells_pid = false;
        if let Some(supervisor) = &mut self.supervisor {
            supervisor.has_started();
        }
        self.flush = hold(answer.flush_ms, asked_at.elapsed());
        if answer.cancel {
            cancel(&self.dir);
        }
        Ok(Answer {
            next: [answer.stdout_bytes, answer.stderr_bytes],
            ended: answer.ended,
            job: answer.job.map(|job| (job, asked_at)),
        })
    }

    /// Waits for the end of a child, while the supervisor may not have heard of the job yet.
    /// Dropping the future loses nothing.
    async fn child_ended(&mut self) {
        match &mut self.supervisor {
            Some(supervisor) => supervisor.child_ended().await,
            None => std::future::pending().await,
        }
    }

    /// The job's end, if it has come.
    async fn look_for_the_end(&mut self) -> Option<End> {
        if let Some(exit) = self.dir.exit() {
            return Some(End::Told(exit));
        }
        // A supervisor that is our child may not have its lock yet; one that we found has had it
        // all along.
        let alive = match &mut self.supervisor {
            Some(supervisor) => supervisor.is_alive(),
            None => false,
        };
        let lock = if alive { None } else { self.dir.try_lock() };
        if lock.is_none() {
            // Not over yet, or just now, with the exit record on its way.
            tokio::time::sleep(LOOK_AGAIN).await;
            return None;
        }
        if let Some(exit) = self.dir.exit() {
            return Some(End::Told(exit));
        }
        if !self.dir.has(STARTED) {
            // Nobody has it, and the next one that has it is ours.
            drop(lock);
            if self.supervise_anew() {
                return None;
            }
        }
        Some(End::Lost(self.why_lost().await))
    }

    /// Gives a job that has not started to another supervisor, where the one that was told of it
    /// may never have read that.
    fn supervise_anew(&mut self) -> bool {
        let again = match &mut self.supervisor {
            Some(supervisor) => supervisor.start_again(&self.dir),
            None => Ok(false),
        };
        again.unwrap_or_else(|e| {
            let id = self.dir.id();
            tracing::error!("[jobrunner] job {id}: its supervisor can't be started: {e}");
            false
        })
    }

    /// Why nobody wrote down how the job ended; clears away what may be left of it.
    async fn why_lost(&self) -> String {
        let Some(started) = self.dir.read::<Started>(STARTED) else {
            if self.dir.has(STARTED) {
                return "the job's journal is not readable".to_owned();
            }
            return "the job's supervisor could not start it; see the agent's state folder"
                .to_owned();
        };
        if started.boot_id != host::boot_id() {
            return RESTARTED.to_owned();
        }
        let id = self.dir.id().to_owned();
        let ended = tokio::task::spawn_blocking(move || end_marked(&id)).await;
        if let Err(e) = ended {
            tracing::error!("[jobrunner] what was left of a job can't be ended: {e}");
        }
        if self.dir.has("exit") {
            return "the record of the job's end is not readable".to_owned();
        }
        "the job's supervisor was killed, or could not write down how the script ended; what was left of it was ended".to_owned()
    }

    fn totals(&self, end: &End) -> [u64; 2] {
        match end {
            End::Told(exit) => [exit.stdout_bytes, exit.stderr_bytes],
            End::Lost(_) => totals_on_disk(self.dir.path()).unwrap_or_default(),
        }
    }

    fn report(&self, end: &End) -> CompleteRequest {
        let [stdout_bytes, stderr_bytes] = self.totals(end);
        let totals = CompleteRequest {
            stdout_bytes: Some(stdout_bytes),
            stderr_bytes: Some(stderr_bytes),
            ..CompleteRequest::default()
        };
        match end {
            End::Lost(why) => CompleteRequest {
                error_msg: Some(why.clone()),
                ..totals
            },
            End::Told(exit) => {
                let rebooted = || {
                    let started: Option<Started> = self.dir.read(STARTED);
                    started.is_some_and(|s| s.boot_id != host::boot_id())
                };
                let by_shutdown = exit.at_shutdown && exit.signal.is_some() && rebooted();
                CompleteRequest {
                    exit_code: exit.exit_code.map(i64::from),
                    signal: exit.signal.clone(),
                    error_msg: if by_shutdown && exit.ended_by == EndedBy::Itself {
                        Some(RESTARTED.to_owned())
                    } else {
                        exit.error_msg.clone()
                    },
                    cancelled: (exit.ended_by == EndedBy::Cancel).then_some(true),
                    timed_out: (exit.ended_by == EndedBy::Timeout).then_some(true),
                    ..totals
                }
            }
        }
    }
}

/// Whether the server itself takes no output of this job.
fn is_refusal(error: &CallError) -> bool {
    matches!(error.status(), Some(400 | 404 | 409 | 413))
}

/// How long bytes are held back for more, after a call that `took` so long. While somebody watches,
/// that is four times the call: soon over a quick line, and never most of a slow one's time.
fn hold(flush_ms: u64, took: Duration) -> Duration {
    let longest = Duration::from_millis(flush_ms.min(FLUSH_MS));
    if flush_ms >= FLUSH_MS {
        return longest;
    }
    (4 * took).max(WATCHED_PAUSE).min(longest)
}

const RESTARTED: &str = "node restarted while the job was running";

/// Has a job ended because the server asked for it. True if it wasn't asked before.
pub(crate) fn cancel(dir: &JobDir) -> bool {
    if dir.has("cancel") {
        return false;
    }
    tracing::info!("[jobrunner] job {}: cancel asked for", dir.id());
    if let Err(e) = dir.ask_to_end(EndedBy::Cancel) {
        tracing::error!("[jobrunner] job {}: can't be cancelled: {e}", dir.id());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_held_as_long_as_the_line_calls_for_and_never_longer_than_asked() {
        let ms = Duration::from_millis;
        assert_eq!(hold(1_500, ms(1)), ms(1_500), "nobody watches");
        assert_eq!(hold(9_000, ms(1)), ms(1_500), "never longer than the usual");
        assert_eq!(hold(50, ms(1)), ms(20));
        assert_eq!(hold(50, ms(8)), ms(32));
        assert_eq!(hold(50, ms(400)), ms(50));
        assert_eq!(hold(5, ms(400)), ms(5));
    }
}
