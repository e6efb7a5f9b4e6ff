//! The steps that a job's output has announced.

use super::tx::{Statement, Tx, read_all};
use super::{StoreError, values};
use crate::clock::Timestamp;

static INSERT: Statement = Statement::new(
    "INSERT INTO job_steps (job_id, number, name, is_done, line_end, arrived_at, began_ms)
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (job_id, number) DO NOTHING",
);
static LIST: Statement = Statement::new(
    "SELECT number, name, is_done, line_end, arrived_at, began_ms FROM job_steps
     WHERE job_id = $1 ORDER BY number",
);
static STAMPS: Statement = Statement::new(
    "SELECT line_end, began_ms FROM job_steps
     WHERE job_id = $1 AND line_end > $2 AND began_ms IS NOT NULL ORDER BY number",
);

/// A step that a line on stdout has announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnouncedStep {
    /// Counted from 1.
    pub number: u32,
    pub name: String,
    /// Whether the line says that the step is already done.
    pub is_done: bool,
    /// The offset in stdout after the line.
    pub line_end: u64,
    /// When the rest of the line arrived.
    pub arrived_at: Timestamp,
    /// When the line was written, in milliseconds since bash began, by the node's clock. `None` if
    /// an older agent has sent it.
    pub began_ms: Option<u64>,
}

/// Inserts a step. An earlier one with the same number stays.
pub fn insert(tx: &mut dyn Tx, job_id: &str, step: &AnnouncedStep) -> Result<(), StoreError> {
    tx.execute(
        &INSERT,
        values![
            job_id,
            u64::from(step.number),
            step.name.as_str(),
            step.is_done,
            step.line_end,
            step.arrived_at,
            step.began_ms
        ],
    )
    .map(|_| ())
}

/// The steps of a job, in order.
pub fn list(tx: &mut dyn Tx, job_id: &str) -> Result<Vec<AnnouncedStep>, StoreError> {
    read_all(tx.query(&LIST, values![job_id])?, |row| {
        let number: u64 = row.take()?;
        Ok(AnnouncedStep {
            number: u32::try_from(number).unwrap_or(u32::MAX),
            name: row.take()?,
            is_done: row.take()?,
            line_end: row.take()?,
            arrived_at: row.take()?,
            began_ms: row.take()?,
        })
    })
}

/// The ends of the lines after `offset` that announce a step and have the node's time, each with
/// that time, in order.
pub(super) fn stamps_after(
    tx: &mut dyn Tx,
    job_id: &str,
    offset: u64,
) -> Result<Vec<(u64, u64)>, StoreError> {
    read_all(tx.query(&STAMPS, values![job_id, offset])?, |row| {
        Ok((row.take()?, row.take()?))
    })
}
