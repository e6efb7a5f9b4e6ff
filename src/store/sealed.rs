//! Everything that is sealed with the secret key, for its rotation.

use super::{Row, Statement, StoreError, Tx, read_all, values};

/// What a sealed value belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedKind {
    Job,
    StoredSecret,
    Channel,
}

impl SealedKind {
    /// What the sealed bytes are bound to, so that they can't be moved to another row. The id of a
    /// job has no space.
    pub fn bound_to(self, id: &str) -> String {
        match self {
            Self::Job => id.to_owned(),
            Self::StoredSecret => format!("stored secret {id}"),
            Self::Channel => format!("channel {id}"),
        }
    }
}

/// A sealed value.
#[derive(Debug, Clone)]
pub struct Sealed {
    pub kind: SealedKind,
    /// The id or the name of what it belongs to.
    pub id: String,
    pub sealed: Vec<u8>,
}

/// Every sealed value.
pub fn list(tx: &mut dyn Tx) -> Result<Vec<Sealed>, StoreError> {
    static JOBS: Statement = Statement::new("SELECT job_id, sealed FROM job_secrets");
    static STORED: Statement = Statement::new("SELECT name, sealed FROM stored_secrets");
    static CHANNELS: Statement =
        Statement::new("SELECT id, sealed FROM channels WHERE sealed IS NOT NULL");
    let mut all = Vec::new();
    for (kind, statement) in [
        (SealedKind::Job, &JOBS),
        (SealedKind::StoredSecret, &STORED),
        (SealedKind::Channel, &CHANNELS),
    ] {
        let sealed_of_row = |row: &mut Row| {
            Ok(Sealed {
                kind,
                id: row.take()?,
                sealed: row.take()?,
            })
        };
        all.extend(read_all(tx.query(statement, values![])?, sealed_of_row)?);
    }
    Ok(all)
}

/// Replaces a sealed value.
pub fn replace(tx: &mut dyn Tx, row: &Sealed, sealed: Vec<u8>) -> Result<(), StoreError> {
    static JOB: Statement = Statement::new("UPDATE job_secrets SET sealed = $2 WHERE job_id = $1");
    static STORED: Statement =
        Statement::new("UPDATE stored_secrets SET sealed = $2 WHERE name = $1");
    static CHANNEL: Statement = Statement::new("UPDATE channels SET sealed = $2 WHERE id = $1");
    let statement = match row.kind {
        SealedKind::Job => &JOB,
        SealedKind::StoredSecret => &STORED,
        SealedKind::Channel => &CHANNEL,
    };
    tx.execute(statement, values![&row.id, sealed]).map(|_| ())
}
