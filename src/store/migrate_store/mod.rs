//! `hyprbox migrate-store`: a SQLite appliance's data moved to Postgres.
//!
//! It makes the target the same as the source, table by table, in batches, each a transaction of
//! its own: rows that are there already are compared and left, others are written or deleted. So a
//! run that was broken off at any point is gone on with by running it again, and a run beside a
//! live server copies most of what there is, so that the last one, after the server's end, is
//! short. Nothing is remembered but that the target is being filled: servers refuse it until it is
//! whole. At the end both sides are read back, and each table's rows are counted and hashed.

mod digest;
mod source;
mod tables;
mod target;

use std::path::Path;
use std::time::{Duration, Instant};

use self::digest::Digest;
use self::source::{Reading, Source};
use self::tables::Table;
use self::target::Target;
use super::Value;

/// Rows that are compared and written at once.
const BATCH_ROWS: usize = 1_000;
/// And their bytes, past which a batch is closed.
const BATCH_BYTES: usize = 4 << 20;
/// How often a long table tells how far it is.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// Why the data could not be moved: one line, with the mend.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct MigrateError(pub String);

/// A table that is the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Its name.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// SHA-256 of all of them in the order of their key, in hexadecimal; both sides gave it.
    pub sha256: String,
    /// Rows that were left out, as what they refer to is gone.
    pub left_out: u64,
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// Every table.
    pub tables: Vec<Moved>,
    /// Values (`jobs.error_msg`) with a NUL, or of no UTF-8, which Postgres refuses, and how many:
    /// U+FFFD stands for it there.
    pub replaced: Vec<(String, u64)>,
    /// The target, without its password.
    pub target: String,
    /// Why the target is closed to servers still, where it is: the source may have changed since.
    pub unfinished: Option<String>,
}

/// Moves everything of the file `from` into the empty database `to`. `tell` is told, line by line,
/// how far it is.
pub fn migrate_store(
    from: &Path,
    to: &str,
    tell: &mut dyn FnMut(&str),
) -> Result<Outcome, MigrateError> {
    if let Some(user) = source::user_of(from)? {
        tell(&format!(
            "{} has {} open: this run copies ahead; stop it and run the same again for the rest",
            program(user.pid),
            from.display()
        ));
    }
    let tables = tables::all().map_err(|error| MigrateError(error.to_string()))?;
    let source = Source::open(from)?;
    let named = std::fs::canonicalize(from).unwrap_or_else(|_| from.to_owned());
    let mut target = Target::open(to, &format!("sqlite:{}", named.display()))?;
    for table in &tables {
        copy(&source, &mut target, table, tell)?;
    }
    target.analyze()?;
    tell("reading both sides back");
    let mut outcome = Outcome {
        tables: Vec::new(),
        replaced: Vec::new(),
        target: target.shown().to_owned(),
        unfinished: None,
    };
    for table in &tables {
        let (moved, reading) = compare(&source, &mut target, table)?;
        outcome.tables.push(moved);
        outcome.replaced.extend(reading.replaced);
    }
    let has_changed = source.close()?;
    outcome.unfinished = match source::user_of(from)? {
        Some(user) => Some(format!("{} has the source open", program(user.pid))),
        None if has_changed => Some("the source was written to meanwhile".to_owned()),
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

/// Makes the target's rows of a table those of the source.
fn copy(
    source: &Source,
    target: &mut Target,
    table: &Table,
    tell: &mut dyn FnMut(&str),
) -> Result<(), MigrateError> {
    let (all, left_out) = source.count(table)?;
    let name = &table.name;
    let is_fresh = target.is_empty(table)?;
    let mut told = Instant::now();
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
            target.settle(table, after.as_deref(), batch)?
        };
        done += batch.len() as u64;
        *after = Some(last);
        batch.clear();
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            tell(&format!("{name}: {done} of {all}"));
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
            "; {left_out} are left out, as what they belong to was deleted by hand"
        ));
    }
    tell(&line);
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
) -> Result<(Moved, Reading), MigrateError> {
    let (mut here, mut there) = (Digest::new(), Digest::new());
    let reading = source.read(table, |row| {
        here.add(&row);
        Ok(())
    })?;
    let rows = target.read(table, |row| there.add(row))?;
    let (here, there) = (here.finish(), there.finish());
    if (reading.rows, &here) != (rows, &there) {
        return Err(MigrateError(format!(
            "{}: the source has {} rows ({}), {} has {rows} ({}): is somebody else writing there? Nothing was switched; run this again",
            table.name,
            reading.rows,
            &here[..12],
            target.shown(),
            &there[..12]
        )));
    }
    let (_, left_out) = source.count(table)?;
    let moved = Moved {
        table: table.name.clone(),
        rows,
        sha256: here,
        left_out,
    };
    Ok((moved, reading))
}
