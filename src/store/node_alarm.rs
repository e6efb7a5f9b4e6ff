//! The nodes of which a channel was sent `node_offline`, and no `node_online` since.

use super::id::NodeId;
use super::{Statement, StoreError, Tx, read_all, values};
use crate::clock::Timestamp;

/// Records an alarm; false if the channel has one about this node.
pub fn insert(
    tx: &mut dyn Tx,
    channel_id: &str,
    node_id: NodeId<&str>,
    at: Timestamp,
) -> Result<bool, StoreError> {
    static INSERT: Statement = Statement::new(
        "INSERT INTO node_alarms (channel_id, node_id, at) VALUES ($1, $2, $3) ON CONFLICT (channel_id, node_id) DO NOTHING",
    );
    Ok(tx.execute(&INSERT, values![channel_id, node_id.0, at])? == 1)
}

/// Returns each node with an alarm, and the time of the last one.
pub fn list(tx: &mut dyn Tx) -> Result<Vec<(String, Timestamp)>, StoreError> {
    static LIST: Statement =
        Statement::new("SELECT node_id, max(at) FROM node_alarms GROUP BY node_id");
    read_all(tx.query(&LIST, &[])?, |row| Ok((row.take()?, row.take()?)))
}

/// Deletes the alarms about a node. Returns their channels.
pub fn delete(tx: &mut dyn Tx, node_id: &str) -> Result<Vec<String>, StoreError> {
    static DELETE: Statement =
        Statement::new("DELETE FROM node_alarms WHERE node_id = $1 RETURNING channel_id");
    read_all(tx.query(&DELETE, values![node_id])?, |row| row.take())
}
