//! The interface of a transaction: statements in, rows out.

use std::borrow::Cow;
use std::sync::OnceLock;

use super::{Change, StoreError};
use crate::clock::Timestamp;

/// What a transaction does outside of the database once it is durable, such as to count something.
pub type AfterCommit = Box<dyn FnOnce() + Send>;

/// One transaction on either database, created by [`super::Store::read`] and
/// [`super::Store::write`].
pub trait Tx {
    /// Runs a statement that returns rows. `params` are `$1`, `$2`, … in order.
    fn query(&mut self, statement: &Statement, params: &[Value]) -> Result<Vec<Row>, StoreError>;

    /// Runs a statement that changes rows and returns their number.
    fn execute(&mut self, statement: &Statement, params: &[Value]) -> Result<u64, StoreError>;

    /// A read that need not be part of the transaction. Before the first other statement it sees
    /// committed data, takes no locks and, on PostgreSQL, costs no BEGIN and COMMIT.
    fn peek(&mut self, statement: &Statement, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.query(statement, params)
    }

    /// [`Tx::query`] for the transaction's last statement. On PostgreSQL the COMMIT is sent with
    /// it. After this call the transaction may run no other statement, and its work must not return
    /// an error.
    fn query_last(
        &mut self,
        statement: &Statement,
        params: &[Value],
    ) -> Result<Vec<Row>, StoreError> {
        self.query(statement, params)
    }

    /// Passes a change to the rest of the server once this transaction is durable.
    fn publish(&mut self, change: Change);

    /// Calls `act` once this transaction is durable, unless it fails. `act` must not block.
    fn after_commit(&mut self, act: AfterCommit);

    /// Waits for other transactions that lock the same name, and excludes them until this one ends.
    /// For a check and a change that belong together if there is no row to lock. SQLite has a
    /// single writer, so nothing needs to be done there.
    fn lock(&mut self, _name: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether other servers also write to this database. If so, the database's clock counts.
    fn is_shared(&self) -> bool {
        false
    }

    /// Runs a statement that returns at most one row.
    fn query_one(
        &mut self,
        statement: &Statement,
        params: &[Value],
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.query(statement, params)?.into_iter().next())
    }
}

/// SQL in the dialect that both databases share, with parameters `$1`, `$2`, …
///
/// The markers `/* skip locked */`, `/* for update */`, `/* for share */` and `/* for key share */`
/// are comments to SQLite, which has a single writer. On PostgreSQL they become `FOR UPDATE SKIP
/// LOCKED`, `FOR UPDATE` (nobody else changes the row), `FOR SHARE` (nobody changes the row) and
/// `FOR KEY SHARE` (nobody deletes the row).
#[derive(Debug)]
pub struct Statement {
    neutral: Cow<'static, str>,
    sqlite: OnceLock<String>,
    #[cfg(feature = "postgres")]
    postgres: OnceLock<String>,
}

impl Statement {
    /// A statement known at compile time.
    pub const fn new(sql: &'static str) -> Self {
        Self {
            neutral: Cow::Borrowed(sql),
            sqlite: OnceLock::new(),
            #[cfg(feature = "postgres")]
            postgres: OnceLock::new(),
        }
    }

    /// A statement composed at run time from fixed parts, never from input.
    pub fn composed(sql: String) -> Self {
        Self {
            neutral: Cow::Owned(sql),
            sqlite: OnceLock::new(),
            #[cfg(feature = "postgres")]
            postgres: OnceLock::new(),
        }
    }

    /// The text for SQLite. SQLite binds `$n` in order of first appearance, so `$n` becomes `?n`,
    /// which it binds by number.
    pub(super) fn for_sqlite(&self) -> &str {
        self.sqlite.get_or_init(|| self.code().replace('$', "?"))
    }

    /// The text for PostgreSQL, with the markers replaced.
    #[cfg(feature = "postgres")]
    pub(super) fn for_postgres(&self) -> &str {
        self.postgres.get_or_init(|| {
            self.code()
                .replace("/* skip locked */", "FOR UPDATE SKIP LOCKED")
                .replace("/* for update */", "FOR UPDATE")
                .replace("/* for share */", "FOR SHARE")
                .replace("/* for key share */", "FOR KEY SHARE")
        })
    }

    fn code(&self) -> String {
        let code: Vec<&str> = self
            .neutral
            .lines()
            .filter(|line| !line.trim_start().starts_with("--"))
            .collect();
        code.join("\n")
    }
}

