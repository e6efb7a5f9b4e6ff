//! The Postgres database that is filled.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use postgres::binary_copy::BinaryCopyInWriter;
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::{ToSql, Type};
use postgres::{Client, Transaction};

use super::MigrateError;
use super::tables::{Kind, Table};
use crate::store::Value;
use crate::store::postgres::session::describe;
use crate::store::postgres::url::Endpoint;
use crate::store::postgres::value::Column;
use crate::store::postgres::{schema, value};

/// The advisory lock of the one that fills a database: "hmig".
const LOCK: i64 = 0x686d_6967;
/// How long one that was killed may take to let go of that lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(15);

/// No statement is too slow here. Rows come in the order of their key, of which there is an index:
/// a sort of all the output would take as much room again. The trigger on jobs has nobody to tell.
const SETTINGS: &str = "SET application_name = 'hyprbox migrate-store'; SET statement_timeout = 0;
    SET lock_timeout = '30s'; SET timezone = 'UTC'; SET enable_sort = off; SET hyprbox.tells = 'itself'";

/// A connection that has the database to itself, as far as filling goes.
pub(super) struct Target {
    client: Client,
    shown: String,
}

impl Target {
    /// Connects, and makes the tables where there are none. A database that has anything else in it
    /// is refused.
    pub(super) fn open(url: &str, source: &str) -> Result<Self, MigrateError> {
        let endpoint = Endpoint::parse(url)
            .map_err(|allowed| MigrateError(format!("--to: it must be {allowed}")))?;
        let shown = endpoint.shown();
        let wrong = |error: postgres::Error| MigrateError(format!("{shown}: {}", describe(&error)));
        let mut client = endpoint
            .connect()
            .map_err(|error| MigrateError(format!("{shown}: {error}")))?;
        client.batch_execute(SETTINGS).map_err(wrong)?;
        if !is_locked(&mut client).map_err(wrong)? {
            return Err(MigrateError(format!(
                "{shown}: another migrate-store is at work there: wait for its end"
            )));
        }
        schema::make_ready_to_fill(&mut client, source)
            .map_err(|error| MigrateError(format!("{shown}: {error}")))?;
        Ok(Self { client, shown })
    }

    /// `postgres://user@host:port/database`
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    fn wrong(&self, table: &Table, error: &postgres::Error) -> MigrateError {
        let (shown, name) = (&self.shown, &table.name);
        MigrateError(format!(
            "{shown}: {name}: {}: nothing is lost; run this again and it goes on",
            describe(error)
        ))
    }

    pub(super) fn is_empty(&mut self, table: &Table) -> Result<bool, MigrateError> {
        let sql = format!("SELECT 1 FROM {} LIMIT 1", table.name);
        let found = self.client.query_opt(&sql, &[]);
        found
            .map(|row| row.is_none())
            .map_err(|error| self.wrong(table, &error))
    }

    /// Makes the rows after the key `after`, up to that of the last one of `rows`, those of `rows`;
    /// how many it wrote.
    pub(super) fn settle(
        &mut self,
        table: &Table,
        after: Option<&[Value]>,
        rows: &[Vec<Value>],
    ) -> Result<u64, MigrateError> {
        let upto = rows.last().map(|row| key_of(table, row));
        self.replace(table, after, upto.as_deref(), rows)
            .map_err(|error| self.wrong(table, &error))
    }

    /// Writes rows into a table that has none of that range.
    pub(super) fn append(
        &mut self,
        table: &Table,
        rows: &[Vec<Value>],
    ) -> Result<u64, MigrateError> {
        let written = self.client.transaction().and_then(|mut transaction| {
            copy_in(&mut transaction, table, rows.iter())?;
            transaction.commit()
        });
        written
            .map(|()| rows.len() as u64)
            .map_err(|error| self.wrong(table, &error))
    }

