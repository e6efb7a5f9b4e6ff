//! When nodes became ONLINE or OFFLINE: one row per change, kept for the node's page.

use super::tx::{Statement, Tx, read_all};
use super::{StoreError, values};
use crate::clock::Timestamp;

static INSERT: Statement = Statement::new(include_str!("sql/node_status_insert.sql"));
static LIST: Statement =
    Statement::new("SELECT at, online FROM node_status_changes WHERE node_id = $1 ORDER BY at");
static PRUNE: Statement = Statement::new(include_str!("sql/node_status_prune.sql"));

/// A change of a node's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusChange {
    pub node_id: String,
    /// The first sign of life of an ONLINE node, the last one of an OFFLINE node.
    pub at: Timestamp,
    pub is_online: bool,
}

/// Stores the changes that differ from the last stored change of their node. A node without any was
/// OFFLINE.
pub fn record(tx: &mut dyn Tx, changes: &[StatusChange]) -> Result<(), StoreError> {
    // Servers that share the database see the same changes.
    tx.lock("node_status_changes")?;
    for change in changes {
        tx.execute(
            &INSERT,
            values![&change.node_id, change.at, change.is_online],
        )?;
    }
    Ok(())
}

/// Returns the stored changes of a node, oldest first: the time, and whether it was ONLINE from
/// then on.
pub fn list(tx: &mut dyn Tx, node_id: &str) -> Result<Vec<(Timestamp, bool)>, StoreError> {
    read_all(tx.query(&LIST, values![node_id])?, |row| {
        Ok((row.take()?, row.take()?))
    })
}

/// Deletes the changes before `since`, except each node's last one, and all but the `kept` last
/// ones of each node.
pub fn prune(tx: &mut dyn Tx, since: Timestamp, kept: u64) -> Result<u64, StoreError> {
    tx.lock("node_status_changes")?;
    tx.execute(&PRUNE, values![since, kept])
}
