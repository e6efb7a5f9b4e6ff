//! Statements that change a job. Each change of state is one conditional UPDATE on the state that
//! the job leaves, and returns the row as it is afterwards.

use hyprbox_protocol::PerStream;

use super::hold::Holds;
use super::record::{Job, JobKind, JobStatus, PresetSource, StreamCounts, job_columns, job_of_row};
use crate::clock::Timestamp;
use crate::store::id::{JobId, NodeId};
use crate::store::{Row, Statement, StoreError, Tx, Value, read_all, values};

/// A statement from a file, followed by `RETURNING` and the columns of a job.
macro_rules! returning_job {
    ($file:literal) => {
        Statement::new(concat!(include_str!($file), "\nRETURNING ", job_columns!()))
    };
}

static INSERT: Statement = returning_job!("../sql/job_insert.sql");
static INSERT_SECRETS: Statement =
    Statement::new("INSERT INTO job_secrets (job_id, sealed) VALUES ($1, $2)");
static INSERT_SCRIPT: Statement = Statement::new(include_str!("../sql/script_insert.sql"));
static PRUNE_SCRIPTS: Statement = Statement::new(include_str!("../sql/script_prune.sql"));
static CANCEL_QUEUED: Statement = returning_job!("../sql/job_cancel_queued.sql");
static CANCEL_RUNNING: Statement = returning_job!("../sql/job_cancel_running.sql");
static CONFIRM: Statement = returning_job!("../sql/job_confirm.sql");
static CANCEL_NODE: Statement = returning_job!("../sql/job_cancel_node.sql");
static CANCEL_EVERYTHING: Statement =
    Statement::new(include_str!("../sql/job_cancel_everything.sql"));
static FINISH: Statement = returning_job!("../sql/job_finish.sql");
static LOSE: Statement = returning_job!("../sql/job_lose.sql");
static LOSE_SHARED: Statement = returning_job!("../sql/job_lose.postgres.sql");
static EXPIRE: Statement = returning_job!("../sql/job_expire.sql");
static EXPIRE_SHARED: Statement = returning_job!("../sql/job_expire.postgres.sql");
static RELEASE_DUE: Statement = Statement::new(include_str!("../sql/job_release_due.sql"));
static RELEASE_DUE_SHARED: Statement =
    Statement::new(include_str!("../sql/job_release_due.postgres.sql"));
static HOLD_UNSIGNED: Statement = Statement::new(include_str!("../sql/job_hold_unsigned.sql"));
static RELEASE_UNSIGNED: Statement =
    Statement::new(include_str!("../sql/job_release_unsigned.sql"));
static SIGN: Statement = returning_job!("../sql/job_sign.sql");
static COVER: Statement = Statement::new(include_str!("../sql/job_cover.sql"));
static TIME_OUT: Statement = returning_job!("../sql/job_time_out.sql");
static FAIL: Statement = returning_job!("../sql/job_fail.sql");
static SET_STILL_RUNNING: Statement =
    Statement::new("UPDATE jobs SET still_running = $2 WHERE id = $1");
static SET_STEP: Statement = Statement::new("UPDATE jobs SET step = $2 WHERE id = $1");
static SET_CONFIRM_WAIT: Statement =
    Statement::new("UPDATE jobs SET confirm_by = $2, confirm_seconds = $3 WHERE id = $1");
static SET_PID: Statement = Statement::new("UPDATE jobs SET pid = $2 WHERE id = $1");
static PRUNE: Statement = Statement::new(include_str!("../sql/job_prune.sql"));
static PRUNE_SHARED: Statement = Statement::new(include_str!("../sql/job_prune.postgres.sql"));

/// Runs a statement that returns the changed job, if it changed one.
fn change(
    tx: &mut dyn Tx,
    statement: &Statement,
    params: &[Value],
) -> Result<Option<Job>, StoreError> {
    tx.query_one(statement, params)?
        .map(|mut row| job_of_row(&mut row))
        .transpose()
}

/// The values of a new job.
#[derive(Debug, Clone)]
pub struct NewJob {
    pub id: String,
    pub preset: String,
    pub node_id: String,
    /// Id of the user who queues the job.
    pub created_by: String,
    pub created_by_email: String,
    pub created_at: Timestamp,
    pub timeout_seconds: u64,
    /// SHA-256 of the script in hex.
    pub script_sha256: String,
    /// The parameters used, as a JSON object.
    pub params: String,
    /// Empty if the script was stored with [`insert_script`].
    pub script: String,
    pub run_id: Option<String>,
    pub batch: Option<u64>,
    pub kind: JobKind,
    pub not_before: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub holds: Holds,
    /// What was signed, and the server's signature over it.
    pub envelope: String,
    pub signature: String,
    pub preset_source: PresetSource,
}

