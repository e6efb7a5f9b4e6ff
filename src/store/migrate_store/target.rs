//! The PostgreSQL database to fill.

use std::cmp::Ordering;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::stream::TryStreamExt;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};

use super::MigrateError;
use super::tables::{Kind, Table};
use crate::store::Value;
use crate::store::postgres::connection::{ConnectionError, PgConnection};
use crate::store::postgres::endpoint::Endpoint;
use crate::store::postgres::value::Column;
use crate::store::postgres::{schema, value};

/// The advisory lock of a run that fills a database: "hmig".
const LOCK: i64 = 0x686d_6967;
/// How long PostgreSQL may take to release the lock of a run that was killed.
const LOCK_TIMEOUT: Duration = Duration::from_secs(15);

/// Statements may take any time. Rows are read in key order by an index, since sorting all the
/// output would need as much disk space again. The trigger on jobs must not notify anybody.
const SETTINGS: &str = "SET application_name = 'hyprbox migrate-store'; SET statement_timeout = 0;
    SET lock_timeout = '30s'; SET timezone = 'UTC'; SET enable_sort = off; SET hyprbox.tells = 'itself';
    SET hyprbox.ledger = 'copied'";

/// A connection that holds the lock for filling the database.
pub(super) struct Target {
    connection: PgConnection,
    shown: String,
}

impl Target {
    /// Connects and creates the tables if needed. Refuses a database with other data.
    pub(super) fn open(url: &str, source: &str) -> Result<Self, MigrateError> {
        let endpoint = Endpoint::parse(url)
            .map_err(|allowed| MigrateError(format!("--to: it must be {allowed}")))?;
        let shown = endpoint.shown();
        let wrong = |error: ConnectionError| MigrateError(format!("{shown}: {error}"));
        let mut connection = PgConnection::open_without_timeout(&endpoint).map_err(wrong)?;
        connection.run(SETTINGS).map_err(wrong)?;
        if !try_lock(&mut connection).map_err(wrong)? {
            return Err(MigrateError(format!(
                "{shown}: another migrate-store is filling this database: wait until it has finished"
            )));
        }
        schema::prepare_for_migration(&mut connection, source)
            .map_err(|error| MigrateError(format!("{shown}: {error}")))?;
        Ok(Self { connection, shown })
    }

    /// `postgres://user@host:port/database`
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    fn wrong(&self, table: &Table, error: &ConnectionError) -> MigrateError {
        let (shown, name) = (&self.shown, &table.name);
        MigrateError(format!(
            "{shown}: {name}: {error}: no data is lost; run this command again to continue"
        ))
    }

    pub(super) fn is_empty(&mut self, table: &Table) -> Result<bool, MigrateError> {
        let sql = format!("SELECT 1 FROM {} LIMIT 1", table.name);
        let found = self.connection.query(&sql, &[]);
        found
            .map(|rows| rows.is_empty())
            .map_err(|error| self.wrong(table, &error))
    }

    /// Replaces the rows after the key `after`, up to the key of the last row in `rows`, by `rows`.
    /// Returns how many rows it wrote or deleted.
    pub(super) fn replace_range(
        &mut self,
        table: &Table,
        after: Option<&[Value]>,
        rows: &[Vec<Value>],
    ) -> Result<u64, MigrateError> {
        let upto = rows.last().map(|row| key_of(table, row));
        self.replace(table, after, upto.as_deref(), rows)
            .map_err(|error| self.wrong(table, &error))
    }

    /// Writes rows into a range without rows.
    pub(super) fn append(
        &mut self,
        table: &Table,
        rows: &[Vec<Value>],
    ) -> Result<u64, MigrateError> {
        copy_in(&mut self.connection, table, rows.iter())
            .map(|()| rows.len() as u64)
            .map_err(|error| self.wrong(table, &error))
    }

    /// Deletes the rows after a key; all rows without one.
    pub(super) fn delete_after(
        &mut self,
        table: &Table,
        after: Option<&[Value]>,
    ) -> Result<u64, MigrateError> {
        self.replace(table, after, None, &[])
            .map_err(|error| self.wrong(table, &error))
    }

