//! Queries for runs and their jobs.

use super::record::{Run, RunCounts, RunStatus, run_columns, run_of_row};
use crate::clock::Timestamp;
use crate::store::job::{Holds, JobStatus, id_of_time};
use crate::store::{Row, Statement, StoreError, Tx, Value, read_all, values};

macro_rules! select_runs {
    ($rest:literal) => {
        Statement::new(concat!("SELECT ", run_columns!(), " FROM runs ", $rest))
    };
}

static FIND: Statement = select_runs!("WHERE id = $1");
static FIND_LOCKED: Statement = select_runs!("WHERE id = $1 /* for update */");
static UNFINISHED: Statement =
    Statement::new("SELECT id FROM runs WHERE status IN ('RUNNING', 'PAUSED') ORDER BY id");
static LOCK_OF_JOB: Statement = Statement::new(
    "SELECT id FROM runs WHERE id = (SELECT run_id FROM jobs WHERE id = $1) /* for update */",
);
static LOCK_OF_NODE: Statement = Statement::new(
    "SELECT id FROM runs WHERE id IN (SELECT run_id FROM jobs WHERE node_id = $1 AND status = 'QUEUED' AND run_id IS NOT NULL)
     ORDER BY id /* for update */",
);
static LAST_OF_SCHEDULE: Statement =
    select_runs!("WHERE schedule_id = $1 ORDER BY id DESC LIMIT 1");
static WAITING_FOR: Statement = Statement::new(
    "SELECT id FROM runs WHERE after_run = $1 AND status IN ('RUNNING', 'PAUSED') ORDER BY id",
);
static NEXT_RELEASE: Statement = Statement::new(
    "SELECT min(release_at) FROM runs WHERE status = 'RUNNING' AND release_at IS NOT NULL",
);
static COUNTS: Statement = Statement::new(include_str!("../sql/run_counts.sql"));
static PROGRESS: Statement = Statement::new(include_str!("../sql/run_progress.sql"));
static QUEUED_NODES: Statement = Statement::new(
    "SELECT node_id FROM jobs WHERE run_id = $1 AND batch = $2 AND status = 'QUEUED' ORDER BY id",
);
static JOBS: Statement = Statement::new(include_str!("../sql/run_jobs.sql"));

fn one(
    tx: &mut dyn Tx,
    statement: &Statement,
    params: &[Value],
) -> Result<Option<Run>, StoreError> {
    tx.query_one(statement, params)?
        .map(|mut row| run_of_row(&mut row))
        .transpose()
}

/// Returns the run with this id.
pub fn find(tx: &mut dyn Tx, id: &str) -> Result<Option<Run>, StoreError> {
    one(tx, &FIND, values![id])
}

/// Returns the run with this id and locks its row until the transaction ends. A transaction locks
/// runs before jobs, so that no two wait for each other.
pub fn find_locked(tx: &mut dyn Tx, id: &str) -> Result<Option<Run>, StoreError> {
    one(tx, &FIND_LOCKED, values![id])
}

/// Locks the run of a job that is about to end, if it has one. If the job were locked first, this
/// end would wait for a transaction that has locked the run and waits for the job: one that cancels
/// the run's jobs, or stops the run and has read the job before its claim. The order of the jobs
/// among themselves does not matter, because a claim skips locked jobs and waits for none.
pub fn lock_of_job(tx: &mut dyn Tx, job_id: &str) -> Result<(), StoreError> {
    if tx.is_shared() {
        tx.query(&LOCK_OF_JOB, values![job_id])?;
    }
    Ok(())
}

/// Locks the runs with QUEUED jobs on a node, and returns their ids.
pub fn lock_of_node(tx: &mut dyn Tx, node_id: &str) -> Result<Vec<String>, StoreError> {
    read_all(tx.query(&LOCK_OF_NODE, values![node_id])?, Row::take)
}

/// Returns the ids of the runs that have not ended.
pub fn unfinished(tx: &mut dyn Tx) -> Result<Vec<String>, StoreError> {
    read_all(tx.query(&UNFINISHED, &[])?, Row::take)
}

/// Returns the newest run of a schedule.
pub fn last_of_schedule(tx: &mut dyn Tx, schedule_id: &str) -> Result<Option<Run>, StoreError> {
    one(tx, &LAST_OF_SCHEDULE, values![schedule_id])
}

/// Returns the ids of the unfinished runs that begin when this run ends.
pub fn waiting_for(tx: &mut dyn Tx, id: &str) -> Result<Vec<String>, StoreError> {
    read_all(tx.query(&WAITING_FOR, values![id])?, Row::take)
}

/// When the next batch of any run is due.
pub fn next_release(tx: &mut dyn Tx) -> Result<Option<Timestamp>, StoreError> {
    tx.query_one(&NEXT_RELEASE, &[])?
        .map_or(Ok(None), |mut row| row.take())
}

/// Conditions for a list of runs.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    pub created_by: Option<String>,
    /// Any status if empty.
    pub statuses: Vec<RunStatus>,
    pub preset: Option<String>,
    /// The schedule that made it.
    pub schedule_id: Option<String>,
    /// Only runs that a user with this email queued, in lower case.
    pub by: Option<String>,
    /// Only runs that were queued at this time or later.
    pub since: Option<Timestamp>,
    /// Only runs older than the run with this id.
    pub before: Option<String>,
}

