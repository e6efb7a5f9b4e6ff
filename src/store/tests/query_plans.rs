//! Both databases run the hot statements by an index and never scan a table that grows with
//! history.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use hyprbox_protocol::{PerStream, Stream};

use super::explain::ExplainingTx;
use super::history::{TestDatabase, history, runtime};
use super::pages::run_statements_of_pages;
use crate::clock::{Timestamp, now};
use crate::store::claim::Claimant;
use crate::store::id::{JobId, NodeId, TokenId};
use crate::store::job::{self, Ending, Holds, JobFilter, JobKind, JobStatus, NewJob, PresetSource};
use crate::store::{
    Change, Statement, Store, StoreError, Tx, audit, claim, drift, job_step, ledger, node, output,
    preset, run, standing_envelope,
};

pub(super) const CLAIMANT: Claimant<'_> = Claimant {
    node_id: "n1",
    instance: Some("one"),
    process: Some("p"),
};

/// Tables that grow with history.
const GROWING: [&str; 5] = ["jobs", "job_steps", "chunks", "audit_entries", "ledger"];

/// Whether a line of a statement's plan scans a whole growing table. SQLite shows a table's alias.
fn is_full_scan(sql: &str, line: &str) -> bool {
    GROWING.iter().any(|table| {
        let words: Vec<&str> = sql.split_whitespace().collect();
        let aliases = words.windows(2).filter(|pair| pair[0] == *table);
        let mut names = aliases.map(|pair| pair[1]).chain([*table]);
        let sqlite = |name: &str| {
            line.trim()
                .strip_prefix("SCAN ")?
                .strip_prefix(name)
                .map(str::to_owned)
        };
        let is_scanned =
            |name| sqlite(name).is_some_and(|rest| rest.is_empty() || rest == " LEFT-JOIN");
        line.contains(&format!("Seq Scan on {table} ")) || names.any(is_scanned)
    })
}

/// Queues a job on the node `n1`, which a claim reads.
pub(super) fn queue(tx: &mut dyn Tx, id: &str) -> Result<(), StoreError> {
    node::insert(tx, "n1", "n1", &BTreeMap::new(), now())?;
    let new = NewJob {
        id: id.to_owned(),
        preset: "note".to_owned(),
        node_id: "n1".to_owned(),
        created_by: "u1".to_owned(),
        created_by_email: "u@example.org".to_owned(),
        created_at: now(),
        timeout_seconds: 600,
        script_sha256: "aa".to_owned(),
        params: "{}".to_owned(),
        script: "echo".to_owned(),
        run_id: None,
        batch: None,
        kind: JobKind::Apply,
        not_before: None,
        expires_at: None,
        holds: Holds::NONE,
        envelope: "{}".to_owned(),
        signature: "-".to_owned(),
        preset_source: PresetSource::default(),
    };
    job::insert(tx, &new).map(drop)
}

/// Runs every statement that reads or changes the jobs of a run.
fn run_statements_of_runs(tx: &mut dyn Tx, at: Timestamp) -> Result<(), StoreError> {
    let id = "0192";
    run::find_locked(tx, id)?;
    run::progress(tx, id, 1)?;
    run::counts(tx, id)?;
    run::jobs(tx, id)?;
    job::list_of_run(tx, id)?;
    run::queued_nodes(tx, id, 1)?;
    run::hold_for_pause(tx, id, at)?;
    run::release_from_pause(tx, id)?;
    run::release(tx, id, 1, None)?;
    run::skip_nodes(tx, id, 1, at, &["n1".to_owned()])?;
    run::cancel_queued(tx, id, at, Some("why"))?;
    run::request_cancel(tx, id, at)?;
    run::lock_of_job(tx, "0191")?;
    run::lock_of_node(tx, "n1")?;
    drift::marked_of_run(tx, id)?;
    run::unfinished(tx)?;
    run::next_release(tx)?;
    run::prune(tx, Timestamp::from_millis(0)).map(drop)
}

