//! The ledger: a hash chain over what happened, what must still be appended to it, and what its
//! checks have found.

use super::audit::AuditRecord;
use super::tx::{Row, Statement, Tx, read_all};
use super::{StoreError, values};
use crate::clock::Timestamp;

/// The columns of [`LedgerRow`].
macro_rules! rows {
    () => {
        include_str!("sql/ledger_rows.sql")
    };
}

static BEGIN: Statement = Statement::new(
    "INSERT INTO ledger_state (id, seq, hash) VALUES (1, 0, $1) ON CONFLICT (id) DO NOTHING",
);
static HEAD: Statement = Statement::new(
    "SELECT seq, hash, checked_at, checked_all_at, (SELECT max(seq) FROM ledger) FROM ledger_state WHERE id = 1",
);
static SET_HEAD: Statement =
    Statement::new("UPDATE ledger_state SET seq = $1, hash = $2 WHERE id = 1");
static SET_CHECKED: Statement =
    Statement::new("UPDATE ledger_state SET checked_at = $1 WHERE id = 1");
static SET_CHECKED_ALL: Statement =
    Statement::new("UPDATE ledger_state SET checked_at = $1, checked_all_at = $1 WHERE id = 1");
static APPEND: Statement = Statement::new(include_str!("sql/ledger_append.sql"));
static APPEND_SHARED: Statement = Statement::new(include_str!("sql/ledger_append.postgres.sql"));
static IS_DUE: Statement = Statement::new("SELECT 1 FROM ledger_due LIMIT 1");
static DUE: Statement = Statement::new(concat!(
    "SELECT d.id, d.kind, d.row_id, ",
    rows!(),
    include_str!("sql/ledger_due.sql")
));
static DELETE_DUE: Statement =
    Statement::new("DELETE FROM ledger_due WHERE id IN (SELECT value FROM json_each($1))");
static DELETE_DUE_SHARED: Statement = Statement::new(
    "DELETE FROM ledger_due WHERE id IN (SELECT jsonb_array_elements_text(CAST(CAST($1 AS TEXT) AS JSONB)))",
);
static PAGE: Statement = Statement::new(concat!(
    "SELECT l.seq, l.kind, l.id, l.at, l.row_sha256, l.hash,
    (SELECT max(n.seq) FROM ledger n WHERE n.id = l.id AND n.kind IN ('job_ended', 'job_ended_by_hand')),
    CASE WHEN (SELECT max(n.seq) FROM ledger n WHERE n.id = l.id AND n.kind = 'job_deleted') IS NULL THEN 0 ELSE 1 END,
    CASE WHEN EXISTS (SELECT 1 FROM ledger_due d WHERE d.row_id = l.id) THEN 1 ELSE 0 END, ",
    rows!(),
    include_str!("sql/ledger_page.sql")
));
static HASH_OF: Statement = Statement::new("SELECT hash FROM ledger WHERE seq = $1");
static SEQ_OF: Statement =
    Statement::new("SELECT seq FROM ledger WHERE hash = $1 ORDER BY seq LIMIT 1");
static JOBS_WITHOUT_ENTRY: Statement =
    Statement::new(include_str!("sql/ledger_jobs_without_entry.sql"));
static AUDIT_WITHOUT_ENTRY: Statement =
    Statement::new(include_str!("sql/ledger_audit_without_entry.sql"));
static SCRIPTS: Statement = Statement::new(concat!(
    "SELECT id, script_sha256, ",
    include_str!("sql/job_script.sql"),
    " FROM jobs WHERE id < $1 ORDER BY id DESC LIMIT $2"
));
static INSERT_FAULT: Statement = Statement::new(
    "INSERT INTO ledger_faults (kind, id, seq, detail, found_at) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (kind, id, seq) DO NOTHING",
);
static OPEN_FAULTS: Statement = Statement::new(
    "SELECT kind, id, seq, detail FROM ledger_faults WHERE acknowledged_at IS NULL
     ORDER BY CASE WHEN seq = 0 OR kind = 'witness' THEN 1 ELSE 0 END, seq, found_at, kind, id LIMIT $1",
);
static ACKNOWLEDGE: Statement = Statement::new(
    "UPDATE ledger_faults SET acknowledged_at = $1, acknowledged_by = $2 WHERE acknowledged_at IS NULL",
);
static SET_WITNESS: Statement =
    Statement::new("UPDATE nodes SET ledger_seq = $2, ledger_hash = $3 WHERE id = $1");