    /// Deletes the rows after a key; all of them without one.
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
    ) -> Result<u64, postgres::Error> {
        let mut transaction = self.client.transaction()?;
        let there = range(&mut transaction, table, after, upto)?;
        let (doomed, missing) = difference(table, there, rows);
        if doomed.is_empty() && missing.is_empty() {
            return Ok(0);
        }
        delete(&mut transaction, table, &doomed)?;
        copy_in(&mut transaction, table, missing.iter().copied())?;
        transaction.commit()?;
        Ok((doomed.len() + missing.len()) as u64)
    }

    /// Gives the planner its figures: without them it does not know that the tables are full.
    pub(super) fn analyze(&mut self) -> Result<(), MigrateError> {
        self.client
            .batch_execute("ANALYZE")
            .map_err(|error| MigrateError(format!("{}: {}", self.shown, describe(&error))))
    }

    /// Reads a table in the order of its key, row by row.
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
        let mut read = || -> Result<u64, postgres::Error> {
            let mut count = 0;
            let none: [&dyn ToSql; 0] = [];
            let mut rows = self.client.query_raw(&sql, none)?;
            while let Some(row) = rows.next()? {
                take(&values_of(&row)?);
                count += 1;
            }
            Ok(count)
        };
        read().map_err(|error| {
            let (shown, name) = (&self.shown, &table.name);
            MigrateError(format!("{shown}: {name}: {}", describe(&error)))
        })
    }

    /// Opens the database to servers.
    pub(super) fn finish(mut self) -> Result<(), MigrateError> {
        schema::filled(&mut self.client)
            .map_err(|error| MigrateError(format!("{}: {}", self.shown, describe(&error))))
    }
}

fn is_locked(client: &mut Client) -> Result<bool, postgres::Error> {
    let began = Instant::now();
    loop {
        let row = client.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK])?;
        if row.get(0) {
            return Ok(true);
        }
        if began.elapsed() >= LOCK_PATIENCE {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What to delete, by its key, and what to write, so that `there` becomes `rows`; both are in the
/// order of the key.
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

/// The order of keys, which is that of both databases: texts and bytes go byte by byte.
fn order(one: &[Value], other: &[Value]) -> Ordering {
    let pairs = one.iter().zip(other);
    let mut orders = pairs.map(|pair| match pair {
        (Value::Int(one), Value::Int(other)) => one.cmp(other),
        (Value::Time(one), Value::Time(other)) => one.cmp(other),
        (Value::Text(one), Value::Text(other)) => one.cmp(other),
        (Value::Bytes(one), Value::Bytes(other)) => one.cmp(other),
        // A column of a key has one type, and is never NULL.
        _ => Ordering::Equal,
    });
    orders
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn key_of(table: &Table, row: &[Value]) -> Vec<Value> {
    table.key.iter().map(|at| row[*at].clone()).collect()
}

fn values_of(row: &postgres::Row) -> Result<Vec<Value>, postgres::Error> {
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

/// The rows after a key and up to another one, in order.
fn range(
    transaction: &mut Transaction<'_>,
    table: &Table,
    after: Option<&[Value]>,
    upto: Option<&[Value]>,
) -> Result<Vec<Vec<Value>>, postgres::Error> {
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
    let statement = transaction.prepare_typed(&sql, &types)?;
    let rows = transaction.query(&statement, &params)?;
    rows.iter().map(values_of).collect()
}

fn delete(
    transaction: &mut Transaction<'_>,
    table: &Table,
    keys: &[Vec<Value>],
) -> Result<(), postgres::Error> {
    let places: Vec<String> = (1..=table.key.len())
        .map(|place| format!("${place}"))
        .collect();
    let (key, places) = (table.key_list(), places.join(", "));
    let sql = format!("DELETE FROM {} WHERE ({key}) = ({places})", table.name);
    let types: Vec<Type> = table.key_kinds().map(type_of).collect();
    let statement = transaction.prepare_typed(&sql, &types)?;
    for key in keys {
        transaction.execute(&statement, &value::as_params(key))?;
    }
    Ok(())
}

fn copy_in<'r>(
    transaction: &mut Transaction<'_>,
    table: &Table,
    rows: impl Iterator<Item = &'r Vec<Value>>,
) -> Result<(), postgres::Error> {
    let (name, columns) = (&table.name, table.column_list());
    let types: Vec<Type> = table
        .columns
        .iter()
        .map(|column| type_of(column.kind))
        .collect();
    let sql = format!("COPY {name} ({columns}) FROM STDIN BINARY");
    let mut writer = BinaryCopyInWriter::new(transaction.copy_in(&sql)?, &types);
    for row in rows {
        writer.write(&value::as_params(row))?;
    }
    writer.finish().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_all_that_is_deleted_and_written() {
        let tables = super::super::tables::all().expect("the schema is read");
        let chunks = tables.iter().find(|table| table.name == "chunks");
        let chunks = chunks.expect("output moves");
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
