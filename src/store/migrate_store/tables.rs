//! The tables to migrate, read from the schema itself so that no table is forgotten.

use rusqlite::Connection;

use crate::store::migrate::SCHEMA;

/// Contains only the time of the last readiness check.
const NOT_MIGRATED: &str = "readiness";

/// The type of a column on both databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Text,
    Bytes,
    Time,
}

#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// A column that refers to a row of another table.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    pub(super) column: String,
    pub(super) table: String,
    pub(super) key: String,
}

#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// Indices of the columns that identify a row, in the order of their database index.
    pub(super) key: Vec<usize>,
    pub(super) references: Vec<Reference>,
}

impl Table {
    /// `id, name, …`
    pub(super) fn column_list(&self) -> String {
        list(self.columns.iter())
    }

    /// `job_id, stream, start_offset`
    pub(super) fn key_list(&self) -> String {
        list(self.key.iter().map(|at| &self.columns[*at]))
    }

    pub(super) fn key_kinds(&self) -> impl Iterator<Item = Kind> {
        self.key.iter().map(|at| self.columns[*at].kind)
    }

    fn is_after(&self, others: &[Table]) -> bool {
        let is_there = |name: &str| others.iter().any(|other| other.name == name);
        self.references
            .iter()
            .all(|reference| is_there(&reference.table))
    }
}

fn list<'c>(columns: impl Iterator<Item = &'c Column>) -> String {
    let names: Vec<&str> = columns.map(|column| column.name.as_str()).collect();
    names.join(", ")
}

/// Returns all tables, each after the tables that it refers to.
pub(super) fn all() -> rusqlite::Result<Vec<Table>> {
    let schema = Connection::open_in_memory()?;
    schema.execute_batch(SCHEMA)?;
    let mut waiting = Vec::new();
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> ?1 ORDER BY rowid";
    for name in texts(&schema, names, NOT_MIGRATED)? {
        waiting.push(read(&schema, &name)?);
    }
    let mut ordered: Vec<Table> = Vec::new();
    while let Some(at) = waiting.iter().position(|table| table.is_after(&ordered)) {
        ordered.push(waiting.remove(at));
    }
    // Tables with circular references would remain. The schema has none, and a test checks this.
    ordered.append(&mut waiting);
    Ok(ordered)
}

fn read(schema: &Connection, name: &str) -> rusqlite::Result<Table> {
    let mut columns = Vec::new();
    let mut primary = Vec::new();
    let mut statement = schema.prepare("SELECT name, type, pk FROM pragma_table_info(?1)")?;
    let mut rows = statement.query([name])?;
    while let Some(row) = rows.next()? {
        let declared: String = row.get(1)?;
        let kind = match declared.as_str() {
            "BIGINT" => Kind::Int,
            "BYTEA" => Kind::Bytes,
            "TIMESTAMPTZ" => Kind::Time,
            _ => Kind::Text,
        };
        let place: i64 = row.get(2)?;
        if place > 0 {
            primary.push((place, columns.len()));
        }
        columns.push(Column {
            name: row.get(0)?,
            kind,
        });
    }
    primary.sort_unstable();
    let mut key: Vec<usize> = primary.into_iter().map(|(_, at)| at).collect();
    if key.is_empty() {
        let unique = "SELECT info.name FROM pragma_index_list(?1) AS list, pragma_index_info(list.name) AS info
             WHERE list.\"unique\" = 1 ORDER BY list.seq, info.seqno";
        let names = texts(schema, unique, name)?;
        key = names
            .iter()
            .filter_map(|name| columns.iter().position(|column| column.name == *name))
            .collect();
    }
    Ok(Table {
        name: name.to_owned(),
        columns,
        key,
        references: references(schema, name)?,
    })
}

fn references(schema: &Connection, name: &str) -> rusqlite::Result<Vec<Reference>> {
    let sql = "SELECT \"from\", \"table\", \"to\" FROM pragma_foreign_key_list(?1)";
    let mut statement = schema.prepare(sql)?;
    let rows = statement.query_map([name], |row| {
        Ok(Reference {
            column: row.get(0)?,
            table: row.get(1)?,
            key: row.get(2)?,
        })
    })?;
    rows.collect()
}

fn texts(schema: &Connection, sql: &str, parameter: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = schema.prepare(sql)?;
    let rows = statement.query_map([parameter], |row| row.get(0))?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_but_one_comes_after_the_tables_it_refers_to() {
        let tables = all().expect("the schema is read");
        let named = SCHEMA.matches("CREATE TABLE ").count();
        assert_eq!(tables.len(), named - 1);
        for (at, table) in tables.iter().enumerate() {
            assert!(table.is_after(&tables[..at]), "{}", table.name);
            assert!(!table.key.is_empty(), "{} has no key", table.name);
        }
        let chunks = tables.iter().find(|table| table.name == "chunks");
        let chunks = chunks.expect("chunks are migrated");
        assert_eq!(chunks.key_list(), "job_id, stream, start_offset");
        assert_eq!(chunks.references.len(), 1);
        let kinds: Vec<Kind> = chunks.key_kinds().collect();
        assert_eq!(kinds, [Kind::Text, Kind::Text, Kind::Int]);
        let data = chunks.columns.last().expect("columns");
        assert_eq!((data.name.as_str(), data.kind), ("data", Kind::Bytes));
    }
}
