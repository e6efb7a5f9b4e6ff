//! Counts and logs each job's milestones: queued, started, ended. The log has ids, never params,
//! output or messages, which may contain secrets.

use hyprbox_protocol::Refusal;

use crate::metrics::Metrics;
use crate::store::Tx;
use crate::store::claim::ClaimRecord;
use crate::store::job::Job;

/// Counts and logs milestones. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Milestones(Metrics);

impl Milestones {
    pub(in crate::jobs) fn new(metrics: Metrics) -> Self {
        Self(metrics)
    }

    /// A job was queued.
    pub(in crate::jobs) fn queued(&self, job: &Job) {
        self.0.queued(&job.preset, 1);
        tracing::info!(job = %job.id, node = %job.node_id, preset = %job.preset, "job queued");
    }

    /// A run was queued with these jobs, given as their ids and nodes.
    pub(crate) fn run_queued<'j>(
        &self,
        run_id: &str,
        preset: &str,
        jobs: impl ExactSizeIterator<Item = (&'j str, &'j str)>,
    ) {
        self.0.queued(preset, jobs.len() as u64);
        for (id, node_id) in jobs {
            tracing::info!(job = %id, node = %node_id, %preset, run = %run_id, "job queued");
        }
    }

    /// An agent of the node has claimed a job.
    pub(in crate::jobs) fn started(&self, job: &ClaimRecord, node_id: &str) {
        self.0.claimed(job.created_at, job.started_at);
        tracing::info!(job = %job.id, node = %node_id, preset = %job.preset, "job started");
    }

    /// A job was refused because of its signature, if `tx` becomes durable.
    pub(in crate::jobs) fn refused(&self, tx: &mut dyn Tx, reason: Refusal) {
        let metrics = self.0.clone();
        tx.after_commit(Box::new(move || metrics.refused(reason)));
    }

    /// A job has ended, if `tx` becomes durable.
    pub(in crate::jobs) fn ended(&self, tx: &mut dyn Tx, job: &Job) {
        let (metrics, job) = (self.0.clone(), job.clone());
        tx.after_commit(Box::new(move || {
            metrics.finished(&job);
            tracing::info!(
                job = %job.id,
                node = %job.node_id,
                preset = %job.preset,
                run = job.run_id.as_deref().map(tracing::field::display),
                status = %job.status.as_str(),
                exit_code = job.exit_code,
                "job ended"
            );
        }));
    }
}
