//! Follows one job: sends its output as it arrives, then reports how it ended.

use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use hyprbox_protocol::ClaimedJob;
use tokio::time::Instant;

use super::complete::complete;
use super::context::Context;
use super::report::JobEnd;
use super::upload::{Outcome, Uploader};
use super::wake::{Signals, Wake};
use crate::state::job_dir::{JobDir, STARTED};
use crate::supervisor::handle::Supervisor;
use crate::supervisor::process::takes_another;
use crate::trouble::Caller;

/// Between two checks of a supervisor that is ending or starting just now.
const CHECK_AGAIN: Duration = Duration::from_millis(5);
/// Between two attempts to undo a job whose supervisor has died.
const UNDO_AGAIN: Duration = Duration::from_secs(5);

/// What a finished job hands over to the next one.
#[derive(Default)]
pub(crate) struct Handover {
    /// The job's supervisor, if it now waits for the next job.
    pub(crate) supervisor: Option<Child>,
    /// The next job, if the server sent one when it acknowledged the end, and when the call began.
    pub(crate) next: Option<(ClaimedJob, Instant)>,
}

/// Follows a job until the server has acknowledged its completion: one that was just started
/// (`supervisor`), or one that was found after a restart of the agent. If it is the agent's only
/// job, its completion also asks for the next job.
pub(crate) async fn follow(
    ctx: Arc<Context>,
    dir: JobDir,
    supervisor: Option<Supervisor>,
    is_only_one: bool,
) -> Handover {
    let found = supervisor.is_none();
    let mut follower = Follower {
        uploader: Uploader::new(Arc::clone(&ctx), dir.clone(), is_only_one),
        dir,
        supervisor,
        takes_another: false,
        undo_began: None,
    };
    if let Some(end) = follower.forward(found).await {
        let request = end.report(&follower.dir);
        complete(&ctx, follower.dir.id(), &request).await;
    }
    ctx.client.trouble.ended(Caller::Output);
    put_away(&ctx, &follower.dir, follower.takes_another);
    let mut handover = Handover {
        next: follower.uploader.into_next_job(),
        ..Handover::default()
    };
    if let Some(supervisor) = follower.supervisor {
        let (child, may_wait) = supervisor.into_child();
        if follower.takes_another && may_wait {
            handover.supervisor = Some(child);
        } else {
            ctx.reap_later(child);
        }
    }
    handover
}

/// Forgets a job whose completion was acknowledged, and recycles or removes its directory.
fn put_away(ctx: &Arc<Context>, dir: &JobDir, is_recyclable: bool) {
    dir.acknowledge();
    // Before the directory is renamed: from then on, only the memory says that the script has run.
    // The start stays in the start log until its slot is needed.
    if dir.has(STARTED)
        && let Err(e) = ctx.run_memory.add(dir.id())
    {
        tracing::error!(
            "[jobrunner] job {}: can't be remembered in the state folder: {e}",
            dir.id()
        );
        // The directory stays and says it, until the next start of the agent.
        return;
    }
    let Some(old) = dir.retire() else { return };
    let ctx = Arc::clone(ctx);
    // Not awaited, so that the next poll does not wait for it. What a kill leaves here, the next
    // agent removes.
    tokio::task::spawn_blocking(move || {
        if let Err(e) = ctx.run_memory.sync_if_due() {
            tracing::warn!("[jobrunner] the ids of jobs that have run can't be synced: {e}");
        }
        if is_recyclable {
            ctx.dir_pool.give_back(&old);
        } else {
            let _ = std::fs::remove_dir_all(old);
        }
    });
}

struct Follower {
    dir: JobDir,
    supervisor: Option<Supervisor>,
    uploader: Uploader,
    /// Whether the supervisor, and the job's directory, will serve another job. Not if the job had
    /// secrets or left processes behind.
    takes_another: bool,
    /// When a supervisor was started to undo the job, because the first one has died.
    undo_began: Option<Instant>,
}

