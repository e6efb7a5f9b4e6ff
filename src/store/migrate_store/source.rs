//! The SQLite file to migrate: read in one snapshot and never written.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::MigrateError;
use super::tables::{Kind, Table};
use crate::clock::Timestamp;
use crate::store::migrate::{self, SCHEMA_VERSION};
use crate::store::{FromValue, Value};

/// Another process that has the file open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OtherProcess {
    /// 0 if the system does not report it.
    pub(super) pid: i32,
}

/// Returns another process that has the database open. Each such process holds a lock on the index
/// file next to the log.
///
/// Call this only while this process has the database closed: closing the index file would release
/// this process's own locks on it, including SQLite's.
pub(super) fn process_with_open(path: &Path) -> Result<Option<OtherProcess>, MigrateError> {
    let mut index = path.as_os_str().to_owned();
    index.push("-shm");
    let file = match File::open(PathBuf::from(index)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cant_read(path, &error)),
    };
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_GETLK(&mut lock)).map_err(|error| cant_read(path, &error))?;
    let is_held = lock.l_type != libc::F_UNLCK as libc::c_short;
    Ok(is_held.then_some(OtherProcess {
        pid: lock.l_pid.max(0),
    }))
}

fn cant_read(path: &Path, error: &dyn std::fmt::Display) -> MigrateError {
    MigrateError(format!("can't read {}: {error}", path.display()))
}

/// An open snapshot.
pub(super) struct Source {
    connection: Connection,
    path: PathBuf,
    version: i64,
}

/// The result of reading a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TableScan {
    pub(super) rows: u64,
    /// Per column, the number of values with a NUL or invalid UTF-8. Each such place becomes U+FFFD
    /// in the other database.
    pub(super) replaced: std::collections::BTreeMap<String, u64>,
}

