//! A database with a long history of jobs.
//!
//! `HYPRBOX_TEST_HISTORY` is the number of jobs (20,000 by default); `HYPRBOX_TEST_DATABASE_URL`
//! selects the database.

use std::sync::Arc;

use crate::clock::now;
use crate::store::{Change, Statement, Store, StoreError, Tx, values};

/// Nodes in the history.
const NODES: i64 = 50;
/// Rows inserted in one transaction.
const SLICE: i64 = 10_000;

pub(super) fn history() -> i64 {
    let given = std::env::var("HYPRBOX_TEST_HISTORY").ok();
    given.map_or(20_000, |text| text.parse().expect("a number of jobs"))
}

/// A database for one test, deleted on drop.
pub(super) struct TestDatabase {
    pub(super) store: Store,
    /// The file, if it is an SQLite database.
    pub(super) path: std::path::PathBuf,
    _folder: tempfile::TempDir,
    #[cfg(feature = "postgres")]
    made: Option<(String, String)>,
}

impl TestDatabase {
    pub(super) fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let silent = Arc::new(|_: &[Change]| {});
        #[cfg(feature = "postgres")]
        if let Some(admin) = std::env::var("HYPRBOX_TEST_DATABASE_URL")
            .ok()
            .filter(|url| url.starts_with("postgres"))
        {
            let name = format!("plans_{name}_{}", std::process::id());
            run_as_admin(&admin, &format!("CREATE DATABASE {name}")).expect("creates");
            let (server, _) = admin.rsplit_once('/').expect("a URL with a database");
            let url = format!("{server}/{name}");
            return Self {
                store: Store::open_postgres(&url, silent).expect("opens"),
                path: folder.path().to_owned(),
                _folder: folder,
                made: Some((admin, name)),
            };
        }
        let path = folder.path().join(format!("{name}.db"));
        Self {
            store: Store::open_sqlite(&path, silent).expect("opens"),
            path,
            _folder: folder,
            #[cfg(feature = "postgres")]
            made: None,
        }
    }

    pub(super) fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Tx) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        runtime()
            .block_on(self.store.write(work))
            .expect("a transaction")
    }

    /// Inserts ended jobs, each with a chunk of output, two steps and an audit entry. Updates the
    /// planner's statistics where the server has some.
    pub(super) fn fill(&self, jobs: i64) {
        for from in (0..jobs).step_by(SLICE as usize) {
            let upto = jobs.min(from + SLICE) - 1;
            self.write(move |tx| fill(tx, from, upto));
        }
        self.write(|tx| {
            if tx.is_shared() {
                tx.execute(&Statement::new("ANALYZE"), &[])?;
            }
            Ok(())
        });
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        runtime().block_on(self.store.close());
        #[cfg(feature = "postgres")]
        if let Some((admin, name)) = self.made.take() {
            // Errors don't matter: the test run deletes the whole cluster at its end.
            let drop = format!("DROP DATABASE {name} WITH (FORCE)");
            let _dropped = run_as_admin(&admin, &drop);
        }
    }
}

#[cfg(feature = "postgres")]
fn run_as_admin(admin: &str, sql: &str) -> Result<(), String> {
    use crate::store::postgres::connection::PgConnection;
    use crate::store::postgres::endpoint::Endpoint;

    let endpoint = Endpoint::parse(admin)?;
    let connection = PgConnection::open_without_timeout(&endpoint);
    connection
        .and_then(|mut connection| connection.run(sql))
        .map_err(|error| error.to_string())
}

pub(super) fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: std::sync::LazyLock<tokio::runtime::Runtime> = std::sync::LazyLock::new(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime")
    });
    &RUNTIME
}

fn fill(tx: &mut dyn Tx, from: i64, upto: i64) -> Result<(), StoreError> {
    // Ids sort by age, like UUIDv7.
    const ID: &str =
        "'0190' || substr('0000000000', length(CAST(n AS TEXT)) + 1) || CAST(n AS TEXT)";
    let numbers = "WITH RECURSIVE numbers (n) AS (SELECT CAST($1 AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n < $2)";
    let jobs = format!(
        "{numbers} INSERT INTO jobs (id, status, preset, node_id, created_by, created_by_email, created_at, started_at,
             finished_at, exit_code, timeout_seconds, script_sha256, position, stdout_bytes, lines, params, script)
         SELECT {ID}, CASE WHEN n % 10 = 0 THEN 'FAILED' ELSE 'SUCCEEDED' END, 'note', 'n' || CAST(n % {NODES} AS TEXT),
             'u' || CAST(n % 7 AS TEXT), 'u@example.org', $3, $3, $3, 0, 600, 'aa', 4, 4, 1, '{{}}',
             'echo a script of some length, as a script is more than a few words, and most have a good many lines'
         FROM numbers"
    );
    let chunks = format!(
        "{numbers} INSERT INTO chunks (job_id, stream, start_offset, position, arrived_at, line, data)
         SELECT {ID}, 'stdout', 0, 0, $3, 1, $4 FROM numbers"
    );
    let steps = format!(
        "{numbers} INSERT INTO job_steps (job_id, number, name, is_done, line_end, arrived_at)
         SELECT {ID}, step, 'A step', 0, 0, $3 FROM numbers, (SELECT 1 AS step UNION ALL SELECT 2) AS steps"
    );
    let entries = format!(
        "{numbers} INSERT INTO audit_entries (id, at, actor, action, job_id, node_id)
         SELECT {ID}, $3, 'u@example.org', 'job.queue', {ID}, 'n' || CAST(n % {NODES} AS TEXT) FROM numbers"
    );
    // Not within the last day, the hours of which are counted.
    let ledger = format!(
        "{numbers} INSERT INTO ledger (seq, kind, id, at, row_sha256, hash)
         SELECT n + 1, 'job_queued', {ID}, $3, 'aa', 'bb' FROM numbers"
    );
    let at = now().plus_millis(-2 * 86_400_000 + from);
    tx.execute(&Statement::composed(jobs), values![from, upto, at])?;
    let data: &[u8] = b"hi!\n";
    tx.execute(&Statement::composed(chunks), values![from, upto, at, data])?;
    tx.execute(&Statement::composed(steps), values![from, upto, at])?;
    tx.execute(&Statement::composed(entries), values![from, upto, at])?;
    tx.execute(&Statement::composed(ledger), values![from, upto, at])?;
    Ok(())
}
