//! From whatever version the database has to today's, forward only, in one transaction. Of several
//! servers that start at once one does the work; the others wait for it, and find it done.

use hyprbox_protocol::to_hex;
use postgres::error::SqlState;
use postgres::{Client, Transaction};
use sha2::{Digest, Sha256};

use super::session::describe;
use super::url::{APPLICATION, Endpoint};
use crate::store::migrate::{
    ENROLMENTS, HARDENING, LINES_AND_PIDS, RUNNING_BY_INSTANCE, SCHEMA, SCHEMA_VERSION,
};

/// What makes a fresh database Postgres's own.
const FRESH: &str = include_str!("../sql/fresh.postgres.sql");
/// Views, functions and triggers.
const DERIVED: &str = include_str!("../sql/derived.postgres.sql");
/// The steps from an older version: the version that a step leads to, and its SQL
/// (migrations/NNNN_what.postgres.sql).
const MIGRATIONS: &[(i64, &[&str])] = &[
    (
        2,
        &[
            LINES_AND_PIDS,
            // As in a fresh database.
            r#"ALTER TABLE nodes ALTER COLUMN os_id_like TYPE TEXT COLLATE "C""#,
        ],
    ),
    (
        3,
        &[
            ENROLMENTS,
            r#"ALTER TABLE node_enrolments ALTER COLUMN node_id TYPE TEXT COLLATE "C""#,
        ],
    ),
    (4, &[RUNNING_BY_INSTANCE]),
    (
        5,
        &[
            HARDENING,
            r#"ALTER TABLE jobs ALTER COLUMN claimed_process TYPE TEXT COLLATE "C";
               ALTER TABLE node_instances ALTER COLUMN process TYPE TEXT COLLATE "C";
               ALTER TABLE nodes ALTER COLUMN problem TYPE TEXT COLLATE "C""#,
        ],
    ),
];

/// The advisory lock of those who change the schema: "hbox".
const LOCK: i64 = 0x6862_6f78;
/// The oldest server that this is meant for.
const SERVER_MIN: i32 = 140_000;

/// There while `hyprbox migrate-store` fills a database: what it fills it from.
const FILLING: &str =
    "CREATE TABLE store_migration (source TEXT NOT NULL, begun_at TIMESTAMPTZ NOT NULL)";

/// Makes a fresh database, or brings an older one up to date. The error is one line, without the
/// URL.
pub(super) fn bring_up_to_date(endpoint: &Endpoint) -> Result<(), String> {
    let mut client = endpoint
        .connect()
        .map_err(|error| format!("can't reach the database: {error}"))?;
    check_server(&mut client)?;
    let mut transaction = begin(&mut client)?;
    if filled_from(&mut transaction).map_err(in_words)?.is_some() {
        return Err(
            "`hyprbox migrate-store` has not come to its end with this database: run it again"
                .to_owned(),
        );
    }
    make_current(&mut transaction)?;
    transaction.commit().map_err(in_words)
}

/// The same for a database that is to be filled from `source`: fresh, or without a row, or half
/// filled from there before.
pub(in crate::store) fn make_ready_to_fill(
    client: &mut Client,
    source: &str,
) -> Result<(), String> {
    check_server(client)?;
    let mut transaction = begin(client)?;
    let servers = transaction
        .query_one(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = $1",
            &[&APPLICATION],
        )
        .map_err(in_words)?;
    if servers.get::<_, i64>(0) > 0 {
        return Err("a server runs over this database: stop it first".to_owned());
    }
    let known = filled_from(&mut transaction).map_err(in_words)?;
    if let Some(other) = known.as_deref().filter(|known| *known != source) {
        return Err(format!(
            "this database is half filled from {other}: go on with that one, or give an empty one"
        ));
    }
    make_current(&mut transaction)?;
    if known.is_none() {
        if let Some(table) = table_with_rows(&mut transaction).map_err(in_words)? {
            return Err(format!(
                "this database has data of its own (in {table}): give an empty one"
            ));
        }
        transaction.batch_execute(FILLING).map_err(in_words)?;
        transaction
            .execute("INSERT INTO store_migration VALUES ($1, now())", &[&source])
            .map_err(in_words)?;
    }
    transaction.commit().map_err(in_words)
}

/// Opens a filled database to servers.
pub(in crate::store) fn filled(client: &mut Client) -> Result<(), postgres::Error> {
    client.batch_execute("DROP TABLE store_migration")
}

fn filled_from(transaction: &mut Transaction<'_>) -> Result<Option<String>, postgres::Error> {
    let marked = "SELECT 1 FROM information_schema.tables
        WHERE table_schema = current_schema() AND table_name = 'store_migration'";
    if transaction.query_opt(marked, &[])?.is_none() {
        return Ok(None);
    }
    let row = transaction.query_opt("SELECT source FROM store_migration", &[])?;
    Ok(row.map(|row| row.get(0)))
}

