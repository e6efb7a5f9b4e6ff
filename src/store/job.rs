//! Jobs: the record, and each statement that reads or changes one.

use std::fmt;

use hyprbox_protocol::PerStream;
use serde::{Deserialize, Serialize};

use super::tx::{FromValue, Row, Statement, Tx, Value, read_all};
use super::{StoreError, values};
use crate::clock::Timestamp;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum JobStatus {
    /// Waits for its node's agent.
    Queued,
    /// An agent has claimed it.
    Running,
    /// The script ended with 0.
    Succeeded,
    /// The script ended with another code, or could not be brought to its end.
    Failed,
    /// A person called it off.
    Cancelled,
}

impl JobStatus {
    /// The name on the wire and in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            JobStatus::Queued => "QUEUED",
            JobStatus::Running => "RUNNING",
            JobStatus::Succeeded => "SUCCEEDED",
            JobStatus::Failed => "FAILED",
            JobStatus::Cancelled => "CANCELLED",
        }
    }

    /// The status of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [
            Self::Queued,
            Self::Running,
            Self::Succeeded,
            Self::Failed,
            Self::Cancelled,
        ]
        .into_iter()
        .find(|status| status.as_str() == name)
    }

    /// Whether it never changes again (but for a job that the lease failed).
    pub fn is_terminal(self) -> bool {
        match self {
            JobStatus::Queued | JobStatus::Running => false,
            JobStatus::Succeeded | JobStatus::Failed | JobStatus::Cancelled => true,
        }
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromValue for JobStatus {
    fn from_value(value: Value) -> Option<Self> {
        String::from_value(value).and_then(|name| Self::parse(&name))
    }
}

impl From<JobStatus> for Value {
    fn from(status: JobStatus) -> Self {
        Value::from(status.as_str())
    }
}

/// How much of one stream there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// All bytes that were produced: the offset of the next one.
    pub bytes: u64,
    /// Of these, bytes that are not kept.
    pub dropped: u64,
    /// The offset of the first kept byte.
    pub start: u64,
    /// Whether its last line has no end yet.
    pub is_open: bool,
    /// Rows that hold what is kept.
    pub rows: u64,
}

/// A job without its script and output.
#[derive(Debug, Clone)]
pub struct Job {
    /// UUIDv7.
    pub id: String,
    /// Where it stands.
    pub status: JobStatus,
    /// The preset's name.
    pub preset: String,
    /// The node's id.
    pub node_id: String,
    /// The user's id.
    pub created_by: String,
    /// The user's email when it was queued.
    pub created_by_email: String,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When it was claimed.
    pub started_at: Option<Timestamp>,
    /// When it reached a terminal state.
    pub finished_at: Option<Timestamp>,
    /// Bash's exit code.
    pub exit_code: Option<i64>,
    /// The signal that ended bash.
    pub signal: Option<String>,
    /// Why it failed, where the exit code doesn't say.
    pub error_msg: Option<String>,
    /// How long the script may run.
    pub timeout_seconds: u64,
    /// When a person asked to cancel it while it ran.
    pub cancel_requested_at: Option<Timestamp>,
    /// When it was completed after the lease had failed it.
    pub recovered_at: Option<Timestamp>,
    /// When the lease failed it.
    pub lost_at: Option<Timestamp>,
    /// The agent instance of its claim.
    pub claimed_by: Option<String>,
    /// It has ended here, but its agent reports that the script runs on.
    pub still_running: bool,
    /// SHA-256 of the completion that was taken.
    pub complete_digest: Option<Vec<u8>>,
    /// SHA-256 of the script, hex.
    pub script_sha256: String,
    /// Bash's process on the node, once its agent has told it.
    pub pid: Option<u64>,
    /// Lines of both streams that have begun; `None` where they were not counted from the start.
    pub lines: Option<u64>,
    /// Bytes of both streams that arrived.
    pub position: u64,
    /// What there is of stdout.
    pub stdout: StreamCounts,
    /// What there is of stderr.
    pub stderr: StreamCounts,
    /// When output last arrived.
    pub last_output_at: Option<Timestamp>,
    /// JSON object of the params used.
    pub params: String,
}

impl Job {
    /// The counts of each stream.
    pub fn counts(&self) -> PerStream<StreamCounts> {
        PerStream::new(self.stdout, self.stderr)
    }
}