    fn replace(
        &mut self,
        table: &Table,
        after: Option<&[Value]>,
        upto: Option<&[Value]>,
        rows: &[Vec<Value>],
    ) -> Result<u64, ConnectionError> {
        let connection = &mut self.connection;
        // An error ends the command, which closes the connection and so rolls the transaction back.
        connection.run("BEGIN")?;
        let there = range(connection, table, after, upto)?;
        let (doomed, missing) = difference(table, there, rows);
        delete(connection, table, &doomed)?;
        if !missing.is_empty() {
            copy_in(connection, table, missing.iter().copied())?;
        }
        connection.run("COMMIT")?;
        Ok((doomed.len() + missing.len()) as u64)
    }

    /// Updates the planner's statistics, which otherwise describe empty tables.
    pub(super) fn analyze(&mut self) -> Result<(), MigrateError> {
        self.connection
            .run("ANALYZE")
            .map_err(|error| MigrateError(format!("{}: {error}", self.shown)))
    }

    /// Reads a table in key order, row by row.
    pub(super) fn read(
        &mut self,
        table: &Table,
        mut take: impl FnMut(&[Value]),
    ) -> Result<u64, MigrateError> {
        let sql = format!(
            "SELECT {} FROM {} ORDER BY {}",
            table.column_list(),
            table.name,
            table.key_list()
        );
        let read = self.connection.wait(async |client| {
            let mut count = 0;
            let none: [&dyn ToSql; 0] = [];
            let mut rows = pin!(client.query_raw(&sql, none).await?);
            while let Some(row) = rows.try_next().await? {
                take(&values_of(&row)?);
                count += 1;
            }
            Ok(count)
        });
        read.map_err(|error| {
            let (shown, name) = (&self.shown, &table.name);
            MigrateError(format!("{shown}: {name}: {error}"))
        })
    }

    /// Opens the database to servers.
    pub(super) fn finish(mut self) -> Result<(), MigrateError> {
        schema::finish_migration(&mut self.connection)
            .map_err(|error| MigrateError(format!("{}: {error}", self.shown)))
    }
}

