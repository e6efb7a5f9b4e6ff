//! Standing envelopes: what a person has signed in advance for a schedule's jobs.

use super::tx::{Row, Statement, Tx};
use super::{StoreError, values};
use crate::clock::Timestamp;

macro_rules! select {
    ($rest:literal) => {
        Statement::new(concat!(
            "SELECT id, schedule_id, envelope, signature, signed_by, created_at FROM standing_envelopes ",
            $rest
        ))
    };
}

/// A standing envelope and its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingRecord {
    pub id: String,
    pub schedule_id: String,
    /// What was signed, byte for byte.
    pub envelope: String,
    /// A person's signature over the envelope.
    pub signature: String,
    /// The person's key: a JSON object.
    pub signed_by: String,
    pub created_at: Timestamp,
}

fn of_row(mut row: Row) -> Result<StandingRecord, StoreError> {
    Ok(StandingRecord {
        id: row.take()?,
        schedule_id: row.take()?,
        envelope: row.take()?,
        signature: row.take()?,
        signed_by: row.take()?,
        created_at: row.take()?,
    })
}

/// Adds a standing envelope, which counts from now on for its schedule.
pub fn insert(tx: &mut dyn Tx, record: &StandingRecord) -> Result<(), StoreError> {
    static INSERT: Statement = Statement::new(
        "INSERT INTO standing_envelopes (id, schedule_id, envelope, signature, signed_by, created_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
    );
    let params = values![
        &record.id,
        &record.schedule_id,
        &record.envelope,
        &record.signature,
        &record.signed_by,
        record.created_at
    ];
    tx.execute(&INSERT, params).map(|_| ())
}

/// The schedule's newest standing envelope.
pub fn newest(tx: &mut dyn Tx, schedule_id: &str) -> Result<Option<StandingRecord>, StoreError> {
    static NEWEST: Statement = select!("WHERE schedule_id = $1 ORDER BY id DESC LIMIT 1");
    tx.query_one(&NEWEST, values![schedule_id])?
        .map(of_row)
        .transpose()
}

/// The standing envelope with this id.
pub fn find(tx: &mut dyn Tx, id: &str) -> Result<Option<StandingRecord>, StoreError> {
    static FIND: Statement = select!("WHERE id = $1");
    tx.query_one(&FIND, values![id])?.map(of_row).transpose()
}

/// Deletes standing envelopes that no job names and that no longer count for a schedule.
pub fn prune(tx: &mut dyn Tx) -> Result<u64, StoreError> {
    static PRUNE: Statement = Statement::new(include_str!("sql/standing_prune.sql"));
    tx.execute(&PRUNE, values![])
}