macro_rules! select_jobs {
    ($rest:literal) => {
        Statement::new(concat!(
            "SELECT ",
            include_str!("sql/job_columns.sql"),
            " FROM jobs ",
            $rest
        ))
    };
}

/// A statement that changes jobs and returns each changed one.
macro_rules! change_jobs {
    ($file:literal) => {
        Statement::new(concat!(
            include_str!($file),
            "RETURNING ",
            include_str!("sql/job_columns.sql")
        ))
    };
}

static INSERT: Statement = change_jobs!("sql/job_insert.sql");
static FIND: Statement = select_jobs!("WHERE id = $1");
static FIND_LOCKED: Statement = select_jobs!("WHERE id = $1 /* for update */");
static SCRIPT: Statement = Statement::new("SELECT script FROM jobs WHERE id = $1");
static RUNNING_ON: Statement =
    select_jobs!("WHERE node_id = $1 AND status = 'RUNNING' ORDER BY id");
static OF_PRESET: Statement = Statement::new("SELECT id FROM jobs WHERE preset = $1 LIMIT 1");
static RUNNING: Statement = Statement::new(include_str!("sql/job_running.sql"));
static CANCEL_QUEUED: Statement = change_jobs!("sql/job_cancel_queued.sql");
static CANCEL_RUNNING: Statement = change_jobs!("sql/job_cancel_running.sql");
static CANCEL_NODE: Statement = change_jobs!("sql/job_cancel_node.sql");
static FINISH: Statement = change_jobs!("sql/job_finish.sql");
static LOSE: Statement = change_jobs!("sql/job_lose.sql");
static LOSE_SHARED: Statement = change_jobs!("sql/job_lose.postgres.sql");
static WITH_WORK: Statement = Statement::new(include_str!("sql/job_with_work.sql"));
static RECENT: Statement = Statement::new(include_str!("sql/job_recent.postgres.sql"));
static STILL_RUNNING: Statement =
    Statement::new("SELECT id, node_id, claimed_by FROM jobs WHERE still_running = 1 ORDER BY id");
static STILL_RUNNING_ON: Statement = Statement::new(
    "SELECT id, claimed_by FROM jobs WHERE node_id = $1 AND still_running = 1 ORDER BY id LIMIT 1",
);
static SET_STILL_RUNNING: Statement =
    Statement::new("UPDATE jobs SET still_running = $2 WHERE id = $1");
static SET_PID: Statement = Statement::new("UPDATE jobs SET pid = $2 WHERE id = $1");
static COUNT_QUEUED: Statement = Statement::new(include_str!("sql/job_count_queued.sql"));
static COUNT_QUEUED_ON: Statement = Statement::new(
    "SELECT CAST(count(*) AS BIGINT) FROM jobs WHERE node_id = $1 AND status = 'QUEUED'",
);
static COUNT_UNFINISHED: Statement = Statement::new(include_str!("sql/job_count_unfinished.sql"));
static UNFINISHED: Statement =
    select_jobs!("WHERE status = 'QUEUED' OR status = 'RUNNING' ORDER BY id");
static FINISHED_SINCE: Statement =
    select_jobs!("WHERE finished_at >= $1 ORDER BY finished_at DESC LIMIT 5000");
static PRUNE: Statement = Statement::new(include_str!("sql/job_prune.sql"));
static PRUNE_SHARED: Statement = Statement::new(include_str!("sql/job_prune.postgres.sql"));

fn record(row: &mut Row) -> Result<Job, StoreError> {
    let counts = |row: &mut Row| {
        Ok::<_, StoreError>(StreamCounts {
            bytes: row.take()?,
            dropped: row.take()?,
            start: row.take()?,
            is_open: row.take()?,
            rows: row.take()?,
        })
    };
    Ok(Job {
        id: row.take()?,
        status: row.take()?,
        preset: row.take()?,
        node_id: row.take()?,
        created_by: row.take()?,
        created_by_email: row.take()?,
        created_at: row.take()?,
        started_at: row.take_typed_time()?,
        finished_at: row.take_typed_time()?,
        exit_code: row.take()?,
        signal: row.take()?,
        error_msg: row.take()?,
        timeout_seconds: row.take()?,
        cancel_requested_at: row.take_typed_time()?,
        recovered_at: row.take_typed_time()?,
        lost_at: row.take()?,
        claimed_by: row.take()?,
        still_running: row.take()?,
        complete_digest: row.take()?,
        script_sha256: row.take()?,
        pid: row.take()?,
        lines: row.take()?,
        position: row.take()?,
        stdout: counts(row)?,
        stderr: counts(row)?,
        last_output_at: row.take()?,
        params: row.take()?,
    })
}