static DISAGREEING: Statement = Statement::new(
    "SELECT n.id, n.ledger_seq, n.ledger_hash FROM nodes n LEFT JOIN ledger l ON l.seq = n.ledger_seq
     WHERE n.ledger_seq IS NOT NULL AND (l.hash IS NULL OR l.hash <> n.ledger_hash) ORDER BY n.id",
);

/// What an entry is about.
pub mod kind {
    pub const JOB_QUEUED: &str = "job_queued";
    pub const JOB_ENDED: &str = "job_ended";
    pub const JOB_ENDED_BY_HAND: &str = "job_ended_by_hand";
    pub const JOB_DELETED: &str = "job_deleted";
    pub const RUN_DELETED: &str = "run_deleted";
    pub const SLOT_DELETED: &str = "slot_deleted";
    pub const AUDIT: &str = "audit";
    /// Not of an entry: of a fault that a node has shown.
    pub const WITNESS: &str = "witness";
    /// Not of an entry: of a fault where one should be.
    pub const MISSING: &str = "missing";
}

/// The hash before the first entry.
pub const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// An entry of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    pub seq: u64,
    pub kind: String,
    /// Of the job, the audit entry, …
    pub id: String,
    /// When it was appended.
    pub at: Timestamp,
    /// SHA-256 of the canonical content of the row, in hex.
    pub row_sha256: String,
    /// SHA-256 of the previous hash and the canonical content of the entry, in hex.
    pub hash: String,
}

/// The columns of a job that entries are about.
#[derive(Debug, Clone)]
pub struct LedgerJob {
    pub id: String,
    pub preset: String,
    pub node_id: String,
    pub created_by: String,
    pub created_by_email: String,
    pub created_at: Option<Timestamp>,
    pub timeout_seconds: i64,
    pub script_sha256: String,
    pub params: String,
    pub run_id: Option<String>,
    pub batch: Option<i64>,
    pub kind: String,
    pub status: String,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub exit_code: Option<i64>,
    pub signal: Option<String>,
    pub error_msg: Option<String>,
    pub recovered_at: Option<Timestamp>,
    pub complete_digest: Option<Vec<u8>>,
    pub stdout_sha256: Option<String>,
    pub stderr_sha256: Option<String>,
    pub output_verified: Option<i64>,
}

/// The row that an entry is about; `None` if it does not exist.
#[derive(Debug, Clone)]
pub struct LedgerRow {
    pub job: Option<LedgerJob>,
    pub audit: Option<AuditRecord>,
}

/// Something that must be appended.
#[derive(Debug, Clone)]
pub struct DueEntry {
    pub due_id: String,
    pub kind: String,
    pub id: String,
    pub row: LedgerRow,
}

/// An entry with its row as it is now.
#[derive(Debug, Clone)]
pub struct EntryWithRow {
    pub entry: LedgerEntry,
    /// The last entry about the job's end.
    pub last_end: Option<u64>,
    /// Whether retention has deleted the job.
    pub is_deleted: bool,
    /// Whether something about the row must still be appended.
    pub is_due: bool,
    pub row: LedgerRow,
}

/// The end of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerState {
    pub seq: u64,
    pub hash: String,
    pub checked_at: Option<Timestamp>,
    pub checked_all_at: Option<Timestamp>,
    /// The number of the last entry that exists.
    pub last_entry: Option<u64>,
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerFault {
    pub kind: String,
    pub id: String,
    /// 0: a row without an entry.
    pub seq: u64,
    /// In words.
    pub detail: String,
}

