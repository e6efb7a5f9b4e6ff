//! Queries for jobs.

use super::record::{Job, JobStatus, job_columns, job_of_row};
use crate::clock::Timestamp;
use crate::store::{Row, Statement, StoreError, Tx, read_all, values};

macro_rules! select_jobs {
    ($rest:literal) => {
        Statement::new(concat!("SELECT ", job_columns!(), " FROM jobs ", $rest))
    };
}

static FIND: Statement = select_jobs!("WHERE id = $1");
static FIND_LOCKED: Statement = select_jobs!("WHERE id = $1 /* for update */");
static OF_RUN: Statement = select_jobs!("WHERE run_id = $1 ORDER BY batch, id");
static SCRIPT: Statement = Statement::new(concat!(
    "SELECT ",
    include_str!("../sql/job_script.sql"),
    " FROM jobs WHERE id = $1"
));
static RUNNING_ON: Statement =
    select_jobs!("WHERE node_id = $1 AND status = 'RUNNING' ORDER BY id");
static RUNNING: Statement = Statement::new(include_str!("../sql/job_running.sql"));
static RUNNING_SINCE: Statement = Statement::new(include_str!("../sql/job_running_since.sql"));
static RUNS_WITH_EXPIRED: Statement = Statement::new(
    "SELECT DISTINCT run_id FROM jobs
     WHERE status = 'QUEUED' AND expires_at IS NOT NULL AND expires_at <= $1 AND run_id IS NOT NULL",
);
static NEXT_DUE: Statement = Statement::new(include_str!("../sql/job_next_due.sql"));
static WITH_WORK: Statement = Statement::new(include_str!("../sql/job_with_work.sql"));
static RECENT_WORK: Statement = Statement::new(include_str!("../sql/job_recent.postgres.sql"));
static STILL_RUNNING: Statement =
    Statement::new("SELECT id, node_id, claimed_by FROM jobs WHERE still_running = 1 ORDER BY id");
static STILL_RUNNING_ON: Statement = Statement::new(
    "SELECT id, claimed_by FROM jobs WHERE node_id = $1 AND still_running = 1 ORDER BY id LIMIT 1",
);
static COUNT_QUEUED: Statement = Statement::new(include_str!("../sql/job_count_queued.sql"));
static COUNT_QUEUED_ON: Statement = Statement::new(
    "SELECT CAST(count(*) AS BIGINT) FROM jobs WHERE held IN (0, 1) AND node_id = $1 AND status = 'QUEUED'",
);
static COUNT_UNFINISHED: Statement =
    Statement::new(include_str!("../sql/job_count_unfinished.sql"));
static OLDEST_CLAIMABLE: Statement = Statement::new(
    "SELECT min(created_at) FROM jobs WHERE held = 0 AND status = 'QUEUED'
     AND node_id NOT IN (SELECT id FROM nodes WHERE paused = 1)",
);
static UNFINISHED: Statement =
    select_jobs!("WHERE status = 'QUEUED' OR status = 'RUNNING' ORDER BY id");
static FINISHED_SINCE: Statement =
    select_jobs!("WHERE finished_at >= $1 ORDER BY finished_at DESC LIMIT 5000");

/// Returns the job with this id.
pub fn find(tx: &mut dyn Tx, id: &str) -> Result<Option<Job>, StoreError> {
    tx.query_one(&FIND, values![id])?
        .map(|mut row| job_of_row(&mut row))
        .transpose()
}

/// Returns the job with this id and locks its row until the transaction ends.
pub fn find_locked(tx: &mut dyn Tx, id: &str) -> Result<Option<Job>, StoreError> {
    tx.query_one(&FIND_LOCKED, values![id])?
        .map(|mut row| job_of_row(&mut row))
        .transpose()
}

/// Returns the jobs of a run, in the order of their batches.
pub fn list_of_run(tx: &mut dyn Tx, run_id: &str) -> Result<Vec<Job>, StoreError> {
    read_all(tx.query(&OF_RUN, values![run_id])?, job_of_row)
}

