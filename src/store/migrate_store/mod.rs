//! `hyprbox migrate-store`: copies the data of an SQLite file to PostgreSQL.
//!
//! The command makes the target equal to the source, table by table, in batches with a transaction
//! each. Equal rows are left alone, others are written or deleted. So an interrupted run is
//! continued by running the command again. A run next to a live server copies most of the data, so
//! that the last run, after the server was stopped, is short. The target only records that it is
//! being filled, and servers refuse it until it is complete. At the end both sides are read back,
//! and each table's rows are counted and hashed.

mod digest;
mod source;
mod tables;
mod target;

use std::path::Path;
use std::time::{Duration, Instant};

use self::digest::Digest;
use self::source::{Source, TableScan};
use self::tables::Table;
use self::target::Target;
use super::Value;

/// Rows per batch.
const BATCH_ROWS: usize = 1_000;
/// A batch with more bytes than this is also closed.
const BATCH_BYTES: usize = 4 << 20;
/// How often the progress of a long table is reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);

/// Why the data could not be copied: one line, including how to fix the problem.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct MigrateError(pub String);

/// A table that is equal on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableReport {
    pub table: String,
    pub rows: u64,
    /// SHA-256 of all rows in key order, in hexadecimal. Equal on both sides.
    pub sha256: String,
    /// Rows that were left out because a row that they refer to is missing.
    pub left_out: u64,
}

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    pub tables: Vec<TableReport>,
    /// Columns (such as `jobs.error_msg`) with the number of values that contained a NUL or invalid
    /// UTF-8. PostgreSQL does not accept these, so U+FFFD replaces them.
    pub replaced: Vec<(String, u64)>,
    /// The target, without its password.
    pub target: String,
    /// Why servers still refuse the target: the source may have changed since the copy.
    pub unfinished: Option<String>,
}

/// Copies the file `from` into the empty database `to`. Progress is passed to `report`, line by
/// line.
pub fn migrate_store(
    from: &Path,
    to: &str,
    report: &mut dyn FnMut(&str),
) -> Result<Outcome, MigrateError> {
    if let Some(other) = source::process_with_open(from)? {
        report(&format!(
            "{} has {} open: this run copies what is there now; then stop that program and run the same command again for the rest",
            program(other.pid),
            from.display()
        ));
    }
    let tables = tables::all().map_err(|error| MigrateError(error.to_string()))?;
    let source = Source::open(from)?;
    let path = std::fs::canonicalize(from).unwrap_or_else(|_| from.to_owned());
    let mut target = Target::open(to, &format!("sqlite:{}", path.display()))?;
    for table in &tables {
        copy(&source, &mut target, table, report)?;
    }
    target.analyze()?;
    report("reading both sides back");
    let mut outcome = Outcome {
        tables: Vec::new(),
        replaced: Vec::new(),
        target: target.shown().to_owned(),
        unfinished: None,
    };
    for table in &tables {
        let (table, scan) = compare(&source, &mut target, table)?;
        outcome.tables.push(table);
        outcome.replaced.extend(scan.replaced);
    }
    let has_changed = source.close()?;
    outcome.unfinished = match source::process_with_open(from)? {
        Some(other) => Some(format!("{} has the source open", program(other.pid))),
        None if has_changed => Some("the source has changed since the copy began".to_owned()),
        None => None,
    };
    if outcome.unfinished.is_none() {
        target.finish()?;
    }
    Ok(outcome)
}

fn program(pid: i32) -> String {
    match pid {
        0 => "another program".to_owned(),
        pid => format!("another program (process {pid})"),
    }
}

/// Makes the target's rows of a table equal to the source's.
fn copy(
    source: &Source,
    target: &mut Target,
    table: &Table,
    report: &mut dyn FnMut(&str),
) -> Result<(), MigrateError> {
    let (all, left_out) = source.count(table)?;
    let name = &table.name;
    let is_fresh = target.is_empty(table)?;
    let mut reported = Instant::now();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    let mut after: Option<Vec<Value>> = None;
    let (mut done, mut written) = (0, 0);
    let mut flush = |batch: &mut Vec<Vec<Value>>, after: &mut Option<Vec<Value>>| {
        let Some(last) = batch.last() else {
            return Ok(());
        };
        let last = table.key.iter().map(|at| last[*at].clone()).collect();
        written += if is_fresh {
            target.append(table, batch)?
        } else {
            target.replace_range(table, after.as_deref(), batch)?
        };
        done += batch.len() as u64;
        *after = Some(last);
        batch.clear();
        if reported.elapsed() >= REPORT_INTERVAL {
            reported = Instant::now();
            report(&format!("{name}: {done} of {all}"));
        }
        Ok(())
    };
    source.read(table, |row| {
        bytes += row.iter().map(bytes_of).sum::<usize>();
        batch.push(row);
        if batch.len() >= BATCH_ROWS || bytes >= BATCH_BYTES {
            bytes = 0;
            flush(&mut batch, &mut after)?;
        }
        Ok(())
    })?;
    flush(&mut batch, &mut after)?;
    if !is_fresh {
        written += target.delete_after(table, after.as_deref())?;
    }
    let mut line = format!("{name}: {all} rows");
    if written < all {
        line.push_str(&format!(", {written} of them changed"));
    }
    if left_out > 0 {
        line.push_str(&format!(
            "; {left_out} are left out, since the rows they belong to were deleted by hand"
        ));
    }
    report(&line);
    Ok(())
}

fn bytes_of(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Null | Value::Int(_) | Value::Time(_) => 8,
    }
}

/// Counts and hashes a table on both sides.
fn compare(
    source: &Source,
    target: &mut Target,
    table: &Table,
) -> Result<(TableReport, TableScan), MigrateError> {
    let (mut source_digest, mut target_digest) = (Digest::new(), Digest::new());
    let scan = source.read(table, |row| {
        source_digest.add(&row);
        Ok(())
    })?;
    let rows = target.read(table, |row| target_digest.add(row))?;
    let (source_hash, target_hash) = (source_digest.finish(), target_digest.finish());
    if (scan.rows, &source_hash) != (rows, &target_hash) {
        return Err(MigrateError(format!(
            "{}: the source has {} rows ({}), {} has {rows} ({}). Another program may be writing to it: stop it and run this command again; servers refuse the database until then",
            table.name,
            scan.rows,
            &source_hash[..12],
            target.shown(),
            &target_hash[..12]
        )));
    }
    let (_, left_out) = source.count(table)?;
    let report = TableReport {
        table: table.name.clone(),
        rows,
        sha256: source_hash,
        left_out,
    };
    Ok((report, scan))
}
