//! Statements that change a run or the jobs of one.

use super::record::{Run, RunStatus};
use crate::clock::Timestamp;
use crate::store::job::{Job, JobKind, PresetSource, job_columns, job_of_row};
use crate::store::{Row, Statement, StoreError, Tx, read_all, values};

/// A statement from a file that returns the changed jobs.
macro_rules! returning_job {
    ($file:literal) => {
        Statement::new(concat!(include_str!($file), "\nRETURNING ", job_columns!()))
    };
}

static INSERT: Statement = Statement::new(include_str!("../sql/run_insert.sql"));
static INSERT_JOBS: Statement = Statement::new(include_str!("../sql/run_insert_jobs.sql"));
static INSERT_JOBS_SHARED: Statement =
    Statement::new(include_str!("../sql/run_insert_jobs.postgres.sql"));
static PAUSE: Statement = Statement::new(include_str!("../sql/run_pause.sql"));
static RESUME: Statement = Statement::new(include_str!("../sql/run_resume.sql"));
static RELEASE: Statement = Statement::new(include_str!("../sql/run_release.sql"));
static CANCEL_QUEUED: Statement = returning_job!("../sql/run_cancel_queued.sql");
static SKIP: Statement = returning_job!("../sql/run_skip.sql");
static SKIP_SHARED: Statement = returning_job!("../sql/run_skip.postgres.sql");
static CANCEL_RUNNING: Statement = Statement::new(include_str!("../sql/run_cancel_running.sql"));
static SET_RELEASE_AT: Statement = Statement::new("UPDATE runs SET release_at = $2 WHERE id = $1");
static SET_RELEASED: Statement =
    Statement::new("UPDATE runs SET released_batch = $2, release_at = NULL WHERE id = $1");
static SET_STATUS: Statement = Statement::new("UPDATE runs SET status = $2 WHERE id = $1");
static SET_STOPPED: Statement = Statement::new(
    "UPDATE runs SET stopped_because = $2, release_at = NULL WHERE id = $1 AND stopped_because IS NULL",
);
static SET_CANCELLED: Statement =
    Statement::new("UPDATE runs SET cancelled_at = coalesce(cancelled_at, $2) WHERE id = $1");
static FINISH: Statement = Statement::new(
    "UPDATE runs SET status = $2, release_at = NULL, finished_at = CASE WHEN $3 < created_at THEN created_at ELSE $3 END WHERE id = $1",
);
static PRUNE: Statement = Statement::new(include_str!("../sql/run_prune.sql"));

/// The values of a new run.
#[derive(Debug, Clone)]
pub struct NewRun {
    pub id: String,
    pub preset: String,
    /// The parameters used, as a JSON object.
    pub params: String,
    pub kind: JobKind,
    pub selector: Option<String>,
    /// The plan, as a JSON object.
    pub plan: String,
    pub if_offline: &'static str,
    pub node_count: u64,
    /// The batch that is released at once; -1 if no batch is.
    pub released_batch: i64,
    /// When batch 0 is released, if not at once.
    pub release_at: Option<Timestamp>,
    pub not_before: Option<Timestamp>,
    pub batches: u64,
    pub expires_in_seconds: Option<i64>,
    pub timeout_seconds: u64,
    pub created_by: String,
    pub created_by_email: String,
    pub created_at: Timestamp,
    pub retry_of: Option<String>,
    pub schedule_id: Option<String>,
    /// The run that must end before this one begins.
    pub after_run: Option<String>,
    /// Of its jobs.
    pub preset_source: PresetSource,
}

/// Inserts a RUNNING run.
pub fn insert(tx: &mut dyn Tx, run: &NewRun) -> Result<(), StoreError> {
    let params = values![
        &run.id,
        &run.preset,
        &run.params,
        run.kind,
        run.selector.clone(),
        &run.plan,
        run.if_offline,
        run.node_count,
        run.released_batch,
        run.release_at,
        run.batches,
        run.expires_in_seconds,
        run.timeout_seconds,
        run.not_before,
        &run.created_by,
        &run.created_by_email,
        run.created_at,
        run.retry_of.clone(),
        run.schedule_id.clone(),
        run.after_run.clone(),
    ];
    tx.execute(&INSERT, params).map(|_| ())
}