/// Returns the frozen script of a job; empty if the job does not exist.
pub fn script(tx: &mut dyn Tx, id: &str) -> Result<String, StoreError> {
    tx.query_one(&SCRIPT, values![id])?
        .map_or(Ok(String::new()), |mut row| row.take())
}

/// Returns the RUNNING jobs of a node, oldest first.
pub fn running_on(tx: &mut dyn Tx, node_id: &str) -> Result<Vec<Job>, StoreError> {
    read_all(tx.query(&RUNNING_ON, values![node_id])?, job_of_row)
}

/// Returns every RUNNING job's id, its node and the agent instance that claimed it.
pub fn running(tx: &mut dyn Tx) -> Result<Vec<(String, String, Option<String>)>, StoreError> {
    read_all(tx.query(&RUNNING, &[])?, |row| {
        Ok((row.take()?, row.take()?, row.take()?))
    })
}

/// A RUNNING job with what decides how long it may run.
#[derive(Debug, Clone)]
pub struct RunningJob {
    pub id: String,
    pub node_id: String,
    /// The agent instance that claimed the job.
    pub instance: Option<String>,
    pub timeout_seconds: u64,
    /// How long the job waits for a confirmation, once it does.
    pub confirm_seconds: u64,
    /// Milliseconds since the claim, by the clock that counts for the database.
    pub ran_ms: i64,
}

/// Returns every RUNNING job.
pub fn running_since(tx: &mut dyn Tx, now: Timestamp) -> Result<Vec<RunningJob>, StoreError> {
    let is_shared = tx.is_shared();
    read_all(tx.query(&RUNNING_SINCE, &[])?, |row| {
        let (id, node_id, instance) = (row.take()?, row.take()?, row.take()?);
        let (timeout_seconds, confirm_seconds) = (row.take()?, row.take()?);
        let (started_at, database_now) = (row.take_typed_time()?, row.take_typed_time()?);
        // SQLite's clock is the machine's, but CURRENT_TIMESTAMP has only whole seconds.
        let now = database_now.filter(|_| is_shared).unwrap_or(now);
        Ok(RunningJob {
            id,
            node_id,
            instance,
            timeout_seconds,
            confirm_seconds,
            ran_ms: started_at.map_or(0, |started_at| now.millis_since(started_at)),
        })
    })
}

/// Returns the runs that may have QUEUED jobs whose expiry has passed at `now`.
pub fn runs_with_expired(tx: &mut dyn Tx, now: Timestamp) -> Result<Vec<String>, StoreError> {
    read_all(tx.query(&RUNS_WITH_EXPIRED, values![now])?, Row::take)
}

/// Returns the earliest time at which a hold ends or a job expires.
pub fn next_due(tx: &mut dyn Tx) -> Result<Option<Timestamp>, StoreError> {
    tx.query_one(&NEXT_DUE, &[])?
        .map_or(Ok(None), |mut row| row.take_typed_time())
}

/// Returns the jobs that have ended here although their script still runs: the job's id, its node
/// and the agent instance that claimed it.
pub fn still_running(tx: &mut dyn Tx) -> Result<Vec<(String, String, Option<String>)>, StoreError> {
    read_all(tx.query(&STILL_RUNNING, &[])?, |row| {
        Ok((row.take()?, row.take()?, row.take()?))
    })
}

/// Like [`still_running`] for one node: the job's id and the agent instance that claimed it.
pub fn still_running_on(
    tx: &mut dyn Tx,
    node_id: &str,
) -> Result<Option<(String, Option<String>)>, StoreError> {
    tx.query_one(&STILL_RUNNING_ON, values![node_id])?
        .map(|mut row| Ok((row.take()?, row.take()?)))
        .transpose()
}

/// Returns every job that has not ended, oldest first.
pub fn unfinished(tx: &mut dyn Tx) -> Result<Vec<Job>, StoreError> {
    read_all(tx.query(&UNFINISHED, &[])?, job_of_row)
}

/// Returns the last 5,000 jobs that ended at `since` or later, the latest first.
pub fn finished_since(tx: &mut dyn Tx, since: Timestamp) -> Result<Vec<Job>, StoreError> {
    read_all(tx.query(&FINISHED_SINCE, values![since])?, job_of_row)
}