/// Runs every statement that appends to the ledger, checks it, or compares it with what a node
/// knows.
fn run_statements_of_ledger(tx: &mut dyn Tx) -> Result<(), StoreError> {
    ledger::lock(tx)?;
    ledger::is_due(tx)?;
    let due = ledger::due(tx, 200)?;
    ledger::delete_due(tx, &due)?;
    ledger::page(tx, 1, 500)?;
    ledger::hash_of(tx, 1)?;
    ledger::jobs_with_entries(tx, "~", 500)?;
    ledger::audit_with_entries(tx, "~", 500)?;
    ledger::disagreeing_nodes(tx)?;
    ledger::set_witness(tx, "n1", 1, "00").map(drop)
}

/// Runs every statement that the server runs on each request or every few seconds.
fn run_hot_statements(tx: &mut dyn Tx) -> Result<(), StoreError> {
    let (id, at) = ("0191", now());
    preset::changed_since(tx, 0)?;
    queue(tx, id)?;
    job::count_queued(tx)?;
    job::count_queued_on(tx, "n1")?;
    let claimed = claim::claim_next(tx, CLAIMANT, at)?;
    assert_eq!(claimed, claim::find(tx, id)?);
    assert_eq!(claimed.map(|job| job.id).as_deref(), Some(id));
    job::script(tx, id)?;
    job::running_on(tx, "n1")?;
    let (token, node) = (TokenId("t1"), NodeId("n1"));
    // The token does not exist, so the jobs are read but not returned.
    assert_eq!(claim::list_own(tx, token, node, Some("one"))?, None);
    assert_eq!(claim::list_own(tx, token, node, None)?, None);
    assert_eq!(job::running(tx)?.len(), 1);
    job::running_since(tx, at)?;
    job::next_due(tx)?;
    job::expire(tx, None, at, 10)?;
    job::expire(tx, Some("0191"), at, 10)?;
    job::runs_with_expired(tx, at)?;
    job::release_due(tx, at, 10)?;
    job::count_unfinished(tx)?;
    job::oldest_claimable(tx)?;
    job::unfinished(tx)?;
    job::set_pid(tx, id, 1)?;
    let mut found = job::find_locked(tx, id)?.expect("it was just queued");
    let piece = output::StoredChunk {
        stream: Stream::Stdout,
        start_offset: 0,
        position: 0,
        arrived_at: at,
        line: Some(1),
        step_ms: None,
        data: b"text\n".to_vec(),
    };
    output::insert(tx, id, &piece)?;
    found.position = 5;
    job::past_outcomes(tx, &found)?;
    drift::checks_before(tx, NodeId("n1"), "note", JobId(id))?;
    drift::mark_new(tx, id)?;
    drift::set_applied(tx, NodeId("n1"), "note", "{}", JobId(id), at)?;
    drift::set_checked(tx, NodeId("n1"), "note", JobId(id), at, "[]")?;
    let row = drift::find_locked(tx, "n1", "note")?.expect("it was applied");
    drift::set_check_params(tx, &row, "{}")?;
    drift::list(tx, &["n1", "n2"], Some("note"), Some(("n1", "a")), 10)?;
    output::set_counts(tx, &found, at)?;
    let step = job_step::AnnouncedStep {
        number: 1,
        name: "One".to_owned(),
        is_done: false,
        line_end: 5,
        arrived_at: at,
        began_ms: Some(1),
    };
    job_step::insert(tx, id, &step)?;
    assert_eq!(job_step::list(tx, id)?, [step]);
    output::oldest(tx, id, Stream::Stdout)?;
    output::drop_before(tx, id, Stream::Stdout, 0)?;
    output::window(tx, &found, None, 0, 65_536)?;
    output::window(tx, &found, Some(Stream::Stdout), 0, 65_536)?;
    output::extents(tx, &found, Some(Stream::Stdout), 0)?;
    output::position_after(tx, id, Stream::Stdout, 3)?;
    job::request_cancel(tx, id, at)?;
    if tx.is_shared() {
        job::recent_work(tx)?;
    }
    job::time_out(tx, "0192", "late", at)?;
    job::fail(tx, "0192", "by hand", at)?;
    job::lose(tx, id, at, 90)?;
    job::cancel_queued(tx, id, at)?;
    job::cancel_all_queued(tx, "n1", at)?;
    let end = Ending {
        status: JobStatus::Succeeded,
        exit_code: Some(0),
        signal: None,
        error_msg: None,
        digest: [0; 32],
        stdout: found.stdout,
        stderr: found.stderr,
        ran_ms: Some(5),
        sha256: PerStream::default(),
        verified: None,
    };
    job::finish(tx, id, &end, at)?;
    job::finished_since(tx, at)?;
    job::prune(tx, Timestamp::from_millis(0))?;
    job::prune_scripts(tx, at)?;
    standing_envelope::prune(tx)?;
    standing_envelope::newest(tx, "s1")?;
    standing_envelope::find(tx, "e1")?;
    job::waiting_for_signature(tx, "s1")?;
    job::cover(tx, JobId("j1"), "e1", "{}")?;
    run_statements_of_runs(tx, at)?;
    for filter in list_filters() {
        job::list(tx, &filter, 50)?;
    }
    run_statements_of_pages(tx, at)?;
    audit::list(tx, 50, audit::Filter::default())?;
    run_statements_of_ledger(tx)
}