/// Returns up to `limit` runs that match `filter`, newest first.
pub fn list(tx: &mut dyn Tx, filter: &RunFilter, limit: u64) -> Result<Vec<Run>, StoreError> {
    let mut params: Vec<Value> = Vec::new();
    let mut conditions = String::new();
    let mut condition = |comparison: &str, value: Value| {
        params.push(value);
        conditions.push_str(&format!(" AND {comparison} ${}", params.len()));
    };
    if let Some(user) = &filter.created_by {
        condition("created_by =", user.into());
    }
    if let Some(preset) = &filter.preset {
        condition("preset =", preset.into());
    }
    if let Some(schedule) = &filter.schedule_id {
        condition("schedule_id =", schedule.into());
    }
    if let Some(email) = &filter.by {
        condition("lower(created_by_email) =", email.into());
    }
    if let Some(since) = filter.since {
        condition("id >=", id_of_time(since).into());
        condition("created_at >=", since.into());
    }
    if let Some(id) = &filter.before {
        condition("id <", id.into());
    }
    if !filter.statuses.is_empty() {
        let names: Vec<String> = filter
            .statuses
            .iter()
            .map(|status| format!("'{status}'"))
            .collect();
        conditions.push_str(&format!(" AND status IN ({})", names.join(", ")));
    }
    params.push(limit.into());
    let columns = run_columns!();
    let sql = format!(
        "SELECT {columns} FROM runs WHERE 1 = 1{conditions} ORDER BY id DESC LIMIT ${}",
        params.len()
    );
    read_all(tx.query(&Statement::composed(sql), &params)?, run_of_row)
}

/// Counts the jobs of a run by state.
pub fn counts(tx: &mut dyn Tx, id: &str) -> Result<RunCounts, StoreError> {
    let mut counts = RunCounts::default();
    for mut row in tx.query(&COUNTS, values![id])? {
        let (kind, count): (String, u64) = (row.take()?, row.take()?);
        match kind.as_str() {
            "held" => counts.held = count,
            "queued" => counts.queued = count,
            "running" => counts.running = count,
            "succeeded" => counts.succeeded = count,
            "failed" => counts.failed += count,
            "cancelled" => counts.cancelled = count,
            "skipped" => counts.skipped = count,
            _ => {}
        }
    }
    Ok(counts)
}

/// How far a run has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunProgress {
    /// FAILED and expired jobs.
    pub failures: u64,
    /// A job of a released batch is QUEUED or RUNNING.
    pub is_batch_open: bool,
    /// Any job is QUEUED or RUNNING.
    pub is_open: bool,
    /// Any job is SUCCEEDED.
    pub has_success: bool,
}

/// Reads how far a run has got, whose batches up to `released` are released.
pub fn progress(tx: &mut dyn Tx, id: &str, released: i64) -> Result<RunProgress, StoreError> {
    let mut rows = tx.query(&PROGRESS, values![id, released])?;
    let mut row = rows.pop().expect("a SELECT without FROM returns a row");
    Ok(RunProgress {
        failures: row.take()?,
        is_batch_open: row.take()?,
        is_open: row.take()?,
        has_success: row.take()?,
    })
}

/// Returns the nodes of the QUEUED jobs of a batch.
pub fn queued_nodes(tx: &mut dyn Tx, id: &str, batch: i64) -> Result<Vec<String>, StoreError> {
    read_all(tx.query(&QUEUED_NODES, values![id, batch])?, Row::take)
}

/// A job of a run, as far as the run's page shows it.
#[derive(Debug, Clone)]
pub struct RunJob {
    pub id: String,
    pub node_id: String,
    pub batch: u64,
    pub status: JobStatus,
    pub exit_code: Option<i64>,
    pub error_msg: Option<String>,
    /// The last announced step, such as `2/5 Set the SSH port`.
    pub step: Option<String>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub holds: Holds,
    pub not_before: Option<Timestamp>,
    pub run_paused_at: Option<Timestamp>,
    pub created_at: Timestamp,
    /// Until when the job waits for a confirmation.
    pub confirm_by: Option<Timestamp>,
}

/// Returns the jobs of a run, in the order of their batches and nodes.
pub fn jobs(tx: &mut dyn Tx, id: &str) -> Result<Vec<RunJob>, StoreError> {
    read_all(tx.query(&JOBS, values![id])?, |row| {
        Ok(RunJob {
            id: row.take()?,
            node_id: row.take()?,
            batch: row.take()?,
            status: row.take()?,
            exit_code: row.take()?,
            error_msg: row.take()?,
            step: row.take()?,
            started_at: row.take_typed_time()?,
            finished_at: row.take_typed_time()?,
            holds: row.take()?,
            not_before: row.take_typed_time()?,
            run_paused_at: row.take_typed_time()?,
            created_at: row.take()?,
            confirm_by: row.take_typed_time()?,
        })
    })
}