/// Inserts a QUEUED job and returns its row.
pub fn insert(tx: &mut dyn Tx, job: &NewJob) -> Result<Job, StoreError> {
    let params = values![
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
        job.run_id.clone(),
        job.batch,
        job.kind,
        job.not_before,
        job.expires_at,
        !job.holds.is_empty(),
        job.holds,
        job.preset_source.version,
        job.preset_source.commit.clone(),
        &job.envelope,
        &job.signature,
    ];
    let inserted = change(tx, &INSERT, params)?;
    Ok(inserted.expect("an INSERT without a conflict clause returns its row"))
}

/// Stores a script that several jobs share, by its SHA-256. Their [`NewJob::script`] is empty.
pub fn insert_script(
    tx: &mut dyn Tx,
    sha256: &str,
    script: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(&INSERT_SCRIPT, values![sha256, script, now])
        .map(|_| ())
}

/// Stores a job's sealed secrets. The claim reads them, and a trigger deletes them when the job
/// ends.
pub fn insert_secrets(tx: &mut dyn Tx, job_id: &str, sealed: Vec<u8>) -> Result<(), StoreError> {
    tx.execute(&INSERT_SECRETS, values![job_id, sealed])
        .map(|_| ())
}

/// Records the process id of bash on the node.
pub fn set_pid(tx: &mut dyn Tx, id: &str, pid: u32) -> Result<(), StoreError> {
    tx.execute(&SET_PID, values![id, u64::from(pid)])
        .map(|_| ())
}

/// Records the step that a job has reached.
pub fn set_step(tx: &mut dyn Tx, id: &str, step: Option<&str>) -> Result<(), StoreError> {
    let step = step.map(str::to_owned);
    tx.execute(&SET_STEP, values![id, step]).map(|_| ())
}

/// Records whether the script of a job that has ended here still runs.
pub fn set_still_running(tx: &mut dyn Tx, id: &str, still_running: bool) -> Result<(), StoreError> {
    tx.execute(&SET_STILL_RUNNING, values![id, still_running])
        .map(|_| ())
}

/// QUEUED → CANCELLED; `None` if the job is not QUEUED.
pub fn cancel_queued(tx: &mut dyn Tx, id: &str, now: Timestamp) -> Result<Option<Job>, StoreError> {
    change(tx, &CANCEL_QUEUED, values![id, now])
}

/// Records that the script of a job must be stopped; `None` if the script does not run. A repeated
/// request keeps the time of the first one.
pub fn request_cancel(
    tx: &mut dyn Tx,
    id: &str,
    now: Timestamp,
) -> Result<Option<Job>, StoreError> {
    change(tx, &CANCEL_RUNNING, values![id, now])
}

/// Records that a job's changes must stay; `None` if the job does not wait for that. A repeated
/// request keeps the time of the first one.
pub fn request_confirm(
    tx: &mut dyn Tx,
    id: &str,
    now: Timestamp,
) -> Result<Option<Job>, StoreError> {
    change(tx, &CONFIRM, values![id, now])
}

/// Records until when a job waits for a confirmation, and for how long.
pub fn set_confirm_wait(
    tx: &mut dyn Tx,
    id: &str,
    by: Timestamp,
    seconds: u64,
) -> Result<(), StoreError> {
    tx.execute(&SET_CONFIRM_WAIT, values![id, by, seconds])
        .map(|_| ())
}

/// Cancels every QUEUED job of a node that is being deleted, and returns them.
pub fn cancel_all_queued(
    tx: &mut dyn Tx,
    node_id: &str,
    now: Timestamp,
) -> Result<Vec<Job>, StoreError> {
    read_all(tx.query(&CANCEL_NODE, values![node_id, now])?, job_of_row)
}

/// Cancels every QUEUED job with this message, and returns how many.
pub fn cancel_everything(tx: &mut dyn Tx, why: &str, now: Timestamp) -> Result<u64, StoreError> {
    tx.execute(&CANCEL_EVERYTHING, values![now, why])
}

/// How a job ended.
#[derive(Debug, Clone)]
pub struct Ending {
    /// The final state.
    pub status: JobStatus,
    pub exit_code: Option<i64>,
    /// The signal that ended bash.
    pub signal: Option<String>,
    pub error_msg: Option<String>,
    /// SHA-256 of the completion.
    pub digest: [u8; 32],
    pub stdout: StreamCounts,
    pub stderr: StreamCounts,
    /// How long bash ran by the node's clock, in milliseconds.
    pub ran_ms: Option<u64>,
    /// SHA-256 of each stream in hex, as the agent reported it.
    pub sha256: PerStream<Option<String>>,
    /// Whether every byte is kept and the hashes fit; `None` if that is not known.
    pub verified: Option<bool>,
}

