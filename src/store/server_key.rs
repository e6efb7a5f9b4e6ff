//! Which key file the database was made with.

use super::tx::{Statement, Tx};
use super::{StoreError, values};

static READ: Statement = Statement::new("SELECT digest FROM server_key WHERE id = 1");
static INSERT: Statement = Statement::new(include_str!("sql/server_key_insert.sql"));

/// Whether `digest` belongs to the key that the database was made with; the first key that asks is
/// that one.
pub fn is_ours(tx: &mut dyn Tx, digest: [u8; 32]) -> Result<bool, StoreError> {
    tx.execute(&INSERT, values![digest])?;
    let known: Option<Vec<u8>> = match tx.query_one(&READ, values![])? {
        Some(mut row) => Some(row.take()?),
        None => None,
    };
    Ok(known.as_deref() == Some(&digest[..]))
}
