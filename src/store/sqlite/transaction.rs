//! A transaction on an SQLite connection: statements, values and errors.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, params_from_iter};

use crate::store::{AfterCommit, Change, Row, Statement, StoreError, Tx, Value};

/// Runs a statement without parameters and results.
pub(super) fn run_cached(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute([]))
        .map(|_| ())
        .map_err(|error| store_error(&error))
}

/// A transaction that its owner has begun and will end.
pub(in crate::store) struct SqliteTx<'c> {
    pub(super) connection: &'c Connection,
    pub(super) effects: Effects,
}

impl<'c> SqliteTx<'c> {
    /// For a connection that only reads.
    pub(in crate::store) fn reading(connection: &'c Connection) -> Self {
        Self {
            connection,
            effects: Effects::default(),
        }
    }
}

/// What follows the commit.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) changes: Vec<Change>,
    pub(super) acts: Vec<AfterCommit>,
}

impl Tx for SqliteTx<'_> {
    fn query(&mut self, statement: &Statement, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        let wrong = |error: rusqlite::Error| store_error(&error);
        let mut prepared = self
            .connection
            .prepare_cached(statement.for_sqlite())
            .map_err(wrong)?;
        let columns = prepared.column_count();
        let mut rows = prepared.query(params_from_iter(params)).map_err(wrong)?;
        let mut out = Vec::new();
        while let Some(row) = rows.next().map_err(wrong)? {
            let values: Result<Vec<Value>, rusqlite::Error> = (0..columns)
                .map(|column| row.get_ref(column).map(value_of))
                .collect();
            out.push(Row::new(values.map_err(wrong)?));
        }
        Ok(out)
    }

    fn execute(&mut self, statement: &Statement, params: &[Value]) -> Result<u64, StoreError> {
        self.connection
            .prepare_cached(statement.for_sqlite())
            .and_then(|mut prepared| prepared.execute(params_from_iter(params)))
            .map(|changed| changed as u64)
            .map_err(|error| store_error(&error))
    }

    fn publish(&mut self, change: Change) {
        self.effects.changes.push(change);
    }

    fn after_commit(&mut self, act: AfterCommit) {
        self.effects.acts.push(act);
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Value::Int(int) => ToSqlOutput::Borrowed(ValueRef::Integer(*int)),
            Value::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Value::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Value::Time(at) => ToSqlOutput::Owned(at.to_string().into()),
        })
    }
}

fn value_of(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(int) => Value::Int(int),
        // No column is REAL. A fractional number typed by hand is truncated.
        ValueRef::Real(real) => Value::Int(real as i64),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    }
}

fn store_error(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy,
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(
            ErrorCode::ReadOnly
            | ErrorCode::CannotOpen
            | ErrorCode::SystemIoFailure
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::PermissionDenied,
        ) => StoreError::Unusable(error.to_string()),
        _ => StoreError::Statement(error.to_string()),
    }
}