impl Source {
    /// Opens the file and begins a snapshot, without changing the file.
    pub(super) fn open(path: &Path) -> Result<Self, MigrateError> {
        if !path.is_file() {
            return Err(MigrateError(format!("{} does not exist", path.display())));
        }
        migrate::refuse_foreign_file(path).map_err(|error| MigrateError(error.0))?;
        let wrong = |error: rusqlite::Error| cant_read(path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(wrong)?;
        connection
            .busy_timeout(Duration::from_secs(10))
            .map_err(wrong)?;
        let version = data_version(&connection).map_err(wrong)?;
        connection.execute_batch("BEGIN").map_err(wrong)?;
        migrate::refuse_newer(&connection, path).map_err(|error| MigrateError(error.0))?;
        let schema: i64 = connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(wrong)?;
        if schema < SCHEMA_VERSION {
            return Err(MigrateError(format!(
                "{} is from an older version of hyprbox (schema {schema}, this one has {SCHEMA_VERSION}): start this version's server with it once, which upgrades it, and then migrate",
                path.display()
            )));
        }
        Ok(Self {
            connection,
            path: path.to_owned(),
            version,
        })
    }

    /// Counts the rows of a table that can be migrated, and those that can't because a row that
    /// they refer to was deleted with a tool that does not enforce references.
    pub(super) fn count(&self, table: &Table) -> Result<(u64, u64), MigrateError> {
        let name = &table.name;
        let number = |sql: String| -> Result<u64, MigrateError> {
            let count: i64 = self
                .connection
                .query_row(&sql, [], |row| row.get(0))
                .map_err(|error| cant_read(&self.path, &error))?;
            Ok(u64::try_from(count).unwrap_or(0))
        };
        let all = number(format!("SELECT count(*) FROM {name}"))?;
        if table.references.is_empty() {
            return Ok((all, 0));
        }
        let kept = number(format!(
            "SELECT count(*) FROM {name} WHERE {}",
            references_exist(table)
        ))?;
        Ok((kept, all - kept))
    }

    /// Reads a table in key order, row by row, with the conversions that the server applies.
    pub(super) fn read(
        &self,
        table: &Table,
        mut take: impl FnMut(Vec<Value>) -> Result<(), MigrateError>,
    ) -> Result<TableScan, MigrateError> {
        let wrong = |error: rusqlite::Error| cant_read(&self.path, &error);
        let sql = format!(
            "SELECT {} FROM {} WHERE {} ORDER BY {}",
            table.column_list(),
            table.name,
            references_exist(table),
            table.key_list()
        );
        let mut statement = self.connection.prepare(&sql).map_err(wrong)?;
        let mut rows = statement.query([]).map_err(wrong)?;
        let mut scan = TableScan::default();
        while let Some(row) = rows.next().map_err(wrong)? {
            let mut values = Vec::with_capacity(table.columns.len());
            for (at, column) in table.columns.iter().enumerate() {
                let raw = row.get_ref(at).map_err(wrong)?;
                let Some((value, replaced)) = value_of(raw, column.kind) else {
                    return Err(unreadable(table, &values, &column.name, raw));
                };
                if replaced {
                    let place = format!("{}.{}", table.name, column.name);
                    *scan.replaced.entry(place).or_default() += 1;
                }
                values.push(value);
            }
            scan.rows += 1;
            take(values)?;
        }
        Ok(scan)
    }

    /// Ends the snapshot and closes the file; true if somebody has written to it since it was
    /// opened.
    pub(super) fn close(self) -> Result<bool, MigrateError> {
        let wrong = |error: rusqlite::Error| cant_read(&self.path, &error);
        self.connection.execute_batch("COMMIT").map_err(wrong)?;
        let version = data_version(&self.connection).map_err(wrong)?;
        Ok(version != self.version)
    }
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA data_version", [], |row| row.get(0))
}

/// The SQL condition that all rows exist that a row refers to.
fn references_exist(table: &Table) -> String {
    let name = &table.name;
    let conditions: Vec<String> = table
        .references
        .iter()
        .map(|reference| {
            let (column, other, key) = (&reference.column, &reference.table, &reference.key);
            format!("({name}.{column} IS NULL OR EXISTS (SELECT 1 FROM {other} WHERE {other}.{key} = {name}.{column}))")
        })
        .collect();
    if conditions.is_empty() {
        "true".to_owned()
    } else {
        conditions.join(" AND ")
    }
}

/// Returns a value as PostgreSQL can store it, and whether a part of it was replaced; `None` if the
/// server could not read the value either.
fn value_of(raw: ValueRef<'_>, kind: Kind) -> Option<(Value, bool)> {
    let value = match raw {
        ValueRef::Null => return Some((Value::Null, false)),
        ValueRef::Integer(int) => Value::Int(int),
        ValueRef::Real(real) => Value::Int(real as i64),
        ValueRef::Text(bytes) if kind == Kind::Text => return Some(text_of(bytes)),
        ValueRef::Text(bytes) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    };
    let value = match kind {
        Kind::Int => i64::from_value(value).map(Value::Int),
        Kind::Text => String::from_value(value).map(Value::Text),
        Kind::Bytes => Vec::from_value(value).map(Value::Bytes),
        Kind::Time => Timestamp::from_value(value).map(Value::Time),
    };
    value.map(|value| (value, false))
}

fn text_of(bytes: &[u8]) -> (Value, bool) {
    let text = String::from_utf8_lossy(bytes);
    let is_whole = matches!(text, std::borrow::Cow::Borrowed(_)) && !text.contains('\0');
    let text = if is_whole {
        text.into_owned()
    } else {
        text.replace('\0', "\u{fffd}")
    };
    (Value::Text(text), !is_whole)
}

fn unreadable(table: &Table, before: &[Value], column: &str, raw: ValueRef<'_>) -> MigrateError {
    let shown = match raw {
        ValueRef::Text(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(int) => int.to_string(),
        ValueRef::Real(real) => real.to_string(),
        ValueRef::Blob(bytes) => format!("a blob of {} bytes", bytes.len()),
    };
    let row = match before.first() {
        Some(Value::Text(text)) => format!(" of the row {text:?}"),
        _ => String::new(),
    };
    MigrateError(format!(
        "{}.{column}{row} is {shown}, which the server can't read either: correct it there and run this command again",
        table.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_the_server_reads_them() {
        let at = |text: &str| Value::Time(text.parse().expect("a time"));
        let cases = [
            (ValueRef::Text(b"22"), Kind::Text, Value::from("22"), false),
            (
                ValueRef::Text(b"a\0b"),
                Kind::Text,
                Value::from("a\u{fffd}b"),
                true,
            ),
            (
                ValueRef::Text(b"a\xffb"),
                Kind::Text,
                Value::from("a\u{fffd}b"),
                true,
            ),
            (
                ValueRef::Text(b"2026-11-24 09:30:00"),
                Kind::Time,
                at("2026-11-24T09:30:00.000Z"),
                false,
            ),
            (
                ValueRef::Integer(1_795_512_600),
                Kind::Time,
                at("2026-11-24T09:30:00.000Z"),
                false,
            ),
            (
                ValueRef::Text(b"\0\xff"),
                Kind::Text,
                Value::from("\u{fffd}\u{fffd}"),
                true,
            ),
            (
                ValueRef::Blob(b"\0\xff"),
                Kind::Bytes,
                Value::Bytes(b"\0\xff".to_vec()),
                false,
            ),
            (ValueRef::Null, Kind::Time, Value::Null, false),
        ];
        for (raw, kind, value, replaced) in cases {
            assert_eq!(value_of(raw, kind), Some((value, replaced)), "{raw:?}");
        }
        assert_eq!(value_of(ValueRef::Text(b"yesterday"), Kind::Time), None);
        assert_eq!(value_of(ValueRef::Text(b"many"), Kind::Int), None);
        assert_eq!(value_of(ValueRef::Blob(b"text"), Kind::Text), None);
    }
}