/// What a new job is made of.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// UUIDv7.
    pub id: String,
    /// The preset's name.
    pub preset: String,
    /// The node's id.
    pub node_id: String,
    /// The user's id.
    pub created_by: String,
    /// The user's email.
    pub created_by_email: String,
    /// Now.
    pub created_at: Timestamp,
    /// How long the script may run.
    pub timeout_seconds: u64,
    /// SHA-256 of the script, hex.
    pub script_sha256: String,
    /// JSON object of the params used.
    pub params: String,
    /// What will run.
    pub script: String,
}

/// Runs a statement that changes at most one job; returns the job if it was changed.
fn change_one(
    tx: &mut dyn Tx,
    statement: &Statement,
    params: &[Value],
) -> Result<Option<Job>, StoreError> {
    tx.query_one(statement, params)?
        .map(|mut row| record(&mut row))
        .transpose()
}

/// Inserts a job, QUEUED, and returns it.
pub fn insert(tx: &mut dyn Tx, job: &NewJob) -> Result<Job, StoreError> {
    let inserted = change_one(
        tx,
        &INSERT,
        values![
            &job.id,
            &job.preset,
            &job.node_id,
            &job.created_by,
            &job.created_by_email,
            job.created_at,
            job.timeout_seconds,
            &job.script_sha256,
            &job.params,
            &job.script,
        ],
    )?;
    Ok(inserted.expect("an INSERT without a conflict clause returns its row"))
}

/// The job of that id.
pub fn find(tx: &mut dyn Tx, id: &str) -> Result<Option<Job>, StoreError> {
    tx.query_one(&FIND, values![id])?
        .map(|mut row| record(&mut row))
        .transpose()
}

/// The job of that id, for a transaction that changes it: nobody else does until that one ends.
pub fn find_locked(tx: &mut dyn Tx, id: &str) -> Result<Option<Job>, StoreError> {
    tx.query_one(&FIND_LOCKED, values![id])?
        .map(|mut row| record(&mut row))
        .transpose()
}

/// Writes down bash's process on the node.
pub fn set_pid(tx: &mut dyn Tx, id: &str, pid: u32) -> Result<(), StoreError> {
    tx.execute(&SET_PID, values![id, u64::from(pid)])
        .map(|_| ())
}

/// The frozen script of that job; empty where there is no such job.
pub fn script(tx: &mut dyn Tx, id: &str) -> Result<String, StoreError> {
    tx.query_one(&SCRIPT, values![id])?
        .map_or(Ok(String::new()), |mut row| row.take())
}

/// What a list of jobs is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Only this user's.
    pub created_by: Option<String>,
    /// Only this node's.
    pub node_id: Option<String>,
    /// Only these states; any where empty.
    pub statuses: Vec<JobStatus>,
    /// Only this preset's.
    pub preset: Option<String>,
    /// Only those older than the job of this id.
    pub before: Option<String>,
}

