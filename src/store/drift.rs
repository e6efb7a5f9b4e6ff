//! What each node should be like: for each preset that was ever applied with success, its last
//! success and what the last check of the same params found since then.

use super::id::{JobId, NodeId};
use super::{Row, Statement, StoreError, Tx, Value, read_all, values};
use crate::clock::Timestamp;

macro_rules! select_drift {
    ($rest:literal) => {
        Statement::new(concat!(
            "SELECT node_id, preset, params, applied_job_id, applied_at, check_params, check_job_id, checked_at, steps
             FROM drift ",
            $rest
        ))
    };
}

/// A preset that was applied to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDrift {
    pub node_id: String,
    pub preset: String,
    /// The params of the last apply that succeeded, as a JSON object.
    pub params: String,
    pub applied_job_id: String,
    pub applied_at: Timestamp,
    /// The params that today's preset makes of `params`; `None` if they are the same.
    pub check_params: Option<String>,
    /// The last check of these params since the apply; `None` before the first one.
    pub check_job_id: Option<String>,
    pub checked_at: Option<Timestamp>,
    /// What it found, as a JSON list of steps.
    pub steps: String,
}

fn drift_of_row(row: &mut Row) -> Result<StoredDrift, StoreError> {
    Ok(StoredDrift {
        node_id: row.take()?,
        preset: row.take()?,
        params: row.take()?,
        applied_job_id: row.take()?,
        applied_at: row.take()?,
        check_params: row.take()?,
        check_job_id: row.take()?,
        checked_at: row.take()?,
        steps: row.take()?,
    })
}

/// Records that an apply has succeeded. Earlier checks no longer count. Does nothing if the node
/// does not exist any more.
pub fn set_applied(
    tx: &mut dyn Tx,
    node_id: NodeId<&str>,
    preset: &str,
    params: &str,
    job_id: JobId<&str>,
    at: Timestamp,
) -> Result<(), StoreError> {
    static SET: Statement = Statement::new(
        "INSERT INTO drift (node_id, preset, params, applied_job_id, applied_at)
         SELECT id, $2, $3, $4, $5 FROM nodes WHERE id = $1
         ON CONFLICT (node_id, preset) DO UPDATE SET params = excluded.params,
             applied_job_id = excluded.applied_job_id, applied_at = excluded.applied_at,
             check_params = NULL, check_job_id = NULL, checked_at = NULL, steps = '[]'",
    );
    tx.execute(&SET, values![node_id.0, preset, params, job_id.0, at])
        .map(|_| ())
}

/// Returns a preset on a node, and locks its row until the transaction ends.
pub fn find_locked(
    tx: &mut dyn Tx,
    node_id: &str,
    preset: &str,
) -> Result<Option<StoredDrift>, StoreError> {
    static FIND: Statement = select_drift!("WHERE node_id = $1 AND preset = $2 /* for update */");
    tx.query_one(&FIND, values![node_id, preset])?
        .map(|mut row| drift_of_row(&mut row))
        .transpose()
}

/// Records what a check has found.
pub fn set_checked(
    tx: &mut dyn Tx,
    node_id: NodeId<&str>,
    preset: &str,
    job_id: JobId<&str>,
    at: Timestamp,
    steps: &str,
) -> Result<(), StoreError> {
    static SET: Statement = Statement::new(
        "UPDATE drift SET check_job_id = $3, checked_at = $4, steps = $5
         WHERE node_id = $1 AND preset = $2",
    );
    tx.execute(&SET, values![node_id.0, preset, job_id.0, at, steps])
        .map(|_| ())
}

/// Records which params today's preset makes of those of this apply.
pub fn set_check_params(
    tx: &mut dyn Tx,
    applied: &StoredDrift,
    check_params: &str,
) -> Result<(), StoreError> {
    static SET: Statement = Statement::new(
        "UPDATE drift SET check_params = $4
         WHERE node_id = $1 AND preset = $2 AND applied_job_id = $3",
    );
    let (node_id, preset) = (&applied.node_id, &applied.preset);
    let params = values![node_id, preset, &applied.applied_job_id, check_params];
    tx.execute(&SET, params).map(|_| ())
}

/// Returns up to `limit` rows of these nodes, of one preset if that is given, after the row `after`
/// of a node and a preset, in this order.
pub fn list(
    tx: &mut dyn Tx,
    nodes: &[&str],
    preset: Option<&str>,
    after: Option<(&str, &str)>,
    limit: u64,
) -> Result<Vec<StoredDrift>, StoreError> {
    if nodes.is_empty() {
        return Ok(Vec::new());
    }
    let mut params: Vec<Value> = Vec::new();
    let mut param = |value: Value| {
        params.push(value);
        format!("${}", params.len())
    };
    let numbers: Vec<String> = nodes.iter().map(|id| param((*id).into())).collect();
    let mut sql = format!(
        "SELECT node_id, preset, params, applied_job_id, applied_at, check_params, check_job_id, checked_at, steps
         FROM drift WHERE node_id IN ({})",
        numbers.join(", ")
    );
    if let Some(preset) = preset {
        sql.push_str(&format!(" AND preset = {}", param(preset.into())));
    }
    if let Some((node_id, preset)) = after {
        let (node_id, preset) = (param(node_id.into()), param(preset.into()));
        sql.push_str(&format!(" AND (node_id, preset) > ({node_id}, {preset})"));
    }
    let limit = param(limit.into());
    sql.push_str(&format!(" ORDER BY node_id, preset LIMIT {limit}"));
    read_all(tx.query(&Statement::composed(sql), &params)?, drift_of_row)
}

/// Marks a check of a run that has not ended: it found steps that would run, and the check before
/// it had found none.
pub fn mark_new(tx: &mut dyn Tx, job_id: &str) -> Result<(), StoreError> {
    static MARK: Statement = Statement::new("UPDATE jobs SET new_drift = 1 WHERE id = $1");
    tx.execute(&MARK, values![job_id]).map(|_| ())
}

/// Returns the marked checks of a run, in the order of their batches: each job and its node.
pub fn marked_of_run(tx: &mut dyn Tx, run_id: &str) -> Result<Vec<(String, String)>, StoreError> {
    static LIST: Statement = Statement::new(
        "SELECT id, node_id FROM jobs WHERE run_id = $1 AND new_drift = 1 ORDER BY batch, id",
    );
    read_all(tx.query(&LIST, values![run_id])?, |row| {
        Ok((row.take()?, row.take()?))
    })
}

/// Returns the last 20 checks before this one of the same preset on the same node that succeeded,
/// newest first: each job and its params.
pub fn checks_before(
    tx: &mut dyn Tx,
    node_id: NodeId<&str>,
    preset: &str,
    job_id: JobId<&str>,
) -> Result<Vec<(String, String)>, StoreError> {
    static LIST: Statement = Statement::new(
        "SELECT id, params FROM jobs
         WHERE node_id = $1 AND preset = $2 AND kind = 'check' AND status = 'SUCCEEDED' AND id < $3
         ORDER BY id DESC LIMIT 20",
    );
    read_all(
        tx.query(&LIST, values![node_id.0, preset, job_id.0])?,
        |row| Ok((row.take()?, row.take()?)),
    )
}
