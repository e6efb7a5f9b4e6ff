//! The canonical content of rows and entries: JSON on one line, with the fields in a fixed order.
//! Both databases lead to the same bytes.

use hyprbox_protocol::to_hex;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::crypto::sha256;
use crate::store::audit::AuditRecord;
use crate::store::ledger::{LedgerEntry, LedgerJob, LedgerRow, kind};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QueuedJob<'a> {
    id: &'a str,
    preset: &'a str,
    node_id: &'a str,
    created_by: &'a str,
    created_by_email: &'a str,
    created_at: Option<Timestamp>,
    timeout_seconds: i64,
    script_sha256: &'a str,
    params: &'a str,
    run_id: Option<&'a str>,
    batch: Option<i64>,
    kind: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EndedJob<'a> {
    id: &'a str,
    status: &'a str,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    exit_code: Option<i64>,
    signal: Option<&'a str>,
    error_msg: Option<&'a str>,
    recovered_at: Option<Timestamp>,
    complete_digest: Option<String>,
    stdout_sha256: Option<&'a str>,
    stderr_sha256: Option<&'a str>,
    output_verified: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AuditEntry<'a> {
    id: &'a str,
    at: Timestamp,
    actor: &'a str,
    action: &'a str,
    job_id: Option<&'a str>,
    node_id: Option<&'a str>,
    detail: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    seq: u64,
    kind: &'a str,
    id: &'a str,
    at: Timestamp,
    row_sha256: &'a str,
}

fn digest(content: &impl Serialize) -> String {
    let json = serde_json::to_vec(content).expect("a struct of plain values is JSON");
    to_hex(sha256(json))
}

fn queued(job: &LedgerJob) -> String {
    digest(&QueuedJob {
        id: &job.id,
        preset: &job.preset,
        node_id: &job.node_id,
        created_by: &job.created_by,
        created_by_email: &job.created_by_email,
        created_at: job.created_at,
        timeout_seconds: job.timeout_seconds,
        script_sha256: &job.script_sha256,
        params: &job.params,
        run_id: job.run_id.as_deref(),
        batch: job.batch,
        kind: &job.kind,
    })
}

fn ended(job: &LedgerJob) -> String {
    digest(&EndedJob {
        id: &job.id,
        status: &job.status,
        started_at: job.started_at,
        finished_at: job.finished_at,
        exit_code: job.exit_code,
        signal: job.signal.as_deref(),
        error_msg: job.error_msg.as_deref(),
        recovered_at: job.recovered_at,
        complete_digest: job.complete_digest.as_ref().map(to_hex),
        stdout_sha256: job.stdout_sha256.as_deref(),
        stderr_sha256: job.stderr_sha256.as_deref(),
        output_verified: job.output_verified,
    })
}

fn audited(entry: &AuditRecord) -> String {
    digest(&AuditEntry {
        id: &entry.id,
        at: entry.at,
        actor: &entry.actor,
        action: &entry.action,
        job_id: entry.job_id.as_deref(),
        node_id: entry.node_id.as_deref(),
        detail: entry.detail.as_deref(),
    })
}

/// SHA-256 of the part of the row that an entry of this kind is about; of `null` if there is none.
pub(super) fn digest_of_row(entry_kind: &str, row: &LedgerRow) -> String {
    let digest_of_job = match entry_kind {
        kind::JOB_QUEUED => row.job.as_ref().map(queued),
        kind::JOB_ENDED | kind::JOB_ENDED_BY_HAND => row.job.as_ref().map(ended),
        kind::AUDIT => row.audit.as_ref().map(audited),
        _ => None,
    };
    digest_of_job.unwrap_or_else(|| digest(&()))
}

/// The hash of an entry that follows the entry with the hash `previous`.
pub(super) fn hash_of_entry(previous: &str, entry: &LedgerEntry) -> String {
    let content = Entry {
        seq: entry.seq,
        kind: &entry.kind,
        id: &entry.id,
        at: entry.at,
        row_sha256: &entry.row_sha256,
    };
    let json = serde_json::to_string(&content).expect("a struct of plain values is JSON");
    to_hex(sha256(format!("{previous}{json}")))
}