/// A value on its way into or out of the database.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// BIGINT.
    Int(i64),
    /// TEXT.
    Text(String),
    /// BYTEA.
    Bytes(Vec<u8>),
    /// TIMESTAMPTZ.
    Time(Timestamp),
}

/// `values![a, b, c]`: the parameters of a statement, each by `Value::from`.
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::store::Value::from($value)),*] };
}
pub(crate) use values;

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.to_owned())
    }
}
impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Value::Text(value.clone())
    }
}
impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Text(value)
    }
}
impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}
impl From<u64> for Value {
    fn from(value: u64) -> Self {
        // The API limits counts to 2^53, so nothing is lost here.
        Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}
impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Int(i64::from(value))
    }
}
impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Value::Bytes(value.to_vec())
    }
}
impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Value::Bytes(value)
    }
}
impl From<[u8; 32]> for Value {
    fn from(value: [u8; 32]) -> Self {
        Value::Bytes(value.to_vec())
    }
}
impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Self {
        Value::Time(value)
    }
}
impl<T> From<Option<T>> for Value
where
    Value: From<T>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Value::from)
    }
}

/// A row of a result, read column by column in the order of the SELECT.
#[derive(Debug)]
pub struct Row {
    values: std::vec::IntoIter<Value>,
    column: usize,
}

impl Row {
    pub(super) fn new(values: Vec<Value>) -> Self {
        Self {
            values: values.into_iter(),
            column: 0,
        }
    }

    /// Reads the next column. A value of another type is a [`StoreError::Decode`] with the column's
    /// number.
    pub fn take<T: FromValue>(&mut self) -> Result<T, StoreError> {
        self.column += 1;
        let value = self.values.next().unwrap_or(Value::Null);
        T::from_value(value).ok_or(StoreError::Decode {
            column: self.column,
            wanted: std::any::type_name::<T>(),
        })
    }

    /// Passes over the next columns.
    pub fn skip(&mut self, columns: usize) {
        self.column += columns;
        for _ in 0..columns {
            let _passed = self.values.next();
        }
    }

    /// Reads the next column as a time that an operator may have typed by hand. An unreadable time
    /// counts as absent, so that a typing error does not hide the job.
    pub fn take_typed_time(&mut self) -> Result<Option<Timestamp>, StoreError> {
        let column = self.column + 1;
        match self.take() {
            Err(StoreError::Decode { .. }) => {
                tracing::warn!(column, "ignoring a time in the database that can't be read");
                Ok(None)
            }
            read => read,
        }
    }
}

/// A Rust type that a column can be read as.
pub trait FromValue: Sized {
    /// `None` if the value has another type.
    fn from_value(value: Value) -> Option<Self>;
}

impl FromValue for String {
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Text(text) = value {
            Some(text)
        } else {
            None
        }
    }
}
impl FromValue for i64 {
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Int(int) = value {
            Some(int)
        } else {
            None
        }
    }
}
impl FromValue for u64 {
    fn from_value(value: Value) -> Option<Self> {
        i64::from_value(value).and_then(|int| u64::try_from(int).ok())
    }
}
impl FromValue for bool {
    fn from_value(value: Value) -> Option<Self> {
        i64::from_value(value).map(|int| int != 0)
    }
}
impl FromValue for Vec<u8> {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Bytes(bytes) => Some(bytes),
            Value::Text(text) => Some(text.into_bytes()),
            Value::Null | Value::Int(_) | Value::Time(_) => None,
        }
    }
}
impl FromValue for Timestamp {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Time(at) => Some(at),
            Value::Text(text) => text.parse().ok(),
            // An operator's unixepoch(), in seconds; a number too large for seconds is in
            // milliseconds.
            Value::Int(int) if int < 100_000_000_000 => {
                Some(Timestamp::from_millis(int.saturating_mul(1_000)))
            }
            Value::Int(int) => Some(Timestamp::from_millis(int)),
            Value::Null | Value::Bytes(_) => None,
        }
    }
}
impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Option<Self> {
        if value == Value::Null {
            Some(None)
        } else {
            T::from_value(value).map(Some)
        }
    }
}

/// Reads every row with `record`.
pub fn read_all<T>(
    rows: Vec<Row>,
    record: impl Fn(&mut Row) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    rows.into_iter().map(|mut row| record(&mut row)).collect()
}
