//! What earlier jobs did: how they ended and how long they took. Jobs that only check are left out.

use std::collections::HashMap;

use super::record::{Job, JobStatus, job_columns, job_of_row};
use crate::clock::Timestamp;
use crate::store::{Row, Statement, StoreError, Tx, Value, read_all, values};

/// A job that has started.
#[derive(Debug, Clone)]
pub struct PastJob {
    pub id: String,
    pub preset: String,
    pub node_id: String,
    pub created_by: String,
    pub status: JobStatus,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

impl PastJob {
    /// How long the job ran, in milliseconds; `None` if it still runs.
    pub fn took_ms(&self) -> Option<i64> {
        Some(self.finished_at?.millis_since(self.started_at?))
    }
}

/// Which jobs: of a preset, of a node, or of a preset on a node.
#[derive(Debug, Clone, Default)]
pub struct PastFilter {
    pub preset: Option<String>,
    pub node_id: Option<String>,
    pub created_by: Option<String>,
    /// Only this job and older ones.
    pub upto: Option<String>,
}

/// Returns how the last 20 jobs ended that had the same preset and node as this one and were queued
/// before it, newest first: the status and the message.
pub fn past_outcomes(
    tx: &mut dyn Tx,
    job: &Job,
) -> Result<Vec<(JobStatus, Option<String>)>, StoreError> {
    static PAST: Statement = Statement::new(
        "SELECT status, error_msg FROM jobs
         WHERE node_id = $1 AND preset = $2 AND kind = 'apply' AND status IN ('SUCCEEDED', 'FAILED', 'CANCELLED')
           AND id < $3
         ORDER BY id DESC LIMIT 20",
    );
    let params = values![&job.node_id, &job.preset, &job.id];
    read_all(tx.query(&PAST, params)?, |row| {
        Ok((row.take()?, row.take()?))
    })
}

/// Returns up to `limit` jobs that have started, newest first, among the newest `examined` jobs of
/// the node or the preset.
pub fn past(
    tx: &mut dyn Tx,
    filter: &PastFilter,
    examined: u64,
    limit: u64,
) -> Result<Vec<PastJob>, StoreError> {
    let mut params: Vec<Value> = Vec::new();
    let mut param = |value: Value| {
        params.push(value);
        format!("${}", params.len())
    };
    let (mut inner, mut outer) = (String::new(), String::new());
    if let Some(node) = &filter.node_id {
        inner.push_str(&format!(" AND node_id = {}", param(node.into())));
    }
    if let Some(preset) = &filter.preset {
        let condition = format!(" AND preset = {}", param(preset.into()));
        // The index of the node's jobs is read, as a node has fewer.
        match filter.node_id {
            Some(_) => outer.push_str(&condition),
            None => inner.push_str(&condition),
        }
    }
    if let Some(user) = &filter.created_by {
        outer.push_str(&format!(" AND created_by = {}", param(user.into())));
    }
    if let Some(id) = &filter.upto {
        inner.push_str(&format!(" AND id <= {}", param(id.into())));
    }
    let (examined, limit) = (param(examined.into()), param(limit.into()));
    let sql = format!(
        "SELECT id, preset, node_id, created_by, status, started_at, finished_at FROM (
             SELECT id, preset, node_id, created_by, status, started_at, finished_at, kind FROM jobs
             WHERE 1 = 1{inner} ORDER BY id DESC LIMIT {examined}) AS newest
         WHERE kind = 'apply' AND started_at IS NOT NULL{outer} ORDER BY id DESC LIMIT {limit}"
    );
    read_all(tx.query(&Statement::composed(sql), &params)?, |row| {
        Ok(PastJob {
            id: row.take()?,
            preset: row.take()?,
            node_id: row.take()?,
            created_by: row.take()?,
            status: row.take()?,
            started_at: row.take_typed_time()?,
            finished_at: row.take_typed_time()?,
        })
    })
}

