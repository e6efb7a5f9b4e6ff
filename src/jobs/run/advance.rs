//! Advances a run: stops it after too many failures, releases its next batch, or ends it.
//!
//! Runs in the transaction that ends a job, so that a server that is killed at any moment neither
//! stalls a run nor starts a batch early. The run's row is locked first, so that of two jobs that
//! end at the same time, on any server, the second sees the first.

use std::sync::Arc;

use hyprbox_protocol::Refusal;

use crate::clock;
use crate::jobs::drift::{record_success, report_drift_of_run};
use crate::jobs::life::milestones::Milestones;
use crate::jobs::notices::{report_job_end, report_run_end, report_wait_of_run};
use crate::jobs::run::plan::{Plan, too_many_failures};
use crate::nodes::{NodeStatus, Presence};
use crate::outbox::{Outbox, PingKind};
use crate::store::job::{Job, JobKind};
use crate::store::run::{self, Run, RunProgress, RunStatus};
use crate::store::{Change, StoreError, Tx, server_state};

/// The value of `ifOffline` with which jobs of offline nodes are skipped.
const SKIP: &str = "skip";

/// Advances runs. Cheap to clone.
#[derive(Clone)]
pub struct RunAdvance {
    presence: Arc<Presence>,
    milestones: Milestones,
    outbox: Outbox,
}

impl RunAdvance {
    pub(in crate::jobs) fn new(
        presence: Arc<Presence>,
        milestones: Milestones,
        outbox: Outbox,
    ) -> Self {
        Self {
            presence,
            milestones,
            outbox,
        }
    }

    /// Advances the run of a job that has just ended, if it has one.
    pub fn advance_after(&self, tx: &mut dyn Tx, ended: &Job) -> Result<(), StoreError> {
        match &ended.run_id {
            Some(run_id) => self.advance(tx, run_id),
            None => Ok(()),
        }
    }

    /// Does whatever the states of the run's jobs allow. Does nothing if the run has ended.
    pub fn advance(&self, tx: &mut dyn Tx, run_id: &str) -> Result<(), StoreError> {
        let Some(mut run) = run::find_locked(tx, run_id)? else {
            return Ok(());
        };
        tx.publish(Change::Run { id: run.id.clone() });
        let plan = Plan::stored(&run.plan);
        loop {
            match next_step(tx, &run, &plan)? {
                NextStep::Wait => return Ok(()),
                NextStep::Stop { failures } => self.stop(tx, &mut run, &plan, failures)?,
                NextStep::Finish(progress) => return self.finish(tx, &run, &plan, progress),
                NextStep::Pause { pause_ms } => {
                    let release_at = server_state::now(tx)?.plus_millis(pause_ms);
                    run::set_release_at(tx, &run.id, release_at)?;
                    run.release_at = Some(release_at);
                }
                NextStep::Release => self.release_next(tx, &mut run)?,
            }
        }
    }

    /// Whether [`RunAdvance::advance`] would do anything. Reads only.
    pub(super) fn can_advance(&self, tx: &mut dyn Tx, run_id: &str) -> Result<bool, StoreError> {
        let Some(run) = run::find(tx, run_id)? else {
            return Ok(false);
        };
        let step = next_step(tx, &run, &Plan::stored(&run.plan))?;
        Ok(!matches!(step, NextStep::Wait))
    }

    /// Begins a new run: skips the offline nodes of a batch that is released at once.
    pub fn begin(&self, tx: &mut dyn Tx, run_id: &str) -> Result<(), StoreError> {
        let Some(run) = run::find(tx, run_id)? else {
            return Ok(());
        };
        if run.released_batch >= 0 {
            self.ping(tx, &run, PingKind::Start);
            self.skip_offline(tx, &run, run.released_batch)?;
        }
        report_wait_of_run(tx, &self.outbox, &run)?;
        self.advance(tx, run_id)
    }

    /// Counts and logs a job's end once the transaction is durable.
    pub(in crate::jobs) fn count_end(&self, tx: &mut dyn Tx, job: &Job) {
        self.milestones.ended(tx, job);
    }

    /// Records what a job's success shows about its node.
    pub(in crate::jobs) fn record_success(
        &self,
        tx: &mut dyn Tx,
        job: &Job,
    ) -> Result<(), StoreError> {
        record_success(tx, &self.outbox, job)
    }

    /// Reports the end of a single job to the channels that want it. `actor` is who ended it.
    pub(in crate::jobs) fn report_end(
        &self,
        tx: &mut dyn Tx,
        job: &Job,
        actor: Option<&str>,
    ) -> Result<(), StoreError> {
        report_job_end(tx, &self.outbox, job, actor)
    }

    /// Calls the ping address of the run's schedule.
    fn ping(&self, tx: &mut dyn Tx, run: &Run, kind: PingKind) {
        if let Some(schedule_id) = &run.schedule_id {
            self.outbox.ping(tx, schedule_id, kind);
        }
    }

    /// Counts a job that was refused once the transaction is durable.
    pub(in crate::jobs) fn count_refusal(&self, tx: &mut dyn Tx, reason: Refusal) {
        self.milestones.refused(tx, reason);
    }

    fn stop(
        &self,
        tx: &mut dyn Tx,
        run: &mut Run,
        plan: &Plan,
        failures: u64,
    ) -> Result<(), StoreError> {
        let because = too_many_failures(failures, plan.max_failures);
        run::set_stopped(tx, &run.id, &because)?;
        let why = format!("not started: {because}");
        let cancelled = run::cancel_queued(tx, &run.id, clock::now(), Some(&why))?;
        self.publish_cancelled(tx, &cancelled);
        run.stopped_because = Some(because);
        Ok(())
    }