/// A recent change that waiting polls may have missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentWork {
    /// The node with a job, a cancel or a claim.
    pub node_id: String,
    /// The claimed job, if the change is a claim: each claim needs only one wake-up.
    pub claimed: Option<String>,
}

/// Returns jobs that were queued or cancelled within the last minute, and jobs that were claimed
/// within the last half minute. Another server may have been killed before it could announce these
/// changes. Only on a database with [`Tx::is_shared`].
pub fn recent_work(tx: &mut dyn Tx) -> Result<Vec<RecentWork>, StoreError> {
    read_all(tx.query(&RECENT_WORK, &[])?, |row| {
        Ok(RecentWork {
            node_id: row.take()?,
            claimed: row.take()?,
        })
    })
}

/// Returns the nodes with a job that can be claimed, or a cancel for their agent.
pub fn nodes_with_work(tx: &mut dyn Tx) -> Result<Vec<String>, StoreError> {
    read_all(tx.query(&WITH_WORK, &[])?, Row::take)
}

/// Counts QUEUED jobs by node. Nodes without QUEUED jobs are left out.
pub fn count_queued(tx: &mut dyn Tx) -> Result<Vec<(String, u64)>, StoreError> {
    read_all(tx.query(&COUNT_QUEUED, &[])?, |row| {
        Ok((row.take()?, row.take()?))
    })
}

/// Counts the QUEUED jobs of a node.
pub fn count_queued_on(tx: &mut dyn Tx, node_id: &str) -> Result<u64, StoreError> {
    tx.query_one(&COUNT_QUEUED_ON, values![node_id])?
        .map_or(Ok(0), |mut row| row.take())
}

/// Counts the jobs that are QUEUED and those that are RUNNING.
pub fn count_unfinished(tx: &mut dyn Tx) -> Result<Vec<(JobStatus, u64)>, StoreError> {
    read_all(tx.query(&COUNT_UNFINISHED, &[])?, |row| {
        Ok((row.take()?, row.take()?))
    })
}

/// When the oldest job was queued that an agent could claim. An expired job counts until the server
/// cancels it, a moment later.
pub fn oldest_claimable(tx: &mut dyn Tx) -> Result<Option<Timestamp>, StoreError> {
    tx.query_one(&OLDEST_CLAIMABLE, values![])?
        .map_or(Ok(None), |mut row| row.take())
}

static SIGNATURES: Statement = Statement::new(
    "SELECT envelope, signature, person_signature, standing_id FROM jobs WHERE id = $1",
);

/// What was signed about a job, and the signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSignatures {
    pub envelope: Option<String>,
    pub signature: Option<String>,
    pub person_signature: Option<String>,
    /// The standing envelope that covers the job.
    pub standing_id: Option<String>,
}

static WAITING_FOR_SIGNATURE: Statement =
    Statement::new(include_str!("../sql/job_waiting_for_signature.sql"));

/// A job of a schedule with the hold `signature`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobToSign {
    pub id: String,
    pub node_id: String,
    pub preset: String,
    pub script_sha256: String,
}

/// The jobs of a schedule with the hold `signature`, oldest first.
pub fn waiting_for_signature(
    tx: &mut dyn Tx,
    schedule_id: &str,
) -> Result<Vec<JobToSign>, StoreError> {
    let rows = tx.query(&WAITING_FOR_SIGNATURE, values![schedule_id])?;
    read_all(rows, |row| {
        Ok(JobToSign {
            id: row.take()?,
            node_id: row.take()?,
            preset: row.take()?,
            script_sha256: row.take()?,
        })
    })
}

/// A job's envelope and signatures; `None` if the job does not exist.
pub fn signatures(tx: &mut dyn Tx, id: &str) -> Result<Option<StoredSignatures>, StoreError> {
    let Some(mut row) = tx.query_one(&SIGNATURES, values![id])? else {
        return Ok(None);
    };
    Ok(Some(StoredSignatures {
        envelope: row.take()?,
        signature: row.take()?,
        person_signature: row.take()?,
        standing_id: row.take()?,
    }))
}
