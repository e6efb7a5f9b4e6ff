//! Who did what.

use super::{Statement, StoreError, Tx, read_all, values};
use crate::clock::{self, Timestamp};

/// What is to be written down.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'e> {
    /// An email, `node:<id>`, or `server`.
    pub actor: &'e str,
    /// noun.verb: `job.cancel`, `user.add`.
    pub action: &'static str,
    /// The job that it was done to.
    pub job_id: Option<&'e str>,
    /// The node that it was done to.
    pub node_id: Option<&'e str>,
    /// What else there is to say, in words.
    pub detail: Option<&'e str>,
}

impl<'e> Entry<'e> {
    /// Who did what, to nothing in particular.
    pub fn by(actor: &'e str, action: &'static str) -> Self {
        Self {
            actor,
            action,
            job_id: None,
            node_id: None,
            detail: None,
        }
    }

    /// The same with words.
    pub fn saying(self, detail: &'e str) -> Self {
        Self {
            detail: Some(detail),
            ..self
        }
    }
}

/// What was written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// UUIDv7; the order of the list.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// To which job.
    pub job_id: Option<String>,
    /// To which node.
    pub node_id: Option<String>,
    /// In words.
    pub detail: Option<String>,
}

/// Which entries to list; `None` is any.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only those older than the entry with this id.
    pub before: Option<String>,
    /// Only of this actor.
    pub actor: Option<String>,
    /// Only this action.
    pub action: Option<String>,
    /// Only on this job.
    pub job_id: Option<String>,
    /// Only on this node.
    pub node_id: Option<String>,
}

/// Writes an entry, as part of the change that it tells of.
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

/// The newest entries that `filter` lets through, newest first.
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
