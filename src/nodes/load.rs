//! What a node has to do.

use crate::store::{StoreError, Tx, job};

/// Running and queued jobs of a node.
#[derive(Debug, Default)]
pub struct Load {
    /// The RUNNING job.
    pub running_job_id: Option<String>,
    /// A job that has ended while its script still runs, with the agent instance that claimed it.
    pub still_running: Option<(String, Option<String>)>,
    /// Number of queued jobs.
    pub queued_jobs: u64,
}

impl Load {
    /// What the node has to do now.
    pub(crate) fn read(tx: &mut dyn Tx, node_id: &str) -> Result<Self, StoreError> {
        Ok(Self {
            running_job_id: job::running_on(tx, node_id)?.pop().map(|job| job.id),
            still_running: job::still_running_on(tx, node_id)?,
            queued_jobs: job::count_queued_on(tx, node_id)?,
        })
    }
}