/// Filters of the job list as users set them.
pub(super) fn list_filters() -> Vec<JobFilter> {
    let mine = || JobFilter {
        created_by: Some("u1".to_owned()),
        ..JobFilter::default()
    };
    let of_node = || JobFilter {
        node_id: Some("n1".to_owned()),
        ..JobFilter::default()
    };
    let of_status = |status| JobFilter {
        statuses: vec![status],
        ..JobFilter::default()
    };
    vec![
        JobFilter::default(),
        mine(),
        of_node(),
        JobFilter {
            before: Some("01900000010000".to_owned()),
            ..mine()
        },
        JobFilter {
            statuses: vec![JobStatus::Queued, JobStatus::Running],
            ..mine()
        },
        JobFilter {
            statuses: vec![JobStatus::Failed],
            ..of_node()
        },
        of_status(JobStatus::Running),
        of_status(JobStatus::Queued),
        of_status(JobStatus::Cancelled),
        JobFilter {
            created_by: Some("u1".to_owned()),
            ..of_status(JobStatus::Cancelled)
        },
        JobFilter {
            preset: Some("unknown".to_owned()),
            ..JobFilter::default()
        },
        JobFilter {
            kind: Some(JobKind::Check),
            ..JobFilter::default()
        },
        JobFilter {
            run_id: Some("0191".to_owned()),
            ..JobFilter::default()
        },
        JobFilter {
            by: Some("u@example.org".to_owned()),
            ..of_node()
        },
        JobFilter {
            since: Some(now()),
            ..mine()
        },
        JobFilter {
            since: Some(now()),
            ..of_status(JobStatus::Failed)
        },
    ]
}

/// A list with a rare status or an unknown preset is read from an index that has only those rows.
#[test]
fn a_list_of_rare_jobs_reads_only_them() {
    let database = TestDatabase::new("rare");
    database.fill(history());
    let plans = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&plans);
    database.write(move |tx| {
        queue(tx, "01930000000001")?;
        for filter in list_filters().into_iter().filter(is_rare) {
            let mut explaining = ExplainingTx {
                tx: &mut *tx,
                plans: Vec::new(),
            };
            let found = job::list(&mut explaining, &filter, 50)?;
            let expected = usize::from(filter.statuses.contains(&JobStatus::Queued));
            assert_eq!(found.len(), expected, "{filter:?}");
            let plans = explaining.plans;
            kept.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((filter, plans));
        }
        Ok(())
    });
    let plans = plans.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(plans.len(), 8);
    for (filter, plans) in plans.iter() {
        let indexes: &[&str] = match (&filter.preset, filter.statuses.first()) {
            (Some(_), _) => &["jobs_preset"],
            _ if filter.kind.is_some() => &["jobs_check"],
            _ if filter.run_id.is_some() => &["jobs_run"],
            (_, Some(JobStatus::Queued)) => &["jobs_queued"],
            (_, Some(JobStatus::Running)) => &["jobs_running"],
            _ => &["jobs_ended", "jobs_ended_owner"],
        };
        let plan = plans
            .iter()
            .map(|(_, plan)| plan.as_str())
            .collect::<String>();
        assert!(
            indexes.iter().any(|index| plan.contains(index)),
            "{filter:?}\n{plan}"
        );
    }
}

fn is_rare(filter: &JobFilter) -> bool {
    let rare = |status: &JobStatus| !matches!(status, JobStatus::Failed | JobStatus::Succeeded);
    filter.preset.is_some()
        || filter.kind.is_some()
        || filter.run_id.is_some()
        || !filter.statuses.is_empty() && filter.statuses.iter().all(rare)
}

