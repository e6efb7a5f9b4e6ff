//! Secrets that the server keeps for jobs that nobody is there to type a password for.

use super::{Row, Statement, StoreError, Tx, read_all, values};
use crate::clock::Timestamp;

/// A stored secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSecret {
    pub name: String,
    /// The presets that may use it, as a JSON list of their names and origins.
    pub presets: String,
    pub changed_by_email: String,
    pub changed_at: Timestamp,
}

/// A stored secret's value, sealed.
#[derive(Debug, Clone)]
pub struct SealedSecret {
    pub sealed: Vec<u8>,
    /// As [`StoredSecret::presets`].
    pub presets: String,
}

fn secret_of_row(row: &mut Row) -> Result<StoredSecret, StoreError> {
    Ok(StoredSecret {
        name: row.take()?,
        presets: row.take()?,
        changed_by_email: row.take()?,
        changed_at: row.take()?,
    })
}

/// Adds a secret, or replaces the one of that name; true if it is new.
pub fn set(tx: &mut dyn Tx, secret: &StoredSecret, sealed: Vec<u8>) -> Result<bool, StoreError> {
    static UPDATE: Statement = Statement::new(
        "UPDATE stored_secrets SET sealed = $2, presets = $3, changed_by_email = $4, changed_at = $5 WHERE name = $1",
    );
    static INSERT: Statement = Statement::new(
        "INSERT INTO stored_secrets (name, sealed, presets, changed_by_email, changed_at) VALUES ($1, $2, $3, $4, $5)",
    );
    tx.lock("stored_secrets")?;
    let params = values![
        &secret.name,
        sealed,
        &secret.presets,
        &secret.changed_by_email,
        secret.changed_at,
    ];
    if tx.execute(&UPDATE, params)? == 1 {
        return Ok(false);
    }
    tx.execute(&INSERT, params).map(|_| true)
}

/// Returns all secrets by name.
pub fn list(tx: &mut dyn Tx) -> Result<Vec<StoredSecret>, StoreError> {
    static LIST: Statement = Statement::new(
        "SELECT name, presets, changed_by_email, changed_at FROM stored_secrets ORDER BY name",
    );
    read_all(tx.query(&LIST, &[])?, secret_of_row)
}

/// Returns a secret's sealed value.
pub fn find_sealed(tx: &mut dyn Tx, name: &str) -> Result<Option<SealedSecret>, StoreError> {
    static FIND: Statement =
        Statement::new("SELECT sealed, presets FROM stored_secrets WHERE name = $1");
    let row = tx.query_one(&FIND, values![name])?;
    row.map(|mut row| {
        Ok(SealedSecret {
            sealed: row.take()?,
            presets: row.take()?,
        })
    })
    .transpose()
}

/// Excludes changes of stored secrets until the transaction ends.
pub fn lock(tx: &mut dyn Tx) -> Result<(), StoreError> {
    tx.lock("stored_secrets")
}

/// Deletes a secret; false if there is none of that name.
pub fn delete(tx: &mut dyn Tx, name: &str) -> Result<bool, StoreError> {
    static DELETE: Statement = Statement::new("DELETE FROM stored_secrets WHERE name = $1");
    Ok(tx.execute(&DELETE, values![name])? == 1)
}