fn try_lock(connection: &mut PgConnection) -> Result<bool, ConnectionError> {
    let began = Instant::now();
    loop {
        let rows = connection.query("SELECT pg_try_advisory_lock($1)", &[&LOCK])?;
        if rows.first().is_some_and(|row| row.get(0)) {
            return Ok(true);
        }
        if began.elapsed() >= LOCK_TIMEOUT {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Returns the keys to delete and the rows to write, so that `there` becomes `rows`. All are in key
/// order.
fn difference<'r>(
    table: &Table,
    there: Vec<Vec<Value>>,
    rows: &'r [Vec<Value>],
) -> (Vec<Vec<Value>>, Vec<&'r Vec<Value>>) {
    let (mut doomed, mut missing) = (Vec::new(), Vec::new());
    let mut there = there.into_iter().peekable();
    for row in rows {
        let key = key_of(table, row);
        while let Some(extra) = there.next_if(|found| order(&key_of(table, found), &key).is_lt()) {
            doomed.push(key_of(table, &extra));
        }
        match there.next_if(|found| key_of(table, found) == key) {
            Some(found) if found == *row => {}
            Some(_) => {
                doomed.push(key);
                missing.push(row);
            }
            None => missing.push(row),
        }
    }
    doomed.extend(there.map(|extra| key_of(table, &extra)));
    (doomed, missing)
}

/// Compares keys as both databases do: texts and bytes byte by byte.
fn order(one: &[Value], other: &[Value]) -> Ordering {
    let pairs = one.iter().zip(other);
    let mut orders = pairs.map(|pair| match pair {
        (Value::Int(one), Value::Int(other)) => one.cmp(other),
        (Value::Time(one), Value::Time(other)) => one.cmp(other),
        (Value::Text(one), Value::Text(other)) => one.cmp(other),
        (Value::Bytes(one), Value::Bytes(other)) => one.cmp(other),
        // A key column has one type and is never NULL.
        _ => Ordering::Equal,
    });
    orders
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn key_of(table: &Table, row: &[Value]) -> Vec<Value> {
    table.key.iter().map(|at| row[*at].clone()).collect()
}

fn values_of(row: &tokio_postgres::Row) -> Result<Vec<Value>, tokio_postgres::Error> {
    (0..row.len())
        .map(|at| row.try_get::<_, Column>(at).map(|Column(value)| value))
        .collect()
}

fn type_of(kind: Kind) -> Type {
    match kind {
        Kind::Int => Type::INT8,
        Kind::Text => Type::TEXT,
        Kind::Bytes => Type::BYTEA,
        Kind::Time => Type::TIMESTAMPTZ,
    }
}

/// Returns the rows after a key and up to another one, in key order.
fn range(
    connection: &mut PgConnection,
    table: &Table,
    after: Option<&[Value]>,
    upto: Option<&[Value]>,
) -> Result<Vec<Vec<Value>>, ConnectionError> {
    let width = table.key.len();
    let mut conditions = vec!["true".to_owned()];
    let mut params: Vec<&(dyn ToSql + Sync)> = Vec::new();
    let mut types = Vec::new();
    for (sign, bound) in [(">", after), ("<=", upto)] {
        let Some(bound) = bound else { continue };
        let places: Vec<String> = (1..=width)
            .map(|place| format!("${}", params.len() + place))
            .collect();
        let (key, places) = (table.key_list(), places.join(", "));
        conditions.push(format!("({key}) {sign} ({places})"));
        params.extend(bound.iter().map(|value| value as &(dyn ToSql + Sync)));
        types.extend(table.key_kinds().map(type_of));
    }
    let sql = format!(
        "SELECT {} FROM {} WHERE {} ORDER BY {}",
        table.column_list(),
        table.name,
        conditions.join(" AND "),
        table.key_list()
    );
    let statement = connection.prepare(&sql, &types)?;
    let rows = connection.wait(async |client| client.query(&statement, &params).await)?;
    let rows: Result<_, _> = rows.iter().map(values_of).collect();
    Ok(rows?)
}

fn delete(
    connection: &mut PgConnection,
    table: &Table,
    keys: &[Vec<Value>],
) -> Result<(), ConnectionError> {
    if keys.is_empty() {
        return Ok(());
    }
    let places: Vec<String> = (1..=table.key.len())
        .map(|place| format!("${place}"))
        .collect();
    let (key, places) = (table.key_list(), places.join(", "));
    let sql = format!("DELETE FROM {} WHERE ({key}) = ({places})", table.name);
    let types: Vec<Type> = table.key_kinds().map(type_of).collect();
    let statement = connection.prepare(&sql, &types)?;
    connection.wait(async |client| {
        for key in keys {
            client.execute(&statement, &value::as_params(key)).await?;
        }
        Ok(())
    })
}

fn copy_in<'r>(
    connection: &mut PgConnection,
    table: &Table,
    rows: impl Iterator<Item = &'r Vec<Value>>,
) -> Result<(), ConnectionError> {
    let (name, columns) = (&table.name, table.column_list());
    let types: Vec<Type> = table
        .columns
        .iter()
        .map(|column| type_of(column.kind))
        .collect();
    let sql = format!("COPY {name} ({columns}) FROM STDIN BINARY");
    connection.wait(async |client| {
        let mut writer = pin!(BinaryCopyInWriter::new(client.copy_in(&sql).await?, &types));
        for row in rows {
            writer.as_mut().write(&value::as_params(row)).await?;
        }
        writer.finish().await.map(|_| ())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_deleted_and_written() {
        let tables = super::super::tables::all().expect("the schema is read");
        let chunks = tables.iter().find(|table| table.name == "chunks");
        let chunks = chunks.expect("chunks are migrated");
        let row = |job: &str, offset: i64, data: &str| -> Vec<Value> {
            let fixed = |name: &str| match name {
                "job_id" => Value::from(job),
                "stream" => Value::from("stdout"),
                "start_offset" => Value::Int(offset),
                "data" => Value::Bytes(data.into()),
                _ => Value::Null,
            };
            chunks
                .columns
                .iter()
                .map(|column| fixed(&column.name))
                .collect()
        };
        let there = vec![
            row("a", 0, "one"),
            row("a", 5, "extra"),
            row("a", 10, "old"),
            row("b", 0, "same"),
            row("c", 0, "extra"),
        ];
        let rows = [
            row("a", 0, "one"),
            row("a", 10, "new"),
            row("a", 11, "missing"),
            row("b", 0, "same"),
        ];
        let (doomed, missing) = difference(chunks, there, &rows);
        let offsets: Vec<_> = doomed.iter().map(|key| (&key[0], &key[2])).collect();
        let [a, c] = ["a", "c"].map(Value::from);
        let wanted = [(&a, 5), (&a, 10), (&c, 0)].map(|(job, at)| (job, Value::Int(at)));
        assert_eq!(offsets, wanted.each_ref().map(|(job, at)| (*job, at)));
        assert_eq!(missing, [&rows[1], &rows[2]]);
    }
}