/// Jobs, newest first.
pub fn list(tx: &mut dyn Tx, filter: &JobFilter, limit: u64) -> Result<Vec<Job>, StoreError> {
    // Of a preset that no job has, every index but this one would be walked to its end.
    if let Some(preset) = &filter.preset
        && tx.query(&OF_PRESET, values![preset])?.is_empty()
    {
        return Ok(Vec::new());
    }
    let mut params = Vec::new();
    let mut conditions = Vec::new();
    // Put together from fixed parts, as `x IS NULL OR …` would keep the database from its indexes.
    let mut condition = |column: &'static str, comparison: &str, value: Value| {
        params.push(value);
        conditions.push((column, format!("{comparison} ${}", params.len())));
    };
    if let Some(user) = &filter.created_by {
        condition("created_by", "=", user.into());
    }
    if let Some(node) = &filter.node_id {
        condition("node_id", "=", node.into());
    }
    if let Some(preset) = &filter.preset {
        condition("preset", "=", preset.into());
    }
    if let Some(id) = &filter.before {
        condition("id", "<", id.into());
    }
    params.push(limit.into());
    let count = params.len();
    let all = |neutral: &[&str]| {
        let one = |(column, rest): &(&str, String)| match neutral.contains(column) {
            true => format!(" AND {column} || '' {rest}"),
            false => format!(" AND {column} {rest}"),
        };
        conditions.iter().map(one).collect::<String>()
    };
    // Each status by itself, the newest first: its own index ends after `limit` rows.
    let of_status = |status: &JobStatus| {
        match status {
        // Few, and in partial indexes that no other one may be preferred to.
        JobStatus::Queued | JobStatus::Running => format!(
            "SELECT id FROM (SELECT id FROM jobs WHERE status = '{status}'{} ORDER BY id || '' DESC LIMIT ${count}) AS unfinished",
            all(&["created_by", "preset", "id"])
        ),
        JobStatus::Succeeded | JobStatus::Failed | JobStatus::Cancelled => format!(
            "SELECT id FROM (SELECT id FROM jobs WHERE status = '{status}' AND status IN ('SUCCEEDED', 'FAILED', 'CANCELLED'){}
             ORDER BY id DESC LIMIT ${count}) AS ended",
            all(&[])
        ),
    }
    };
    let columns = include_str!("sql/job_columns.sql");
    let wanted = if filter.statuses.is_empty() {
        format!("1 = 1{}", all(&[]))
    } else {
        let statuses: std::collections::BTreeSet<_> =
            filter.statuses.iter().map(of_status).collect();
        let parts: Vec<String> = statuses.into_iter().collect();
        format!("id IN ({})", parts.join(" UNION ALL "))
    };
    let sql = format!("SELECT {columns} FROM jobs WHERE {wanted} ORDER BY id DESC LIMIT ${count}");
    read_all(tx.query(&Statement::composed(sql), &params)?, record)
}

/// The RUNNING jobs of a node, oldest first.
pub fn running_on(tx: &mut dyn Tx, node_id: &str) -> Result<Vec<Job>, StoreError> {
    read_all(tx.query(&RUNNING_ON, values![node_id])?, record)
}

/// Every RUNNING job: its id, its node and the agent instance of its claim.
pub fn running(tx: &mut dyn Tx) -> Result<Vec<(String, String, Option<String>)>, StoreError> {
    read_all(tx.query(&RUNNING, &[])?, |row| {
        Ok((row.take()?, row.take()?, row.take()?))
    })
}

/// Jobs that have ended here while their script runs on: the job's id, its node and the agent
/// instance of its claim.
pub fn still_running(tx: &mut dyn Tx) -> Result<Vec<(String, String, Option<String>)>, StoreError> {
    read_all(tx.query(&STILL_RUNNING, &[])?, |row| {
        Ok((row.take()?, row.take()?, row.take()?))
    })
}

/// The same of one node: the job's id and the agent instance of its claim.
pub fn still_running_on(
    tx: &mut dyn Tx,
    node_id: &str,
) -> Result<Option<(String, Option<String>)>, StoreError> {
    tx.query_one(&STILL_RUNNING_ON, values![node_id])?
        .map(|mut row| Ok((row.take()?, row.take()?)))
        .transpose()
}

/// Records whether the script of a job that has ended here runs on.
pub fn set_still_running(tx: &mut dyn Tx, id: &str, still_running: bool) -> Result<(), StoreError> {
    tx.execute(&SET_STILL_RUNNING, values![id, still_running])
        .map(|_| ())
}

/// Every job that has not ended, oldest first.
pub fn unfinished(tx: &mut dyn Tx) -> Result<Vec<Job>, StoreError> {
    read_all(tx.query(&UNFINISHED, &[])?, record)
}

/// Jobs that ended at `since` or later; the last five thousand, the latest first.
pub fn finished_since(tx: &mut dyn Tx, since: Timestamp) -> Result<Vec<Job>, StoreError> {
    read_all(tx.query(&FINISHED_SINCE, values![since])?, record)
}

/// QUEUED → CANCELLED; `None` if the job is not QUEUED.
pub fn cancel_queued(tx: &mut dyn Tx, id: &str, now: Timestamp) -> Result<Option<Job>, StoreError> {
    change_one(tx, &CANCEL_QUEUED, values![id, now])
}

/// Records that the script of a job must be stopped; `None` if it does not run. The time of the
/// first request stays.
pub fn request_cancel(
    tx: &mut dyn Tx,
    id: &str,
    now: Timestamp,
) -> Result<Option<Job>, StoreError> {
    change_one(tx, &CANCEL_RUNNING, values![id, now])
}