fn table_with_rows(transaction: &mut Transaction<'_>) -> Result<Option<String>, postgres::Error> {
    let tables = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()
        AND table_type = 'BASE TABLE' AND table_name NOT IN ('schema_version', 'readiness') ORDER BY table_name";
    for table in transaction.query(tables, &[])? {
        let name: String = table.get(0);
        let any = format!("SELECT 1 FROM \"{}\" LIMIT 1", name.replace('"', "\"\""));
        if transaction.query_opt(&any, &[])?.is_some() {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// A transaction that has the schema to itself.
fn begin(client: &mut Client) -> Result<Transaction<'_>, String> {
    let mut transaction = client.transaction().map_err(in_words)?;
    transaction
        .batch_execute("SET LOCAL lock_timeout = '60s'; SET LOCAL client_min_messages = warning")
        .map_err(in_words)?;
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])
        .map_err(in_words)?;
    Ok(transaction)
}

fn make_current(transaction: &mut Transaction<'_>) -> Result<(), String> {
    let derived = to_hex(Sha256::digest(DERIVED));
    let changed = match found(transaction)? {
        None => {
            make(transaction).map_err(in_words)?;
            true
        }
        Some((version, _)) if version > SCHEMA_VERSION => {
            return Err(format!(
                "the database is from a newer version of hyprbox (schema {version}, this one knows {SCHEMA_VERSION}): install that version or a later one"
            ));
        }
        Some((version, made)) => {
            upgrade(transaction, version, MIGRATIONS).map_err(in_words)?;
            version < SCHEMA_VERSION || made != derived
        }
    };
    if changed {
        transaction.batch_execute(DERIVED).map_err(in_words)?;
        transaction
            .execute(
                "UPDATE schema_version SET version = $1, derived_sha256 = $2",
                &[&SCHEMA_VERSION, &derived],
            )
            .map_err(in_words)?;
    }
    Ok(())
}

fn in_words(error: postgres::Error) -> String {
    if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return format!(
            "{}: let the user own the database, or grant it CREATE on its schema",
            describe(&error)
        );
    }
    describe(&error)
}

fn check_server(client: &mut Client) -> Result<(), String> {
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), current_schema()::text",
            &[],
        )
        .map_err(in_words)?;
    let (version, encoding, schema): (i32, String, Option<String>) =
        (row.get(0), row.get(1), row.get(2));
    if version < SERVER_MIN {
        return Err("PostgreSQL 14 or later is needed".to_owned());
    }
    if encoding != "UTF8" {
        return Err(format!(
            "the database's encoding is {encoding}: make one with ENCODING 'UTF8'"
        ));
    }
    if schema.is_none() {
        return Err("the user's search_path names no schema that is there".to_owned());
    }
    Ok(())
}

/// The version, and the digest of what was derived; `None` in a database without tables of ours.
fn found(transaction: &mut Transaction<'_>) -> Result<Option<(i64, String)>, String> {
    let others = "another program's tables are in this database: make one for hyprbox alone";
    let tables = transaction
        .query_one(
            "SELECT count(*) FILTER (WHERE table_name = 'schema_version'), count(*) FROM information_schema.tables
             WHERE table_schema = current_schema() AND table_name IN ('schema_version', 'users', 'sessions', 'nodes', 'jobs', 'chunks')",
            &[],
        )
        .map_err(in_words)?;
    match (tables.get::<_, i64>(0), tables.get::<_, i64>(1)) {
        (0, 0) => return Ok(None),
        (0, _) => return Err(others.to_owned()),
        _ => {}
    }
    let row = transaction
        .query_opt("SELECT version, derived_sha256 FROM schema_version", &[])
        .map_err(|_| others.to_owned())?;
    row.map(|row| Some((row.get(0), row.get(1))))
        .ok_or_else(|| others.to_owned())
}

fn make(transaction: &mut Transaction<'_>) -> Result<(), postgres::Error> {
    transaction.batch_execute(SCHEMA)?;
    transaction.batch_execute(FRESH)?;
    transaction
        .execute(
            "INSERT INTO schema_version (version, derived_sha256) VALUES ($1, '')",
            &[&SCHEMA_VERSION],
        )
        .map(|_| ())
}

fn upgrade(
    transaction: &mut Transaction<'_>,
    from: i64,
    steps: &[(i64, &[&str])],
) -> Result<(), postgres::Error> {
    for (to, parts) in steps {
        if *to > from {
            tracing::info!(version = to, "upgrading the database");
            parts
                .iter()
                .try_for_each(|sql| transaction.batch_execute(sql))?;
        }
    }
    Ok(())
}