fn ledger_row(row: &mut Row) -> Result<LedgerRow, StoreError> {
    let job = match row.take::<Option<String>>()? {
        Some(id) => Some(LedgerJob {
            id,
            preset: row.take()?,
            node_id: row.take()?,
            created_by: row.take()?,
            created_by_email: row.take()?,
            created_at: row.take_typed_time()?,
            timeout_seconds: row.take()?,
            script_sha256: row.take()?,
            params: row.take()?,
            run_id: row.take()?,
            batch: row.take()?,
            kind: row.take()?,
            status: row.take()?,
            started_at: row.take_typed_time()?,
            finished_at: row.take_typed_time()?,
            exit_code: row.take()?,
            signal: row.take()?,
            error_msg: row.take()?,
            recovered_at: row.take_typed_time()?,
            complete_digest: row.take()?,
            stdout_sha256: row.take()?,
            stderr_sha256: row.take()?,
            output_verified: row.take()?,
        }),
        None => {
            row.skip(22);
            None
        }
    };
    let audit = match row.take::<Option<String>>()? {
        Some(id) => Some(AuditRecord {
            id,
            at: row
                .take_typed_time()?
                .unwrap_or_else(|| Timestamp::from_millis(0)),
            actor: row.take()?,
            action: row.take()?,
            job_id: row.take()?,
            node_id: row.take()?,
            detail: row.take()?,
        }),
        None => None,
    };
    Ok(LedgerRow { job, audit })
}

/// The end of the chain, which begins if there is none yet.
pub fn state(tx: &mut dyn Tx) -> Result<LedgerState, StoreError> {
    let Some(mut row) = tx.query_one(&HEAD, values![])? else {
        return Ok(LedgerState {
            seq: 0,
            hash: NO_HASH.to_owned(),
            checked_at: None,
            checked_all_at: None,
            last_entry: None,
        });
    };
    Ok(LedgerState {
        seq: row.take()?,
        hash: row.take()?,
        checked_at: row.take()?,
        checked_all_at: row.take()?,
        last_entry: row.take()?,
    })
}

/// Excludes other servers that append, until this transaction ends. Returns the end of the chain.
pub fn lock(tx: &mut dyn Tx) -> Result<LedgerState, StoreError> {
    tx.lock("ledger")?;
    tx.execute(&BEGIN, values![NO_HASH])?;
    state(tx)
}

/// Appends entries. The caller has the [`lock`].
pub fn append(tx: &mut dyn Tx, entries: &[LedgerEntry]) -> Result<(), StoreError> {
    let Some(last) = entries.last() else {
        return Ok(());
    };
    let list: Vec<_> = entries
        .iter()
        .map(|e| serde_json::json!([e.seq, e.kind, e.id, e.at, e.row_sha256, e.hash]))
        .collect();
    let list = serde_json::Value::from(list).to_string();
    let append = if tx.is_shared() {
        &APPEND_SHARED
    } else {
        &APPEND
    };
    tx.execute(append, values![list])?;
    tx.execute(&SET_HEAD, values![last.seq, &last.hash])
        .map(|_| ())
}

/// Whether anything must be appended.
pub fn is_due(tx: &mut dyn Tx) -> Result<bool, StoreError> {
    Ok(tx.query_one(&IS_DUE, values![])?.is_some())
}

/// What must be appended, oldest first.
pub fn due(tx: &mut dyn Tx, limit: u64) -> Result<Vec<DueEntry>, StoreError> {
    read_all(tx.query(&DUE, values![limit])?, |row| {
        Ok(DueEntry {
            due_id: row.take()?,
            kind: row.take()?,
            id: row.take()?,
            row: ledger_row(row)?,
        })
    })
}

/// Removes what was appended.
pub fn delete_due(tx: &mut dyn Tx, appended: &[DueEntry]) -> Result<(), StoreError> {
    let ids: Vec<&str> = appended.iter().map(|due| due.due_id.as_str()).collect();
    let delete = if tx.is_shared() {
        &DELETE_DUE_SHARED
    } else {
        &DELETE_DUE
    };
    tx.execute(delete, values![serde_json::json!(ids).to_string()])
        .map(|_| ())
}

/// Entries after `seq`, in order, each with its row as it is now.
pub fn page(tx: &mut dyn Tx, seq: u64, limit: u64) -> Result<Vec<EntryWithRow>, StoreError> {
    read_all(tx.query(&PAGE, values![seq, limit])?, |row| {
        Ok(EntryWithRow {
            entry: LedgerEntry {
                seq: row.take()?,
                kind: row.take()?,
                id: row.take()?,
                at: row
                    .take_typed_time()?
                    .unwrap_or_else(|| Timestamp::from_millis(0)),
                row_sha256: row.take()?,
                hash: row.take()?,
            },
            last_end: row.take()?,
            is_deleted: row.take()?,
            is_due: row.take()?,
            row: ledger_row(row)?,
        })
    })
}