/// A table that sql/text_as_bytes.postgres.sql does not name has the database's collation: its
/// texts are in another order, and its indexes do not serve comparisons with other tables.
#[test]
fn texts_are_compared_byte_by_byte() {
    const OTHERS: &str = "SELECT table_name || '.' || column_name FROM information_schema.columns
        JOIN information_schema.tables USING (table_schema, table_name)
        WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'
          AND table_name <> 'schema_version' AND data_type = 'text'
          AND collation_name IS DISTINCT FROM 'C'";
    let database = TestDatabase::new("collations");
    let others = database.write(|tx| {
        if !tx.is_shared() {
            return Ok(Vec::<String>::new());
        }
        let rows = tx.query(&Statement::composed(OTHERS.to_owned()), &[])?;
        rows.into_iter()
            .map(|mut row| row.take::<String>())
            .collect()
    });
    assert_eq!(others, Vec::<String>::new());
}

/// Those of a small database would be wrong for years.
#[test]
fn sqlite_has_no_statistics() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hyprbox.db");
    let open = || Store::open_sqlite(&path, Arc::new(|_: &[Change]| {})).expect("opens");
    let count = |what: &str| -> i64 {
        let connection = rusqlite::Connection::open(&path).expect("opens");
        let sql = format!("SELECT count(*) FROM sqlite_master WHERE name = '{what}'");
        connection
            .query_row(&sql, [], |row| row.get(0))
            .expect("counts")
    };
    runtime().block_on(open().close());
    assert_eq!((count("jobs"), count("sqlite_stat1")), (1, 0));
    let connection = rusqlite::Connection::open(&path).expect("opens");
    connection.execute_batch("ANALYZE").expect("analyses");
    drop(connection);
    assert_eq!(count("sqlite_stat1"), 1);
    runtime().block_on(open().close());
    assert_eq!(count("sqlite_stat1"), 0);
}

#[test]
fn no_hot_statement_scans_the_history() {
    let database = TestDatabase::new("walk");
    database.fill(history());
    let plans = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&plans);
    database.write(move |tx| {
        let mut explaining = ExplainingTx {
            tx,
            plans: Vec::new(),
        };
        run_hot_statements(&mut explaining)?;
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = explaining.plans;
        Ok(())
    });
    let plans = plans.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(
        plans.len() > 30,
        "only {} statements were explained",
        plans.len()
    );
    let bad: Vec<String> = plans
        .iter()
        .filter(|(sql, plan)| plan.lines().any(|line| is_full_scan(sql, line)))
        .map(|(sql, plan)| format!("{sql}\n{plan}"))
        .collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    // The counts of each hour read no jobs, and few of the index's entries.
    let counts = plans
        .iter()
        .filter(|(sql, _)| sql.contains("GROUP BY status") && sql.contains("finished_at"));
    for (sql, plan) in counts {
        let is_by_index = plan.contains("USING COVERING INDEX jobs_finished (finished_at>?")
            || plan.contains("on jobs") && plan.contains("jobs_finished");
        assert!(is_by_index, "{sql}\n{plan}");
    }
    let of_polls = plans
        .iter()
        .filter(|(sql, _)| sql.contains("FROM node_tokens"));
    let mut seen = 0;
    for (sql, plan) in of_polls.filter(|(sql, _)| sql.contains("claimed_by")) {
        // The cost must not depend on other jobs of the node, running or ended.
        assert!(
            plan.contains("jobs_running") && !plan.contains("jobs_node"),
            "{sql}\n{plan}"
        );
        seen += 1;
    }
    assert_eq!(seen, 2, "with an instance and without");
    let claim = plans
        .iter()
        .find(|(sql, _)| sql.contains("SET status = 'RUNNING'"));
    let (_, claim) = claim.expect("a claim is among them");
    assert!(claim.contains("jobs_queued"), "{claim}");
    assert!(
        !claim.contains("Sort") && !claim.contains("TEMP B-TREE"),
        "{claim}"
    );
    if std::env::var_os("HYPRBOX_TEST_SHOW_PLANS").is_some() {
        for (sql, plan) in plans.iter() {
            eprintln!("{sql}\n{plan}");
        }
    }
}
