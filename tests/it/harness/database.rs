//! The database as its operator sees it: the only place in the tests that speaks SQL. One suite, every database:
//! `HYPRBOX_TEST_DATABASE_URL` picks; without it, each server has a SQLite file of its own.

use std::path::PathBuf;

use rusqlite::Connection;

/// Picks the database of the tests.
const PICK: &str = "HYPRBOX_TEST_DATABASE_URL";

/// One server's database.
pub(crate) struct Database {
    path: PathBuf,
}

impl Database {
    /// A fresh one, in the server's data folder.
    pub(super) fn fresh(data_dir: &std::path::Path) -> Self {
        match std::env::var(PICK) {
            Err(_) => {}
            Ok(url) if url.is_empty() || url == "sqlite:" => {}
            Ok(url) => {
                let scheme = url.split(':').next().unwrap_or_default();
                panic!("{PICK}: the tests can't make databases of {scheme} yet; leave it unset");
            }
        }
        Self {
            path: data_dir.join("hyprbox.db"),
        }
    }

    /// The value of `HYPRBOX_DATABASE_URL` that means it.
    pub(crate) fn url(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    /// The time of now in the database's own SQL, as an operator types it.
    pub(crate) fn now(&self) -> &'static str {
        "strftime('%Y-%m-%dT%H:%M:%fZ','now')"
    }

    pub(crate) fn connect(&self) -> Connection {
        let connection = Connection::open(&self.path).expect("opens");
        connection
            .busy_timeout(super::PATIENCE)
            .expect("a patient connection");
        connection
    }

    /// Runs an operator's statement; how many rows it changed.
    #[track_caller]
    pub(crate) fn execute(&self, sql: &str) -> usize {
        self.connect().execute(sql, []).expect(sql)
    }

    /// Runs several statements.
    #[track_caller]
    pub(crate) fn execute_all(&self, sql: &str) {
        self.connect().execute_batch(sql).expect(sql);
    }

    /// The one number that a query gives.
    #[track_caller]
    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.connect()
            .query_row(sql, [], |row| row.get(0))
            .expect(sql)
    }

    /// The first column of every row, as text.
    #[track_caller]
    pub(crate) fn texts(&self, sql: &str) -> Vec<String> {
        let connection = self.connect();
        let mut statement = connection.prepare(sql).expect(sql);
        let rows = statement
            .query_map([], |row| row.get::<_, String>(0))
            .expect(sql);
        rows.collect::<Result<_, _>>().expect(sql)
    }

    /// What the database says of its own soundness.
    pub(crate) fn integrity(&self) -> Vec<String> {
        self.texts("PRAGMA integrity_check")
    }

    /// Whether any byte of the files of the database holds `needle`.
    pub(crate) fn files_hold(&self, needle: &str) -> bool {
        ["", "-wal", "-shm"].iter().any(|suffix| {
            let mut path = self.path.clone().into_os_string();
            path.push(suffix);
            let bytes = std::fs::read(path).unwrap_or_default();
            bytes
                .windows(needle.len())
                .any(|window| window == needle.as_bytes())
        })
    }
}