/// Cancels every QUEUED job of a node that is being deleted, and returns them.
pub fn cancel_all_queued(
    tx: &mut dyn Tx,
    node_id: &str,
    now: Timestamp,
) -> Result<Vec<Job>, StoreError> {
    read_all(tx.query(&CANCEL_NODE, values![node_id, now])?, record)
}

/// How a job ended.
#[derive(Debug, Clone)]
pub struct Ending {
    /// The terminal state.
    pub status: JobStatus,
    /// Bash's exit code.
    pub exit_code: Option<i64>,
    /// The signal that ended bash.
    pub signal: Option<String>,
    /// Why it failed.
    pub error_msg: Option<String>,
    /// SHA-256 of the completion.
    pub digest: [u8; 32],
    /// What there is of stdout in the end.
    pub stdout: StreamCounts,
    /// What there is of stderr in the end.
    pub stderr: StreamCounts,
}

/// RUNNING, or lost to the lease and not yet recovered → the ending; `None` if the job is in
/// another state.
pub fn finish(
    tx: &mut dyn Tx,
    id: &str,
    end: &Ending,
    now: Timestamp,
) -> Result<Option<Job>, StoreError> {
    change_one(
        tx,
        &FINISH,
        values![
            id,
            end.status,
            now,
            end.exit_code,
            end.signal.clone(),
            end.error_msg.clone(),
            end.digest,
            end.stdout.bytes,
            end.stdout.dropped,
            end.stderr.bytes,
            end.stderr.dropped,
        ],
    )
}

/// RUNNING → FAILED "agent disappeared", marked as lost. `None` if the job is not RUNNING, or if
/// another server that shares the database recorded a sign of life of its agent within the lease.
pub fn lose(
    tx: &mut dyn Tx,
    id: &str,
    now: Timestamp,
    lease_seconds: u64,
) -> Result<Option<Job>, StoreError> {
    if tx.is_shared() {
        change_one(tx, &LOSE_SHARED, values![id, lease_seconds * 1_000])
    } else {
        change_one(tx, &LOSE, values![id, now])
    }
}

/// What another server may have told of in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The node whose pollers have something to find.
    pub node_id: String,
    /// The job, where it is the claim of one, which is news once.
    pub claimed: Option<String>,
}

/// Jobs that were queued, or are to be cancelled, since a minute, and those that were claimed since
/// half of one. Only where [`Tx::is_shared`].
pub fn news(tx: &mut dyn Tx) -> Result<Vec<News>, StoreError> {
    read_all(tx.query(&RECENT, &[])?, |row| {
        Ok(News {
            node_id: row.take()?,
            claimed: row.take()?,
        })
    })
}

/// Nodes whose pollers have something to find: a job that waits, or a cancel.
pub fn nodes_with_work(tx: &mut dyn Tx) -> Result<Vec<String>, StoreError> {
    read_all(tx.query(&WITH_WORK, &[])?, Row::take)
}

/// QUEUED jobs by node; nodes without any are left out.
pub fn count_queued(tx: &mut dyn Tx) -> Result<Vec<(String, u64)>, StoreError> {
    read_all(tx.query(&COUNT_QUEUED, &[])?, |row| {
        Ok((row.take()?, row.take()?))
    })
}

/// QUEUED jobs of a node.
pub fn count_queued_on(tx: &mut dyn Tx, node_id: &str) -> Result<u64, StoreError> {
    tx.query_one(&COUNT_QUEUED_ON, values![node_id])?
        .map_or(Ok(0), |mut row| row.take())
}

/// How many jobs are QUEUED, and how many RUNNING.
pub fn count_unfinished(tx: &mut dyn Tx) -> Result<Vec<(JobStatus, u64)>, StoreError> {
    read_all(tx.query(&COUNT_UNFINISHED, &[])?, |row| {
        Ok((row.take()?, row.take()?))
    })
}

/// Deletes jobs that ended before `before`, with their output, a hundred at the most; how many.
pub fn prune(tx: &mut dyn Tx, before: Timestamp) -> Result<u64, StoreError> {
    let prune = if tx.is_shared() {
        &PRUNE_SHARED
    } else {
        &PRUNE
    };
    tx.execute(prune, values![before])
}
