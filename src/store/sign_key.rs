//! The public keys with which servers have signed jobs, the id that envelopes name, and the rows
//! that the first start with a sign key signs.

use super::tx::{Row, Statement, Tx, read_all};
use super::{StoreError, values};
use crate::clock::Timestamp;

static LIST: Statement = Statement::new(
    "SELECT seq, public_key, created_at, statement, statement_signature FROM sign_keys ORDER BY seq",
);
static INSERT: Statement = Statement::new(
    "INSERT INTO sign_keys (seq, public_key, created_at, statement, statement_signature)
     VALUES ($1, $2, $3, $4, $5) ON CONFLICT (seq) DO NOTHING",
);
static SERVER_ID: Statement = Statement::new("SELECT server_id FROM server_identity WHERE id = 1");
static INSERT_SERVER_ID: Statement = Statement::new(
    "INSERT INTO server_identity (id, server_id) VALUES (1, $1) ON CONFLICT (id) DO NOTHING",
);
static UNSIGNED: Statement = Statement::new(include_str!("sql/job_unsigned.sql"));
static SIGN: Statement =
    Statement::new("UPDATE jobs SET envelope = $2, signature = $3 WHERE id = $1");
static SEAL: Statement = Statement::new("UPDATE job_secrets SET sealed = $2 WHERE job_id = $1");

/// A public key with which servers have signed jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignKeyRecord {
    pub seq: u64,
    /// As in a public key file.
    pub public_key: String,
    pub created_at: Timestamp,
    /// By which the key before names this one as its successor, with its signature.
    pub statement: Option<(String, String)>,
}

/// The keys, oldest first. The last one signs.
pub fn list(tx: &mut dyn Tx) -> Result<Vec<SignKeyRecord>, StoreError> {
    read_all(tx.query(&LIST, values![])?, |row| {
        Ok(SignKeyRecord {
            seq: row.take()?,
            public_key: row.take()?,
            created_at: row.take()?,
            statement: row
                .take::<Option<String>>()?
                .zip(row.take::<Option<String>>()?),
        })
    })
}

/// Adds a key; false if another server has added one with this number.
pub fn insert(tx: &mut dyn Tx, key: &SignKeyRecord) -> Result<bool, StoreError> {
    let (statement, signature) = key.statement.clone().unzip();
    let params = values![
        key.seq,
        &key.public_key,
        key.created_at,
        statement,
        signature
    ];
    Ok(tx.execute(&INSERT, params)? > 0)
}

/// The server's id. In a database without one, records this one.
pub fn server_id(tx: &mut dyn Tx, new: &str) -> Result<String, StoreError> {
    tx.execute(&INSERT_SERVER_ID, values![new])?;
    match tx.query_one(&SERVER_ID, values![])? {
        Some(mut row) => row.take(),
        None => Ok(new.to_owned()),
    }
}

/// A QUEUED job without an envelope.
#[derive(Debug, Clone)]
pub struct UnsignedJob {
    pub id: String,
    pub preset: String,
    pub node_id: String,
    pub kind: String,
    pub timeout_seconds: u64,
    pub script_sha256: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub created_by_email: String,
    pub sealed: Option<Vec<u8>>,
}

/// Every QUEUED job without an envelope.
pub fn list_unsigned(tx: &mut dyn Tx) -> Result<Vec<UnsignedJob>, StoreError> {
    let unsigned_of_row = |row: &mut Row| {
        Ok(UnsignedJob {
            id: row.take()?,
            preset: row.take()?,
            node_id: row.take()?,
            kind: row.take()?,
            timeout_seconds: row.take()?,
            script_sha256: row.take()?,
            created_at: row.take()?,
            expires_at: row.take_typed_time()?,
            created_by_email: row.take()?,
            sealed: row.take()?,
        })
    };
    read_all(tx.query(&UNSIGNED, values![])?, unsigned_of_row)
}

/// Stores a job's envelope and signature.
pub fn sign(
    tx: &mut dyn Tx,
    job_id: &str,
    envelope: &str,
    signature: &str,
) -> Result<(), StoreError> {
    tx.execute(&SIGN, values![job_id, envelope, signature])
        .map(|_| ())
}

/// Replaces a job's sealed secrets.
pub fn seal_again(tx: &mut dyn Tx, job_id: &str, sealed: Vec<u8>) -> Result<(), StoreError> {
    tx.execute(&SEAL, values![job_id, sealed]).map(|_| ())
}
