//! Sealed secrets of jobs that have not ended. The seal is the caller's; they are read with the
//! claim ([`super::claim`]), and go by a trigger when the job ends.

use super::tx::{Statement, Tx};
use super::{StoreError, values};

static INSERT: Statement =
    Statement::new("INSERT INTO job_secrets (job_id, sealed) VALUES ($1, $2)");

/// Keeps what was sealed for a job.
pub fn insert(tx: &mut dyn Tx, job_id: &str, sealed: Vec<u8>) -> Result<(), StoreError> {
    tx.execute(&INSERT, values![job_id, sealed]).map(|_| ())
}
