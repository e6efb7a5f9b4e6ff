//! Sealed secrets of jobs that have not ended. The seal is the caller's; they go by a trigger when the job ends.

use super::tx::{Statement, Tx};
use super::{StoreError, values};

static INSERT: Statement =
    Statement::new("INSERT INTO job_secrets (job_id, sealed) VALUES ($1, $2)");
static FIND: Statement = Statement::new("SELECT sealed FROM job_secrets WHERE job_id = $1");

/// Keeps what was sealed for a job.
pub fn insert(tx: &mut dyn Tx, job_id: &str, sealed: Vec<u8>) -> Result<(), StoreError> {
    tx.execute(&INSERT, values![job_id, sealed]).map(|_| ())
}

/// What was sealed for a job.
pub fn find(tx: &mut dyn Tx, job_id: &str) -> Result<Option<Vec<u8>>, StoreError> {
    tx.query_one(&FIND, values![job_id])?
        .map(|mut row| row.take())
        .transpose()
}