    /// Ends a run, and begins the one that waits for it.
    fn finish(
        &self,
        tx: &mut dyn Tx,
        run: &Run,
        plan: &Plan,
        progress: RunProgress,
    ) -> Result<(), StoreError> {
        let is_tolerable = run.kind == JobKind::Check || progress.failures <= plan.max_failures;
        let status = if run.cancelled_at.is_some() {
            RunStatus::Cancelled
        } else if is_tolerable && progress.has_success && run.stopped_because.is_none() {
            RunStatus::Succeeded
        } else {
            RunStatus::Failed
        };
        run::finish(tx, run, status, clock::now())?;
        let ping = if status == RunStatus::Succeeded {
            PingKind::Success
        } else {
            PingKind::Failure
        };
        self.ping(tx, run, ping);
        report_run_end(tx, &self.outbox, &run.id)?;
        report_drift_of_run(tx, &self.outbox, run)?;
        for next in run::waiting_for(tx, &run.id)? {
            self.advance(tx, &next)?;
        }
        Ok(())
    }

    fn release_next(&self, tx: &mut dyn Tx, run: &mut Run) -> Result<(), StoreError> {
        let batch = run.released_batch + 1;
        if batch == 0 {
            self.ping(tx, run, PingKind::Start);
        }
        self.skip_offline(tx, run, batch)?;
        let expires_at = match run.expires_in_seconds {
            Some(seconds) => Some(server_state::now(tx)?.plus_millis(seconds * 1_000)),
            None => None,
        };
        if expires_at.is_some() {
            tx.publish(Change::Due);
        }
        for (id, node_id) in run::release(tx, &run.id, batch, expires_at)? {
            tx.publish(Change::Job { id, node_id });
        }
        run.released_batch = batch;
        run.release_at = None;
        Ok(())
    }

    /// Cancels the jobs of a batch whose nodes are offline, if the run says so.
    fn skip_offline(&self, tx: &mut dyn Tx, run: &Run, batch: i64) -> Result<(), StoreError> {
        if run.if_offline != SKIP {
            return Ok(());
        }
        let mut nodes = run::queued_nodes(tx, &run.id, batch)?;
        nodes.retain(|id| self.presence.status_of(id).0 == NodeStatus::Offline);
        if nodes.is_empty() {
            return Ok(());
        }
        let skipped = run::skip_nodes(tx, &run.id, batch, clock::now(), &nodes)?;
        self.publish_cancelled(tx, &skipped);
        Ok(())
    }

    /// Reports jobs that were cancelled before they began.
    pub fn publish_cancelled(&self, tx: &mut dyn Tx, cancelled: &[Job]) {
        for job in cancelled {
            self.count_end(tx, job);
            tx.publish(Change::Job {
                id: job.id.clone(),
                node_id: job.node_id.clone(),
            });
        }
    }
}

/// What the states of a run's jobs, and the time, allow next.
enum NextStep {
    Wait,
    /// There are too many failures.
    Stop {
        failures: u64,
    },
    Finish(RunProgress),
    /// Begin the pause before the next batch.
    Pause {
        pause_ms: i64,
    },
    /// Release the next batch.
    Release,
}

/// Decides without a write, so that the run's row need not be locked.
fn next_step(tx: &mut dyn Tx, run: &Run, plan: &Plan) -> Result<NextStep, StoreError> {
    if run.status.is_final() {
        return Ok(NextStep::Wait);
    }
    let progress = run::progress(tx, &run.id, run.released_batch)?;
    if must_stop(run, plan, progress) {
        let failures = progress.failures;
        return Ok(NextStep::Stop { failures });
    }
    if !progress.is_open {
        return Ok(NextStep::Finish(progress));
    }
    if progress.is_batch_open {
        return Ok(NextStep::Wait);
    }
    Ok(match (pause_of(run, plan), run.release_at) {
        (Some(pause_ms), None) => NextStep::Pause { pause_ms },
        _ if !may_release(run) || !is_predecessor_over(tx, run)? => NextStep::Wait,
        (_, Some(at)) if server_state::now(tx)? < at => NextStep::Wait,
        _ => NextStep::Release,
    })
}

fn must_stop(run: &Run, plan: &Plan, progress: RunProgress) -> bool {
    run.stopped_because.is_none()
        && run.kind != JobKind::Check
        && progress.failures > plan.max_failures
}

/// The pause before the next batch, in milliseconds.
fn pause_of(run: &Run, plan: &Plan) -> Option<i64> {
    let pauses = plan.pause_seconds > 0 && run.released_batch >= 0;
    let pause_ms = i64::try_from(plan.pause_seconds.saturating_mul(1_000));
    pauses.then(|| pause_ms.unwrap_or(i64::MAX))
}

/// Whether the run releases further batches, apart from their time.
fn may_release(run: &Run) -> bool {
    run.status == RunStatus::Running && run.stopped_because.is_none()
}

/// Whether the run that must end before this one has ended, or no longer exists.
fn is_predecessor_over(tx: &mut dyn Tx, run: &Run) -> Result<bool, StoreError> {
    let (Some(before), -1) = (&run.after_run, run.released_batch) else {
        return Ok(true);
    };
    Ok(run::find(tx, before)?.is_none_or(|before| before.status.is_final()))
}