/// The hash of an entry.
pub fn hash_of(tx: &mut dyn Tx, seq: u64) -> Result<Option<String>, StoreError> {
    tx.query_one(&HASH_OF, values![seq])?
        .map(|mut row| row.take())
        .transpose()
}

/// The entry with this hash.
pub fn seq_of(tx: &mut dyn Tx, hash: &str) -> Result<Option<u64>, StoreError> {
    tx.query_one(&SEQ_OF, values![hash])?
        .map(|mut row| row.take())
        .transpose()
}

fn ids_with_entries(
    tx: &mut dyn Tx,
    statement: &Statement,
    before: &str,
    limit: u64,
) -> Result<Vec<(String, bool)>, StoreError> {
    read_all(tx.query(statement, values![before, limit])?, |row| {
        Ok((row.take()?, row.take()?))
    })
}

/// Jobs with ids before `before`, newest first, and whether the ledger has what it must about each.
pub fn jobs_with_entries(
    tx: &mut dyn Tx,
    before: &str,
    limit: u64,
) -> Result<Vec<(String, bool)>, StoreError> {
    ids_with_entries(tx, &JOBS_WITHOUT_ENTRY, before, limit)
}

/// Like [`jobs_with_entries`], for audit entries.
pub fn audit_with_entries(
    tx: &mut dyn Tx,
    before: &str,
    limit: u64,
) -> Result<Vec<(String, bool)>, StoreError> {
    ids_with_entries(tx, &AUDIT_WITHOUT_ENTRY, before, limit)
}

/// Jobs with ids before `before`, newest first: id, the SHA-256 that the job names, and the script.
pub fn scripts(
    tx: &mut dyn Tx,
    before: &str,
    limit: u64,
) -> Result<Vec<(String, String, String)>, StoreError> {
    read_all(tx.query(&SCRIPTS, values![before, limit])?, |row| {
        Ok((row.take()?, row.take()?, row.take()?))
    })
}

/// Records the end of a check, of all entries or of the newest.
pub fn set_checked(tx: &mut dyn Tx, all: bool, now: Timestamp) -> Result<(), StoreError> {
    let set = if all { &SET_CHECKED_ALL } else { &SET_CHECKED };
    tx.execute(&BEGIN, values![NO_HASH])?;
    tx.execute(set, values![now]).map(|_| ())
}

/// Records what a check has found. Returns whether it is new: a fault that somebody has
/// acknowledged is not.
pub fn record_fault(
    tx: &mut dyn Tx,
    fault: &LedgerFault,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let params = values![&fault.kind, &fault.id, fault.seq, &fault.detail, now];
    Ok(tx.execute(&INSERT_FAULT, params)? > 0)
}

/// Faults that nobody has acknowledged, first by their place in the chain.
pub fn open_faults(tx: &mut dyn Tx, limit: u64) -> Result<Vec<LedgerFault>, StoreError> {
    read_all(tx.query(&OPEN_FAULTS, values![limit])?, |row| {
        Ok(LedgerFault {
            kind: row.take()?,
            id: row.take()?,
            seq: row.take()?,
            detail: row.take()?,
        })
    })
}

/// Acknowledges every open fault. Returns how many there were.
pub fn acknowledge(tx: &mut dyn Tx, email: &str, now: Timestamp) -> Result<u64, StoreError> {
    tx.execute(&ACKNOWLEDGE, values![now, email])
}

/// Records the newest entry that a node's agent knows.
pub fn set_witness(tx: &mut dyn Tx, node_id: &str, seq: u64, hash: &str) -> Result<(), StoreError> {
    tx.execute(&SET_WITNESS, values![node_id, seq, hash])
        .map(|_| ())
}

/// The nodes whose agents know an entry that the ledger does not have: node, number and hash.
pub fn disagreeing_nodes(tx: &mut dyn Tx) -> Result<Vec<(String, u64, String)>, StoreError> {
    read_all(tx.query(&DISAGREEING, values![])?, |row| {
        Ok((row.take()?, row.take()?, row.take()?))
    })
}
