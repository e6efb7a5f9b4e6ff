//! The claim's statements: few and narrow, as all agents of a fleet go through them, one after the
//! other.

use super::tx::{Row, Statement, Tx};
use super::{StoreError, values};
use crate::clock::Timestamp;

/// What an agent gets of a job, in the order of the columns below.
macro_rules! claimed_columns {
    () => {
        "preset, timeout_seconds, created_at, started_at, script_sha256, script,
         (SELECT sealed FROM job_secrets WHERE job_id = jobs.id)"
    };
}

// With all that the agent gets, so that nothing is to be read after it.
static NEXT: Statement = Statement::new(concat!(
    include_str!("sql/job_claim.sql"),
    ", ",
    claimed_columns!()
));
static AGAIN: Statement = Statement::new(concat!(
    "SELECT id, ",
    claimed_columns!(),
    " FROM jobs WHERE id = $1"
));
static OWN: Statement = Statement::new(include_str!("sql/job_own.sql"));
static IS_STRAY: Statement = Statement::new(include_str!("sql/job_is_stray.sql"));
static OWN_NAMELESS: Statement = Statement::new(include_str!("sql/job_own_nameless.sql"));

/// A job on its way to an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// UUIDv7.
    pub id: String,
    /// The preset's name.
    pub preset: String,
    /// How long the script may run.
    pub timeout_seconds: u64,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When it was claimed.
    pub started_at: Option<Timestamp>,
    /// SHA-256 of the script, hex.
    pub script_sha256: String,
    /// What will run.
    pub script: String,
    /// The values of its secret params, sealed.
    pub sealed: Option<Vec<u8>>,
}

/// A job of the agent instance that claimed it, whose script runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnJob {
    /// UUIDv7.
    pub id: String,
    /// When a person asked to cancel it.
    pub cancel_requested_at: Option<Timestamp>,
    /// The process of the claim.
    pub claimed_process: Option<String>,
    /// The job has ended here, but its script runs on.
    pub still_running: bool,
}

fn claimed(row: &mut Row) -> Result<Claimed, StoreError> {
    Ok(Claimed {
        id: row.take()?,
        preset: row.take()?,
        timeout_seconds: row.take()?,
        created_at: row.take()?,
        started_at: row.take()?,
        script_sha256: row.take()?,
        script: row.take()?,
        sealed: row.take()?,
    })
}

/// Claims the oldest QUEUED job of a node, as the transaction's last statement; `None` where there
/// is none (or another caller won).
pub fn next(
    tx: &mut dyn Tx,
    node_id: &str,
    (instance, process): (Option<&str>, Option<&str>),
    now: Timestamp,
) -> Result<Option<Claimed>, StoreError> {
    let params = values![
        node_id,
        now,
        instance.map(str::to_owned),
        process.map(str::to_owned)
    ];
    let mut rows = tx.query_last(&NEXT, params)?;
    rows.pop().map(|mut row| claimed(&mut row)).transpose()
}

/// A job that was claimed before, as its claim gave it.
pub fn again(tx: &mut dyn Tx, id: &str) -> Result<Option<Claimed>, StoreError> {
    tx.query_one(&AGAIN, values![id])?
        .map(|mut row| claimed(&mut row))
        .transpose()
}

/// Whether an agent instance runs a job that has ended here without its report: its lease ran out,
/// or somebody changed its row.
pub fn is_stray(
    tx: &mut dyn Tx,
    id: &str,
    (node_id, instance): (&str, &str),
) -> Result<bool, StoreError> {
    Ok(tx
        .query_one(&IS_STRAY, values![id, node_id, instance])?
        .is_some())
}

/// The RUNNING jobs of a node that one agent instance has claimed, oldest first; for a caller
/// without one, those claimed by such callers that are to be cancelled. `None` where the token is
/// not good any more.
pub fn own(
    tx: &mut dyn Tx,
    token_id: &str,
    node_id: &str,
    instance: Option<&str>,
) -> Result<Option<Vec<OwnJob>>, StoreError> {
    let rows = match instance {
        Some(instance) => tx.peek(&OWN, values![token_id, node_id, instance])?,
        None => tx.peek(&OWN_NAMELESS, values![token_id, node_id])?,
    };
    let (mut is_good, mut own) = (false, Vec::new());
    for mut row in rows {
        let id: Option<String> = row.take()?;
        let (cancel_requested_at, claimed_process) = (row.take()?, row.take()?);
        let still_running = row.take()?;
        match id {
            Some(id) => own.push(OwnJob {
                id,
                cancel_requested_at,
                claimed_process,
                still_running,
            }),
            None => is_good = true,
        }
    }
    own.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    Ok(is_good.then_some(own))
}
