//! How much a claim reads. The work is counted, not timed: the steps of SQLite's machine, the pages
//! of PostgreSQL.

use super::history::{TestDatabase, history};
use super::query_plans::{CLAIMANT, queue};
use crate::clock::now;
use crate::store::{AfterCommit, Change, Row, Statement, StoreError, Tx, Value, claim, values};

/// Counts the pages that a claim reads from PostgreSQL; keeps it for SQLite instead of running it.
struct CountingTx<'t> {
    tx: &'t mut dyn Tx,
    kept: Option<(String, Vec<Value>)>,
    pages: u64,
}

impl Tx for CountingTx<'_> {
    fn query(&mut self, statement: &Statement, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        if !self.tx.is_shared() {
            self.kept = Some((statement.for_sqlite().to_owned(), params.to_vec()));
            return Ok(Vec::new());
        }
        #[cfg(feature = "postgres")]
        {
            let explain = format!("EXPLAIN (ANALYZE, BUFFERS) {}", statement.for_postgres());
            let rows = self.tx.query(&Statement::composed(explain), params)?;
            let plan = rows.into_iter().map(|mut row| row.take::<String>());
            self.pages = pages(&plan.collect::<Result<Vec<_>, _>>()?);
        }
        Ok(Vec::new())
    }

    fn execute(&mut self, statement: &Statement, params: &[Value]) -> Result<u64, StoreError> {
        self.tx.execute(statement, params)
    }

    fn publish(&mut self, change: Change) {
        self.tx.publish(change);
    }

    fn after_commit(&mut self, act: AfterCommit) {
        self.tx.after_commit(act);
    }

    fn is_shared(&self) -> bool {
        self.tx.is_shared()
    }
}

/// The pages of a whole plan, which its first line about buffers counts:
/// `Buffers: shared hit=12 read=3 dirtied=1`.
#[cfg(feature = "postgres")]
fn pages(plan: &[String]) -> u64 {
    let line = plan.iter().find(|line| line.contains("Buffers: shared"));
    let line = line.expect("a plan counts its buffers");
    let count = |word: &str| word.parse::<u64>().expect("a count");
    line.split_whitespace()
        .filter_map(|word| word.strip_prefix("hit=").or(word.strip_prefix("read=")))
        .map(count)
        .sum()
}

/// Queues a job and claims it; returns the work of the claim.
fn claim_once(database: &TestDatabase, number: usize) -> u64 {
    let id = format!("0191{number:08}");
    let queued = id.clone();
    database.write(move |tx| queue(tx, &queued));
    let (kept, pages) = database.write(|tx| {
        let mut tx = CountingTx {
            tx,
            kept: None,
            pages: 0,
        };
        claim::claim_next(&mut tx, CLAIMANT, now())?;
        Ok((tx.kept, tx.pages))
    });
    let work = kept.map_or(pages, |(sql, params)| steps(database, &sql, &params));
    let claimed = database.write(move |tx| {
        let status = Statement::new("SELECT status FROM jobs WHERE id = $1");
        tx.query_one(&status, values![id])?
            .expect("it was queued")
            .take::<String>()
    });
    assert_eq!(claimed, "RUNNING");
    work
}

/// Runs a statement on an SQLite database; returns the steps that its machine took.
fn steps(database: &TestDatabase, sql: &str, params: &[Value]) -> u64 {
    let connection = rusqlite::Connection::open(&database.path).expect("opens");
    let mut statement = connection.prepare(sql).expect("prepares");
    let mut rows = statement
        .query(rusqlite::params_from_iter(params))
        .expect("runs");
    while rows.next().expect("a row").is_some() {}
    drop(rows);
    let steps = statement.get_status(rusqlite::StatementStatus::VmStep);
    u64::try_from(steps).expect("a count")
}

/// The work of each of a few claims, in ascending order.
fn claim_often(database: &TestDatabase) -> Vec<u64> {
    let mut work: Vec<u64> = (0..20).map(|number| claim_once(database, number)).collect();
    work.sort_unstable();
    work
}

/// Adds held jobs to the queue of the node that claims.
fn hold(tx: &mut dyn Tx, jobs: i64) -> Result<(), StoreError> {
    static HOLD: Statement = Statement::new(
        "WITH RECURSIVE numbers (n) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n < $1)
         INSERT INTO jobs (id, status, preset, node_id, created_by, created_by_email, created_at, timeout_seconds,
             script_sha256, lines, params, script, not_before, held, holds)
         SELECT 'held' || CAST(n AS TEXT), 'QUEUED', 'note', 'n1', 'u1', 'u@example.org', $2, 600, 'aa', 0, '{}', 'echo', $3, 1, 1
         FROM numbers",
    );
    let far = now().plus_millis(86_400_000);
    tx.execute(&HOLD, values![jobs, now(), far])?;
    tx.execute(&Statement::new("ANALYZE"), &[])?;
    Ok(())
}

/// Asserts that claims from `large` work no harder than those from `small`.
fn assert_alike(small: &TestDatabase, large: &TestDatabase) {
    let (fewer, more) = (claim_often(small), claim_often(large));
    eprintln!("work of claims: {fewer:?} and {more:?}");
    let median = fewer.len() / 2;
    assert!(fewer[median] > 5, "the work was counted: {fewer:?}");
    // A level more in a few indexes of PostgreSQL; reading each job would take thousands.
    assert!(more[median] <= fewer[median] + 20, "{fewer:?}, {more:?}");
}

#[test]
fn a_claim_reads_no_more_with_many_held_jobs() {
    let (none, many) = (TestDatabase::new("none"), TestDatabase::new("held"));
    for database in [&none, &many] {
        database.fill(1_000);
    }
    many.write(|tx| hold(tx, history()));
    assert_alike(&none, &many);
}

#[test]
fn a_claim_reads_no_more_after_a_long_history() {
    let (short, long) = (TestDatabase::new("short"), TestDatabase::new("long"));
    short.fill(1_000);
    long.fill(history());
    assert_alike(&short, &long);
}