/// Ends a job that is RUNNING, or whose lease ran out and that was not recovered yet; `None` if the
/// job is in another state.
pub fn finish(
    tx: &mut dyn Tx,
    id: &str,
    end: &Ending,
    now: Timestamp,
) -> Result<Option<Job>, StoreError> {
    let [stdout_sha256, stderr_sha256] = end.sha256.clone().into_values();
    let params = values![
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
        end.ran_ms,
        stdout_sha256,
        stderr_sha256,
        end.verified,
    ];
    change(tx, &FINISH, params)
}

/// RUNNING → FAILED "agent disappeared", marked as lost. Returns `None` if the job is not RUNNING,
/// or if another server over the same database recorded a sign of life of the job's agent within
/// the lease.
pub fn lose(
    tx: &mut dyn Tx,
    id: &str,
    now: Timestamp,
    lease_seconds: u64,
) -> Result<Option<Job>, StoreError> {
    if tx.is_shared() {
        change(tx, &LOSE_SHARED, values![id, lease_seconds * 1_000])
    } else {
        change(tx, &LOSE, values![id, now])
    }
}

/// RUNNING → FAILED with this message because the timeout is long over, marked as lost; `None` if
/// the job is not RUNNING.
pub fn time_out(
    tx: &mut dyn Tx,
    id: &str,
    message: &str,
    now: Timestamp,
) -> Result<Option<Job>, StoreError> {
    change(tx, &TIME_OUT, values![id, now, message])
}

/// RUNNING → FAILED with this message, permanently; `None` if the job is not RUNNING.
pub fn fail(
    tx: &mut dyn Tx,
    id: &str,
    message: &str,
    now: Timestamp,
) -> Result<Option<Job>, StoreError> {
    change(tx, &FAIL, values![id, now, message])
}

/// QUEUED → CANCELLED for up to `limit` jobs of a run, or up to `limit` single jobs, whose expiry
/// has passed, by the clock that counts for the database. Returns them.
pub fn expire(
    tx: &mut dyn Tx,
    run_id: Option<&str>,
    now: Timestamp,
    limit: u64,
) -> Result<Vec<Job>, StoreError> {
    let run_id = run_id.unwrap_or_default();
    let rows = if tx.is_shared() {
        tx.query(&EXPIRE_SHARED, values![limit, run_id])?
    } else {
        tx.query(&EXPIRE, values![limit, now, run_id])?
    };
    read_all(rows, job_of_row)
}

/// Releases the hold `not_before` of up to `limit` jobs whose time has come, by the clock that
/// counts for the database. Returns each job and its node.
pub fn release_due(
    tx: &mut dyn Tx,
    now: Timestamp,
    limit: u64,
) -> Result<Vec<(JobId, NodeId)>, StoreError> {
    let rows = if tx.is_shared() {
        tx.query(&RELEASE_DUE_SHARED, values![limit])?
    } else {
        tx.query(&RELEASE_DUE, values![limit, now])?
    };
    read_all(rows, |row| Ok((JobId(row.take()?), NodeId(row.take()?))))
}

/// Opens or releases the hold `signature` of a node's QUEUED jobs that no person has signed.
/// Returns the jobs that changed.
pub fn require_signatures(
    tx: &mut dyn Tx,
    node_id: &str,
    is_required: bool,
) -> Result<Vec<String>, StoreError> {
    let statement = if is_required {
        &HOLD_UNSIGNED
    } else {
        &RELEASE_UNSIGNED
    };
    read_all(tx.query(statement, values![node_id])?, Row::take)
}

/// Stores a person's signature of a QUEUED job and releases the hold `signature`; `None` if the job
/// is not QUEUED. `signed_by` is a JSON object.
pub fn sign(
    tx: &mut dyn Tx,
    id: &str,
    signature: &str,
    signed_by: &str,
) -> Result<Option<Job>, StoreError> {
    change(tx, &SIGN, values![id, signature, signed_by])
}

/// Gives a standing envelope to a QUEUED job with the hold `signature`, and releases the hold;
/// false if the job no longer waits for it. `signed_by` is a JSON object.
pub fn cover(
    tx: &mut dyn Tx,
    id: JobId<&str>,
    standing_id: &str,
    signed_by: &str,
) -> Result<bool, StoreError> {
    Ok(tx.execute(&COVER, values![id.0, standing_id, signed_by])? == 1)
}

/// Deletes up to a hundred jobs that ended before `before`, with their output, and returns their
/// ids.
pub fn prune(tx: &mut dyn Tx, before: Timestamp) -> Result<Vec<String>, StoreError> {
    let prune = if tx.is_shared() {
        &PRUNE_SHARED
    } else {
        &PRUNE
    };
    read_all(tx.query(prune, values![before])?, Row::take)
}

/// Deletes shared scripts that no job names. A script that was used after `unused_since` stays,
/// since the jobs that use it may not be committed yet.
pub fn prune_scripts(tx: &mut dyn Tx, unused_since: Timestamp) -> Result<u64, StoreError> {
    tx.execute(&PRUNE_SCRIPTS, values![unused_since])
}
