//! The audit log.

use super::{Statement, StoreError, Tx, read_all, values};
use crate::clock::{self, Timestamp};

/// A new entry.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'e> {
    /// An email, `node:<id>`, or `server`.
    pub actor: &'e str,
    /// `noun.verb`, such as `job.cancel` or `user.add`.
    pub action: &'static str,
    pub job_id: Option<&'e str>,
    pub node_id: Option<&'e str>,
    /// Further details as text.
    pub detail: Option<&'e str>,
}

impl<'e> Entry<'e> {
    /// An entry that concerns no job and no node.
    pub fn by(actor: &'e str, action: &'static str) -> Self {
        Self {
            actor,
            action,
            job_id: None,
            node_id: None,
            detail: None,
        }
    }

    /// Adds details as text.
    pub fn saying(self, detail: &'e str) -> Self {
        Self {
            detail: Some(detail),
            ..self
        }
    }
}

/// A stored entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// UUIDv7, so ids sort by age.
    pub id: String,
    pub at: Timestamp,
    pub actor: String,
    pub action: String,
    pub job_id: Option<String>,
    pub node_id: Option<String>,
    pub detail: Option<String>,
}

/// Conditions for a list of entries; `None` matches any value.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only entries older than the entry with this id.
    pub before: Option<String>,
    pub actor: Option<String>,
    pub action: Option<String>,
    pub job_id: Option<String>,
    pub node_id: Option<String>,
}

/// Writes an entry in the transaction of the change that it records.
pub fn insert(tx: &mut dyn Tx, entry: Entry<'_>) -> Result<(), StoreError> {
    static INSERT: Statement = Statement::new(include_str!("sql/audit_insert.sql"));
    let id = uuid::Uuid::now_v7().to_string();
    let params = values![
        id,
        clock::now(),
        entry.actor,
        entry.action,
        entry.job_id,
        entry.node_id,
        entry.detail
    ];
    tx.execute(&INSERT, params).map(|_| ())
}

/// Returns up to `limit` entries that match `filter`, newest first.
pub fn list(tx: &mut dyn Tx, limit: u64, filter: Filter) -> Result<Vec<AuditRecord>, StoreError> {
    static LIST: Statement = Statement::new(include_str!("sql/audit_list.sql"));
    let params = values![
        limit,
        filter.before,
        filter.actor,
        filter.action,
        filter.job_id,
        filter.node_id
    ];
    read_all(tx.query(&LIST, params)?, |row| {
        Ok(AuditRecord {
            id: row.take()?,
            at: row.take()?,
            actor: row.take()?,
            action: row.take()?,
            job_id: row.take()?,
            node_id: row.take()?,
            detail: row.take()?,
        })
    })
}