impl Follower {
    /// Sends the output as it arrives, until the job has ended and all of it is sent. Returns the
    /// end, unless it was reported with the last output.
    async fn forward(&mut self, found: bool) -> Option<JobEnd> {
        let mut wanted = true;
        if found {
            wanted = self.uploader.resume().await;
        }
        let wake = Wake::open(&self.dir).ok();
        let mut signals = Signals {
            full: false,
            check: found || wake.is_none(),
        };
        let mut end = None;
        let mut send_at = Instant::now();
        let mut more = found;
        loop {
            while end.is_none() {
                if signals.check {
                    end = self.check_for_end().await;
                    if end.is_some() {
                        break;
                    }
                    signals.check = false;
                }
                let Some(wake) = &wake else {
                    tokio::time::sleep(CHECK_AGAIN).await;
                    signals.check = true;
                    break;
                };
                if more && (signals.full || Instant::now() >= send_at) {
                    break;
                }
                tokio::select! {
                    () = wake.receive(&mut signals) => more = true,
                    () = self.child_ended() => signals.check = true,
                    () = tokio::time::sleep_until(send_at), if more => {}
                }
            }
            if let Some(end) = &end {
                self.uploader.end_at(end.totals(&self.dir));
                if let (JobEnd::Recorded(exit), Some(supervisor)) = (end, &self.supervisor) {
                    self.takes_another = takes_another(supervisor.has_secrets(), exit);
                }
            }
            let outcome = if wanted {
                self.uploader.send_next(end.as_ref()).await
            } else {
                Outcome::Nothing
            };
            if self.uploader.has_arrived()
                && let Some(supervisor) = &mut self.supervisor
            {
                supervisor.mark_started();
            }
            if outcome == Outcome::Completed {
                return None;
            }
            if end.is_some() && matches!(outcome, Outcome::Nothing | Outcome::Unwanted) {
                return end;
            }
            if end.is_some() && outcome == Outcome::Failed && self.uploader.is_hopeless() {
                tracing::warn!(
                    "[jobrunner] job {}: something between agent and server refuses its output; its end is reported without the rest",
                    self.dir.id()
                );
                return end;
            }
            wanted &= outcome != Outcome::Unwanted;
            signals.full = matches!(outcome, Outcome::More | Outcome::Failed);
            // The job may have ended during the failed call.
            signals.check |= outcome == Outcome::Failed;
            more = signals.full || self.uploader.holds_back();
            if outcome != Outcome::Nothing {
                send_at = Instant::now() + self.uploader.flush_after();
            }
        }
    }

    /// Waits for the end of a child, as long as the supervisor may not have read its order.
    /// Dropping the future loses nothing.
    async fn child_ended(&mut self) {
        match &mut self.supervisor {
            Some(supervisor) => supervisor.child_ended().await,
            None => std::future::pending().await,
        }
    }

    /// Returns the job's end, if it has ended.
    async fn check_for_end(&mut self) -> Option<JobEnd> {
        if let Some(exit) = self.dir.exit() {
            return Some(JobEnd::Recorded(exit));
        }
        // A supervisor that is our child may not have locked the directory yet. One that was found
        // has had its lock all along.
        let alive = match &mut self.supervisor {
            Some(supervisor) => supervisor.is_alive(),
            None => false,
        };
        let lock = if alive { None } else { self.dir.try_lock() };
        if lock.is_none() {
            // The job still runs, or has ended just now and its exit record follows.
            tokio::time::sleep(CHECK_AGAIN).await;
            return None;
        }
        if let Some(exit) = self.dir.exit() {
            return Some(JobEnd::Recorded(exit));
        }
        if self.dir.needs_undo() {
            drop(lock);
            self.undo().await;
            return None;
        }
        if !self.dir.has(STARTED) {
            // The next supervisor needs the lock.
            drop(lock);
            if self.restart_supervisor() {
                return None;
            }
        }
        Some(JobEnd::lost(&self.dir).await)
    }

    /// Undoes the job, whose supervisor has died. At a shutdown of the machine this fails, and the
    /// next agent does it.
    async fn undo(&mut self) {
        if self.undo_began.is_some_and(|at| at.elapsed() < UNDO_AGAIN) {
            tokio::time::sleep(UNDO_AGAIN / 10).await;
            return;
        }
        self.undo_began = Some(Instant::now());
        let id = self.dir.id();
        tracing::warn!("[jobrunner] job {id}: its supervisor has died; undoing it");
        match Supervisor::undo(&self.dir) {
            Ok(supervisor) => {
                if let Some(dead) = self.supervisor.replace(supervisor) {
                    self.uploader.reap(dead.into_child().0);
                }
            }
            Err(e) => tracing::error!("[jobrunner] job {id}: can't be undone: {e}"),
        }
    }

    /// Starts another supervisor for a job that has not started, if the first one may have died
    /// before it read its order.
    fn restart_supervisor(&mut self) -> bool {
        let restarted = match &mut self.supervisor {
            Some(supervisor) => supervisor.restart(&self.dir),
            None => Ok(false),
        };
        restarted.unwrap_or_else(|e| {
            let id = self.dir.id();
            tracing::error!("[jobrunner] job {id}: its supervisor can't be started: {e}");
            false
        })
    }
}
