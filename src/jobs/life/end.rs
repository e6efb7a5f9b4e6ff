//! What follows from a job's end.

use crate::audit;
use crate::jobs::JobError;
use crate::jobs::run::advance::RunAdvance;
use crate::store::job::Job;
use crate::store::{Change, Tx};

/// Who ended a job and why, for the audit log.
#[derive(Debug, Clone, Copy)]
pub(in crate::jobs) struct EndEntry<'e> {
    /// An email, `node:<id>`, or `server`.
    pub(in crate::jobs) actor: &'e str,
    pub(in crate::jobs) action: &'static str,
    pub(in crate::jobs) detail: &'e str,
}

/// Records, counts, reports and announces a job's end, in the transaction of the statement that
/// has ended the job. Every end passes here: the agent's report, a cancel while QUEUED, an expiry,
/// a lost lease, a timeout, a refusal, a failure by hand through the API, and the deletion of the
/// node. If the end allows the job's run to go on, `runs` advances it in the same commit.
pub(in crate::jobs) fn record_end(
    tx: &mut dyn Tx,
    runs: &RunAdvance,
    job: &Job,
    entry: Option<EndEntry<'_>>,
) -> Result<(), JobError> {
    debug_assert!(job.status.is_terminal(), "{} has not ended", job.id);
    if let Some(entry) = entry {
        let entry = audit::Entry {
            actor: entry.actor,
            action: entry.action,
            job_id: Some(&job.id),
            node_id: Some(&job.node_id),
            detail: Some(entry.detail),
        };
        audit::record(tx, entry)?;
    }
    tx.publish(Change::Job {
        id: job.id.clone(),
        node_id: job.node_id.clone(),
    });
    runs.count_end(tx, job);
    runs.record_success(tx, job)?;
    runs.report_end(tx, job, entry.map(|entry| entry.actor))?;
    Ok(runs.advance_after(tx, job)?)
}