/// Counts the jobs that ended within each of these times, `[from, to)`, by status. Of `created_by`
/// only, if that is a user.
pub fn count_ended(
    tx: &mut dyn Tx,
    times: &[(Timestamp, Timestamp)],
    created_by: Option<&str>,
) -> Result<Vec<(usize, JobStatus, u64)>, StoreError> {
    let mut params: Vec<Value> = Vec::new();
    let mut param = |value: Value| {
        params.push(value);
        format!("${}", params.len())
    };
    // An expression, so that no index of owners is read: it has all their jobs of all time.
    let owner = created_by.map(|user| format!(" AND created_by || '' = {}", param(user.into())));
    let owner = owner.unwrap_or_default();
    let mut parts = Vec::new();
    for (index, (from, to)) in times.iter().enumerate() {
        let (from, to) = (param((*from).into()), param((*to).into()));
        parts.push(format!(
            "SELECT CAST({index} AS BIGINT), status, CAST(count(*) AS BIGINT) FROM jobs
             WHERE finished_at >= {from} AND finished_at < {to} AND kind = 'apply'{owner} GROUP BY status"
        ));
    }
    let sql = parts.join(" UNION ALL ");
    read_all(tx.query(&Statement::composed(sql), &params)?, |row| {
        let index: u64 = row.take()?;
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        Ok((index, row.take()?, row.take()?))
    })
}

/// Returns the jobs that failed at `since` or later, the latest first.
pub fn failed_since(
    tx: &mut dyn Tx,
    since: Timestamp,
    created_by: Option<&str>,
    limit: u64,
) -> Result<Vec<Job>, StoreError> {
    let mut params: Vec<Value> = vec![since.into(), limit.into()];
    let mut owner = "";
    if let Some(user) = created_by {
        params.push(user.into());
        owner = " AND created_by || '' = $3";
    }
    let columns = job_columns!();
    // The `|| ''` keeps the planner from using the indexes of the status and of the user.
    let sql = format!(
        "SELECT {columns} FROM jobs WHERE finished_at >= $1 AND status || '' = 'FAILED' AND kind = 'apply'{owner}
         ORDER BY finished_at DESC LIMIT $2"
    );
    read_all(tx.query(&Statement::composed(sql), &params)?, job_of_row)
}

/// Counts the user's jobs that are QUEUED and those that are RUNNING.
pub fn count_unfinished_of(
    tx: &mut dyn Tx,
    created_by: &str,
) -> Result<Vec<(JobStatus, u64)>, StoreError> {
    static COUNT: Statement = Statement::new(
        "SELECT 'QUEUED', CAST(count(*) AS BIGINT) FROM jobs WHERE held IN (0, 1) AND status = 'QUEUED' AND created_by || '' = $1
         UNION ALL SELECT 'RUNNING', CAST(count(*) AS BIGINT) FROM jobs WHERE status = 'RUNNING' AND created_by || '' = $1",
    );
    read_all(tx.query(&COUNT, &[created_by.into()])?, |row| {
        Ok((row.take()?, row.take()?))
    })
}

/// Returns the last step that each of these jobs has announced: its number and its name.
pub fn last_steps(
    tx: &mut dyn Tx,
    ids: &[&str],
) -> Result<HashMap<String, (u64, String)>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let params: Vec<Value> = ids.iter().map(|id| Value::from(*id)).collect();
    let numbers: Vec<String> = (1..=ids.len()).map(|n| format!("${n}")).collect();
    let sql = format!(
        "SELECT job_id, number, name FROM job_steps WHERE job_id IN ({}) ORDER BY job_id, number",
        numbers.join(", ")
    );
    let rows = tx.query(&Statement::composed(sql), &params)?;
    let step = |row: &mut Row| Ok((row.take()?, (row.take()?, row.take()?)));
    // Of each job, the last one stays.
    Ok(read_all(rows, step)?.into_iter().collect())
}
