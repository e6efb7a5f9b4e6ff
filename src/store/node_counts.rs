//! Counts of nodes for the metrics.

use super::StoreError;
use super::tx::{Statement, Tx, read_all};

static COUNT_BY_AGENT: Statement = Statement::new(
    "SELECT agent_version, CAST(count(*) AS BIGINT), CAST(sum(paused) AS BIGINT), CAST(count(problem) AS BIGINT)
     FROM nodes GROUP BY agent_version",
);

/// The nodes whose agents have the same version.
#[derive(Debug)]
pub struct NodesByAgent {
    /// `None`: no agent has reported one.
    pub version: Option<String>,
    pub nodes: u64,
    pub paused: u64,
    /// Nodes that report that they can't run jobs.
    pub with_problem: u64,
}

/// Counts all nodes by the version of their agents.
pub fn count_by_agent(tx: &mut dyn Tx) -> Result<Vec<NodesByAgent>, StoreError> {
    read_all(tx.query(&COUNT_BY_AGENT, &[])?, |row| {
        Ok(NodesByAgent {
            version: row.take()?,
            nodes: row.take()?,
            paused: row.take()?,
            with_problem: row.take()?,
        })
    })
}
