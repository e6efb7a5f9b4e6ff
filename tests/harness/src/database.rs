//! The database as its operator sees it: the only place in the tests that speaks SQL. One suite,
//! every database: `HYPRBOX_TEST_DATABASE_URL` picks; without it, each server has a SQLite file of
//! its own. `tests/with-postgres` sets it to a PostgreSQL server's, where each server under test
//! has a database of its own.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

#[cfg(feature = "postgres")]
use super::postgres::Postgres;

/// Picks the database of the tests.
const PICK: &str = "HYPRBOX_TEST_DATABASE_URL";

/// One server's database.
#[derive(Clone)]
pub enum Database {
    Sqlite(PathBuf),
    #[cfg(feature = "postgres")]
    Postgres(std::sync::Arc<Postgres>),
}

/// Keeps every write out of a database until it is dropped.
pub enum Hold {
    Sqlite(Connection),
    #[cfg(feature = "postgres")]
    Postgres(postgres::Client),
}

impl Database {
    /// A fresh one; SQLite's is in the server's data folder.
    pub(crate) fn fresh(data_dir: &Path) -> Self {
        match std::env::var(PICK) {
            Ok(url) if url.starts_with("postgres") => Self::fresh_postgres(&url),
            Ok(url) if !url.is_empty() && url != "sqlite:" => panic!("{PICK}: {url}?"),
            _ => Self::Sqlite(data_dir.join("hyprbox.db")),
        }
    }

    #[cfg(feature = "postgres")]
    fn fresh_postgres(url: &str) -> Self {
        Self::Postgres(std::sync::Arc::new(Postgres::fresh(url)))
    }

    #[cfg(not(feature = "postgres"))]
    fn fresh_postgres(_: &str) -> Self {
        panic!("{PICK} is Postgres's: test with --features postgres, or unset it");
    }