/// Inserts the jobs of a run, in one statement: `jobs` is the JSON list of their ids, nodes and
/// batches. Batches after the released one are held.
pub fn insert_jobs(
    tx: &mut dyn Tx,
    run: &NewRun,
    jobs: &str,
    script_sha256: &str,
    expires_at: Option<Timestamp>,
) -> Result<(), StoreError> {
    let insert = if tx.is_shared() {
        &INSERT_JOBS_SHARED
    } else {
        &INSERT_JOBS
    };
    let params = values![
        jobs,
        &run.id,
        script_sha256,
        run.released_batch,
        expires_at,
        run.preset_source.version,
        run.preset_source.commit.clone(),
    ];
    tx.execute(insert, params).map(|_| ())
}

fn changed(row: &mut Row) -> Result<(String, String), StoreError> {
    Ok((row.take()?, row.take()?))
}

/// Releases a batch: its jobs can be claimed. Returns their ids and nodes.
pub fn release(
    tx: &mut dyn Tx,
    id: &str,
    batch: i64,
    expires_at: Option<Timestamp>,
) -> Result<Vec<(String, String)>, StoreError> {
    tx.execute(&SET_RELEASED, values![id, batch])?;
    read_all(tx.query(&RELEASE, values![id, batch, expires_at])?, changed)
}

/// Holds every job that is not released until the run is resumed. Returns these jobs' ids.
pub fn hold_for_pause(
    tx: &mut dyn Tx,
    id: &str,
    now: Timestamp,
) -> Result<Vec<String>, StoreError> {
    read_all(tx.query(&PAUSE, values![id, now])?, Row::take)
}

/// Removes the holds of [`hold_for_pause`], and returns their jobs' ids.
pub fn release_from_pause(tx: &mut dyn Tx, id: &str) -> Result<Vec<String>, StoreError> {
    read_all(tx.query(&RESUME, values![id])?, Row::take)
}

/// Cancels every QUEUED job of a run, and returns them.
pub fn cancel_queued(
    tx: &mut dyn Tx,
    id: &str,
    now: Timestamp,
    why: Option<&str>,
) -> Result<Vec<Job>, StoreError> {
    let why = why.map(str::to_owned);
    read_all(tx.query(&CANCEL_QUEUED, values![id, now, why])?, job_of_row)
}

/// Cancels the QUEUED jobs of a batch on these nodes, which are offline, and returns them.
pub fn skip_nodes(
    tx: &mut dyn Tx,
    id: &str,
    batch: i64,
    now: Timestamp,
    offline: &[String],
) -> Result<Vec<Job>, StoreError> {
    let skip = if tx.is_shared() { &SKIP_SHARED } else { &SKIP };
    let offline = serde_json::Value::from(offline).to_string();
    read_all(
        tx.query(skip, values![id, batch, now, offline])?,
        job_of_row,
    )
}

/// Records that the scripts of a run's RUNNING jobs must be stopped. Returns the jobs' ids and
/// nodes.
pub fn request_cancel(
    tx: &mut dyn Tx,
    id: &str,
    now: Timestamp,
) -> Result<Vec<(String, String)>, StoreError> {
    read_all(tx.query(&CANCEL_RUNNING, values![id, now])?, changed)
}

/// Sets when the next batch is released.
pub fn set_release_at(tx: &mut dyn Tx, id: &str, at: Timestamp) -> Result<(), StoreError> {
    tx.execute(&SET_RELEASE_AT, values![id, at]).map(|_| ())
}

/// Sets the status of a run that goes on.
pub fn set_status(tx: &mut dyn Tx, id: &str, status: RunStatus) -> Result<(), StoreError> {
    tx.execute(&SET_STATUS, values![id, status]).map(|_| ())
}

/// Records why no further job is started. The first reason stays.
pub fn set_stopped(tx: &mut dyn Tx, id: &str, because: &str) -> Result<(), StoreError> {
    tx.execute(&SET_STOPPED, values![id, because]).map(|_| ())
}

/// Records that a person cancelled the run.
pub fn set_cancelled(tx: &mut dyn Tx, id: &str, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(&SET_CANCELLED, values![id, now]).map(|_| ())
}

/// Ends a run.
pub fn finish(
    tx: &mut dyn Tx,
    run: &Run,
    status: RunStatus,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(&FINISH, values![&run.id, status, now])
        .map(|_| ())
}

/// Deletes up to a hundred runs that ended before `before` and have no jobs left. Returns their
/// ids.
pub fn prune(tx: &mut dyn Tx, before: Timestamp) -> Result<Vec<String>, StoreError> {
    read_all(tx.query(&PRUNE, values![before])?, Row::take)
}
