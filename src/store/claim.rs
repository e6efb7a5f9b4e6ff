//! The statements of a claim. They are few and narrow, since every agent's polls run them.

use super::id::{JobId, NodeId, TokenId};
use super::tx::{Row, Statement, Tx};
use super::{StoreError, values};
use crate::clock::Timestamp;

/// The columns of a [`ClaimRecord`], in the order that [`claim_of_row`] reads.
macro_rules! claimed_columns {
    () => {
        concat!(
            "preset, timeout_seconds, created_at, started_at, script_sha256, ",
            include_str!("sql/job_script.sql"),
            ", (SELECT sealed FROM job_secrets WHERE job_id = jobs.id), envelope, signature, person_signature, standing_id"
        )
    };
}

// The claim returns everything that the agent needs, which saves a second query.
static CLAIM: Statement = Statement::new(concat!(
    include_str!("sql/job_claim.sql"),
    ", ",
    claimed_columns!()
));
static CLAIM_SHARED: Statement = Statement::new(concat!(
    include_str!("sql/job_claim.postgres.sql"),
    ", ",
    claimed_columns!()
));
static FIND: Statement = Statement::new(concat!(
    "SELECT id, ",
    claimed_columns!(),
    " FROM jobs WHERE id = $1"
));
static OWN: Statement = Statement::new(include_str!("sql/job_own.sql"));
static IS_STRAY: Statement = Statement::new(include_str!("sql/job_is_stray.sql"));
static OWN_NAMELESS: Statement = Statement::new(include_str!("sql/job_own_nameless.sql"));

/// A claimed job, with everything that the agent needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRecord {
    pub id: String,
    pub preset: String,
    pub timeout_seconds: u64,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    /// SHA-256 of the script in hex.
    pub script_sha256: String,
    pub script: String,
    /// The sealed values of secret parameters.
    pub sealed: Option<Vec<u8>>,
    /// What was signed; `None` in a row that no server has signed.
    pub envelope: Option<String>,
    /// The server's signature over the envelope.
    pub signature: Option<String>,
    /// A person's signature over the envelope.
    pub person_signature: Option<String>,
    /// The standing envelope that covers the job.
    pub standing_id: Option<String>,
}

/// A job that an agent instance has claimed and whose script runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnJob {
    pub id: String,
    pub cancel_requested_at: Option<Timestamp>,
    pub confirm_requested_at: Option<Timestamp>,
    /// The agent process that claimed the job.
    pub claimed_process: Option<String>,
    /// The job has ended here, but its script still runs.
    pub still_running: bool,
}

fn claim_of_row(row: &mut Row) -> Result<ClaimRecord, StoreError> {
    Ok(ClaimRecord {
        id: row.take()?,
        preset: row.take()?,
        timeout_seconds: row.take()?,
        created_at: row.take()?,
        started_at: row.take()?,
        script_sha256: row.take()?,
        script: row.take()?,
        sealed: row.take()?,
        envelope: row.take()?,
        signature: row.take()?,
        person_signature: row.take()?,
        standing_id: row.take()?,
    })
}

/// Who claims a job.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'c> {
    pub node_id: &'c str,
    pub instance: Option<&'c str>,
    pub process: Option<&'c str>,
}

/// Claims the oldest QUEUED job of a node that is neither held nor expired, as the transaction's
/// last statement; `None` if the node has no such job or another caller claimed it.
pub fn claim_next(
    tx: &mut dyn Tx,
    by: Claimant<'_>,
    now: Timestamp,
) -> Result<Option<ClaimRecord>, StoreError> {
    let params = values![
        by.node_id,
        now,
        by.instance.map(str::to_owned),
        by.process.map(str::to_owned)
    ];
    let claim = if tx.is_shared() {
        &CLAIM_SHARED
    } else {
        &CLAIM
    };
    let mut rows = tx.query_last(claim, params)?;
    rows.pop().map(|mut row| claim_of_row(&mut row)).transpose()
}

/// Returns a job that was claimed before, as the claim returned it.
pub fn find(tx: &mut dyn Tx, id: &str) -> Result<Option<ClaimRecord>, StoreError> {
    tx.query_one(&FIND, values![id])?
        .map(|mut row| claim_of_row(&mut row))
        .transpose()
}

/// Whether an agent instance runs a job that has ended here without the agent's report: the lease
/// ran out, or somebody changed the row.
pub fn is_stray(
    tx: &mut dyn Tx,
    id: JobId<&str>,
    node_id: NodeId<&str>,
    instance: &str,
) -> Result<bool, StoreError> {
    Ok(tx
        .query_one(&IS_STRAY, values![id.0, node_id.0, instance])?
        .is_some())
}

/// What a valid token's node is up to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OwnWork {
    /// Oldest first.
    pub jobs: Vec<OwnJob>,
    /// Whether the node gets no jobs.
    pub is_paused: bool,
}

/// Returns the RUNNING jobs of a node that one agent instance has claimed, oldest first. For a
/// caller without an instance, returns the jobs claimed without an instance that must be cancelled.
/// `None` if the token is no longer valid.
pub fn list_own(
    tx: &mut dyn Tx,
    token_id: TokenId<&str>,
    node_id: NodeId<&str>,
    instance: Option<&str>,
) -> Result<Option<OwnWork>, StoreError> {
    let rows = match instance {
        Some(instance) => tx.peek(&OWN, values![token_id.0, node_id.0, instance])?,
        None => tx.peek(&OWN_NAMELESS, values![token_id.0, node_id.0])?,
    };
    let (mut is_valid, mut own) = (false, OwnWork::default());
    for mut row in rows {
        let id: Option<String> = row.take()?;
        let (cancel_requested_at, confirm_requested_at) = (row.take()?, row.take()?);
        let claimed_process = row.take()?;
        let (still_running, is_paused) = (row.take()?, row.take::<Option<bool>>()?);
        match id {
            Some(id) => own.jobs.push(OwnJob {
                id,
                cancel_requested_at,
                confirm_requested_at,
                claimed_process,
                still_running,
            }),
            None => {
                is_valid = true;
                own.is_paused = is_paused.unwrap_or(false);
            }
        }
    }
    own.jobs
        .sort_unstable_by(|one, other| one.id.cmp(&other.id));
    Ok(is_valid.then_some(own))
}