    /// The file, for what only SQLite has; `None` on another database.
    pub fn sqlite(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => None,
        }
    }

    /// The value of `HYPRBOX_DATABASE_URL` that means it.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite:{}", path.display()),
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => postgres.url().to_owned(),
        }
    }

    /// The time of now in the database's own SQL, as an operator types it.
    pub fn now(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "strftime('%Y-%m-%dT%H:%M:%fZ','now')",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "now()",
        }
    }

    /// The same in whole seconds.
    pub fn now_in_seconds(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "datetime('now')",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "date_trunc('second', now())",
        }
    }

    /// A time in the past: `ago("3 days")`.
    pub fn ago(&self, length: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("strftime('%Y-%m-%dT%H:%M:%fZ','now','-{length}')"),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => format!("now() - INTERVAL '{length}'"),
        }
    }

    /// A time to come: `in_future("3 seconds")`.
    pub fn in_future(&self, length: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("strftime('%Y-%m-%dT%H:%M:%fZ','now','+{length}')"),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => format!("now() + INTERVAL '{length}'"),
        }
    }

    /// Bytes in the database's own SQL.
    pub fn bytes(&self, text: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("CAST('{text}' AS BLOB)"),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => format!("convert_to('{text}', 'UTF8')"),
        }
    }

    /// Runs an operator's statement; how many rows it changed.
    #[track_caller]
    pub fn execute(&self, sql: &str) -> usize {
        match self {
            Self::Sqlite(path) => connect(path).execute(sql, []).expect(sql),
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => postgres.execute(sql),
        }
    }

    /// Runs several statements.
    #[track_caller]
    pub fn execute_all(&self, sql: &str) {
        match self {
            Self::Sqlite(path) => connect(path).execute_batch(sql).expect(sql),
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => {
                postgres.execute(sql);
            }
        }
    }

    /// The one number that a query gives.
    #[track_caller]
    pub fn number(&self, sql: &str) -> i64 {
        match self {
            Self::Sqlite(path) => connect(path)
                .query_row(sql, [], |row| row.get(0))
                .expect(sql),
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => postgres.texts(sql)[0].parse().expect(sql),
        }
    }

    /// The first column of every row, as text.
    #[track_caller]
    pub fn texts(&self, sql: &str) -> Vec<String> {
        match self {
            Self::Sqlite(path) => {
                let connection = connect(path);
                let mut statement = connection.prepare(sql).expect(sql);
                let rows = statement
                    .query_map([], |row| row.get::<_, String>(0))
                    .expect(sql);
                rows.collect::<Result<_, _>>().expect(sql)
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => postgres.texts(sql),
        }
    }

    /// Keeps every write out, as another program may.
    pub fn hold(&self) -> Hold {
        match self {
            Self::Sqlite(path) => {
                let connection = connect(path);
                connection.execute_batch("BEGIN EXCLUSIVE").expect("locks");
                Hold::Sqlite(connection)
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => Hold::Postgres(postgres.hold()),
        }
    }

    /// Keeps everybody else off a table of a test's own.
    pub fn hold_table(&self, table: &str) -> Hold {
        match self {
            Self::Sqlite(_) => panic!("SQLite locks no table alone, {table} neither"),
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => Hold::Postgres(postgres.hold_tables(table)),
        }
    }

    /// Says that another version of the server made the schema.
    pub fn set_version(&self, version: i64) {
        match self {
            Self::Sqlite(path) => connect(path)
                .execute_batch(&format!("PRAGMA user_version = {version};"))
                .expect("sets"),
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => {
                postgres.execute(&format!("UPDATE schema_version SET version = {version}"));
            }
        }
    }

    /// Makes it as the first release did.
    pub fn make_version_1(&self) {
        let schema = include_str!("../../../src/store/migrations/0001_begin.sql");
        match self {
            Self::Sqlite(path) => {
                let folder = path.parent().expect("it is in a folder");
                std::fs::create_dir_all(folder).expect("makes the folder");
                self.execute_all(schema);
                self.execute_all("PRAGMA application_id = 0x68626f78; PRAGMA user_version = 1;");
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => {
                self.execute_all(schema);
                self.execute_all(include_str!("../../../src/store/sql/fresh.postgres.sql"));
                self.execute_all("INSERT INTO schema_version VALUES (1, '')");
            }
        }
    }

    /// Every column with its type, and every index, in an order that doesn't depend on when they
    /// were made.
    pub fn shape(&self) -> Vec<String> {
        match self {
            Self::Sqlite(_) => self.texts(
                "SELECT tables.name || ' ' || columns.name || ' ' || columns.type || ' ' || columns.\"notnull\" || ' '
                     || coalesce(dflt_value, '-') || ' ' || pk
                 FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns WHERE tables.type = 'table'
                 UNION SELECT sql FROM sqlite_schema WHERE type IN ('index', 'view', 'trigger') AND sql IS NOT NULL
                 ORDER BY 1",
            ),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => self.texts(
                "SELECT concat_ws(' ', table_name, column_name, data_type, collation_name, is_nullable, column_default)
                 FROM information_schema.columns WHERE table_schema = current_schema()
                 UNION SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema()
                 ORDER BY 1",
            ),
        }
    }

    /// What the database says of its own soundness.
    pub fn integrity(&self) -> Vec<String> {
        match self {
            Self::Sqlite(_) => self.texts("PRAGMA integrity_check"),
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => postgres.integrity(),
        }
    }

    /// Whether the database holds `needle` anywhere: in any byte of SQLite's files, in any row of
    /// Postgres.
    pub fn files_hold(&self, needle: &str) -> bool {
        match self {
            Self::Sqlite(path) => ["", "-wal", "-shm"].iter().any(|suffix| {
                let mut path = path.clone().into_os_string();
                path.push(suffix);
                let bytes = std::fs::read(path).unwrap_or_default();
                bytes
                    .windows(needle.len())
                    .any(|window| window == needle.as_bytes())
            }),
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => postgres.holds(needle),
        }
    }
}

fn connect(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("opens");
    connection
        .busy_timeout(super::PATIENCE)
        .expect("a patient connection");
    connection
}
