//! Pause, resume and cancel a run.

use super::access::find;
use super::{RunError, Runs};
use crate::auth::User;
use crate::clock;
use crate::jobs::{RunAdvance, RunView, Scope, record_run};
use crate::store::run::{self, Run, RunStatus};
use crate::store::{Change, StoreError, Tx};

/// What a person does to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunAction {
    /// No further batch is released.
    Pause,
    /// Batches are released again.
    Resume,
    /// QUEUED jobs are cancelled, and running ones stopped.
    Cancel,
}

impl RunAction {
    fn name(self) -> &'static str {
        match self {
            Self::Pause => "run.pause",
            Self::Resume => "run.resume",
            Self::Cancel => "run.cancel",
        }
    }
}

impl Runs {
    /// Does this to a run, and returns the run afterwards.
    pub async fn act(
        &self,
        user: &User,
        scope: Scope,
        id: String,
        action: RunAction,
    ) -> Result<RunView, RunError> {
        let (user, advance) = (user.clone(), self.run_advance());
        self.store
            .write(move |tx| {
                let run = find_to_change(tx, &user, scope, &id)?;
                match action {
                    RunAction::Pause => pause(tx, &run)?,
                    RunAction::Resume => resume(tx, &run)?,
                    RunAction::Cancel => cancel(tx, &run, &user, &advance)?,
                }
                record_run(tx, &user.email, action.name(), &id, &run.preset)?;
                // Resuming may release a batch, and cancelling may end the run.
                advance.advance(tx, &id)?;
                let run = run::find(tx, &id)?.ok_or(RunError::NotFound)?;
                Ok(RunView::read(tx, run)?)
            })
            .await
    }
}

fn find_to_change(tx: &mut dyn Tx, user: &User, scope: Scope, id: &str) -> Result<Run, RunError> {
    find(tx, user, scope, id)?;
    run::find_locked(tx, id)?.ok_or(RunError::NotFound)
}

fn is_stopping(run: &Run) -> bool {
    run.cancelled_at.is_some() || run.stopped_because.is_some()
}

fn pause(tx: &mut dyn Tx, run: &Run) -> Result<(), RunError> {
    if run.status != RunStatus::Running {
        return Err(RunError::WrongState(run.status));
    }
    if is_stopping(run) {
        return Err(RunError::Stopping);
    }
    run::set_status(tx, &run.id, RunStatus::Paused)?;
    let held = run::hold_for_pause(tx, &run.id, clock::now())?;
    publish_holds(tx, held);
    Ok(())
}

fn resume(tx: &mut dyn Tx, run: &Run) -> Result<(), RunError> {
    if run.status != RunStatus::Paused {
        return Err(RunError::WrongState(run.status));
    }
    run::set_status(tx, &run.id, RunStatus::Running)?;
    let held = run::release_from_pause(tx, &run.id)?;
    publish_holds(tx, held);
    Ok(())
}

fn publish_holds(tx: &mut dyn Tx, job_ids: Vec<String>) {
    for job_id in job_ids {
        tx.publish(Change::Progress { job_id });
    }
}

fn cancel(tx: &mut dyn Tx, run: &Run, user: &User, advance: &RunAdvance) -> Result<(), RunError> {
    if run.status.is_final() {
        return Err(RunError::WrongState(run.status));
    }
    let because = format!("cancelled by {}", user.email);
    cancel_run(tx, run, &because, advance)?;
    Ok(())
}

/// Cancels the QUEUED jobs of a run that has not ended, and stops the running ones. The caller has
/// locked the run, and advances it afterwards.
pub fn cancel_run(
    tx: &mut dyn Tx,
    run: &Run,
    because: &str,
    advance: &RunAdvance,
) -> Result<(), StoreError> {
    let now = clock::now();
    if run.status == RunStatus::Paused {
        // Nothing is left to resume: the run only waits for its running jobs.
        run::set_status(tx, &run.id, RunStatus::Running)?;
    }
    run::set_cancelled(tx, &run.id, now)?;
    run::set_stopped(tx, &run.id, because)?;
    let cancelled = run::cancel_queued(tx, &run.id, now, None)?;
    advance.publish_cancelled(tx, &cancelled);
    for (id, node_id) in run::request_cancel(tx, &run.id, now)? {
        tx.publish(Change::Job { id, node_id });
    }
    Ok(())
}
