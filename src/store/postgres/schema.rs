//! Creates the schema, or upgrades it from an older version in one transaction. If several servers
//! start at the same time, one of them upgrades while the others wait.

use hyprbox_protocol::to_hex;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::connection::{ConnectionError, PgConnection};
use super::endpoint::{APPLICATION, Endpoint};
use crate::store::migrate::{
    COMMIT_CONFIRM, DRIFT, ENROLMENTS, FLEET, HARDENING, LINES_AND_PIDS, NODE_STATUS_CHANGES,
    NOTIFICATIONS, PROOF, RUNNING_BY_INSTANCE, SAVED_PRESETS, SCHEDULES, SCHEMA, SCHEMA_VERSION,
    SIGNED_JOBS, STANDING_ENVELOPES, STEP_TIMES,
};

/// What a new database needs only on PostgreSQL, after [`TEXT_AS_BYTES`].
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
            // As in a new database.
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
               ALTER TABLE nodes ALTER COLUMN problem TYPE TEXT COLLATE "C""#,
        ],
    ),
    (6, &[FLEET, TEXT_AS_BYTES]),
    (7, &[STEP_TIMES, TEXT_AS_BYTES]),
    (8, &[SAVED_PRESETS, TEXT_AS_BYTES]),
    (9, &[SIGNED_JOBS, TEXT_AS_BYTES]),
    (10, &[NODE_STATUS_CHANGES, TEXT_AS_BYTES]),
    (11, &[SCHEDULES, TEXT_AS_BYTES]),
    (12, &[STANDING_ENVELOPES, TEXT_AS_BYTES]),
    (13, &[NOTIFICATIONS, TEXT_AS_BYTES]),
    (14, &[PROOF, TEXT_AS_BYTES]),
    (15, &[COMMIT_CONFIRM, TEXT_AS_BYTES]),
    (16, &[DRIFT, TEXT_AS_BYTES]),
];
/// Compares the text of every table byte by byte.
const TEXT_AS_BYTES: &str = include_str!("../sql/text_as_bytes.postgres.sql");

/// The advisory lock for changes of the schema: "hbox".
const LOCK: i64 = 0x6862_6f78;
/// The oldest supported PostgreSQL version.
const SERVER_MIN: i32 = 140_000;

/// Exists while `hyprbox migrate-store` fills a database, and names the source.
const FILLING: &str =
    "CREATE TABLE store_migration (source TEXT NOT NULL, begun_at TIMESTAMPTZ NOT NULL)";

/// Creates the schema or upgrades it. The error is one line without the URL.
pub(super) fn upgrade(endpoint: &Endpoint) -> Result<(), String> {
    let mut connection = PgConnection::open_without_timeout(endpoint)
        .map_err(|error| format!("can't reach the database: {error}"))?;
    check_server(&mut connection)?;
    let mut schema = SchemaChange::begin(&mut connection)?;
    if schema.migration_source()?.is_some() {
        return Err(
            "`hyprbox migrate-store` has not finished filling this database: run it again"
                .to_owned(),
        );
    }
    schema.create_or_upgrade()?;
    schema.commit()
}

/// Prepares a database that `hyprbox migrate-store` fills from `source`. The database must be empty
/// or partly filled from the same source.
pub(in crate::store) fn prepare_for_migration(
    connection: &mut PgConnection,
    source: &str,
) -> Result<(), String> {
    check_server(connection)?;
    let mut schema = SchemaChange::begin(connection)?;
    let servers: i64 = schema
        .query_one(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = $1",
            &[&APPLICATION],
        )?
        .get(0);
    if servers > 0 {
        return Err("a server runs over this database: stop it first".to_owned());
    }
    let begun = schema.migration_source()?;
    if let Some(other) = begun.as_deref().filter(|begun| *begun != source) {
        return Err(format!(
            "this database is partly filled from {other}: continue with that source, or use an empty database"
        ));
    }
    schema.create_or_upgrade()?;
    if begun.is_none() {
        if let Some(table) = schema.table_with_rows()? {
            return Err(format!(
                "this database already contains data (in {table}): use an empty database"
            ));
        }
        schema.run(FILLING)?;
        schema.query("INSERT INTO store_migration VALUES ($1, now())", &[&source])?;
    }
    schema.commit()
}

/// Opens a filled database to servers.
pub(in crate::store) fn finish_migration(
    connection: &mut PgConnection,
) -> Result<(), ConnectionError> {
    connection.run("DROP TABLE store_migration")
}

/// A transaction that holds the lock for changes of the schema. Dropping the connection rolls it
/// back.
struct SchemaChange<'c>(&'c mut PgConnection);

impl<'c> SchemaChange<'c> {
    fn begin(connection: &'c mut PgConnection) -> Result<Self, String> {
        let mut schema = Self(connection);
        schema.run(
            "BEGIN; SET LOCAL lock_timeout = '60s'; SET LOCAL client_min_messages = warning",
        )?;
        schema.query("SELECT pg_advisory_xact_lock($1)", &[&LOCK])?;
        Ok(schema)
    }

    fn run(&mut self, sql: &str) -> Result<(), String> {
        self.0.run(sql).map_err(explain)
    }

    fn query(&mut self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, String> {
        self.0.query(sql, params).map_err(explain)
    }

    /// Runs a query that always returns a row.
    fn query_one(&mut self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Row, String> {
        let mut rows = self.query(sql, params)?;
        rows.pop()
            .ok_or_else(|| "the database returned no row".to_owned())
    }

    fn commit(mut self) -> Result<(), String> {
        self.run("COMMIT")
    }

    /// Where a migration that has begun takes its data from.
    fn migration_source(&mut self) -> Result<Option<String>, String> {
        let marker = "SELECT 1 FROM information_schema.tables
            WHERE table_schema = current_schema() AND table_name = 'store_migration'";
        if self.query(marker, &[])?.is_empty() {
            return Ok(None);
        }
        let rows = self.query("SELECT source FROM store_migration", &[])?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    fn table_with_rows(&mut self) -> Result<Option<String>, String> {
        let tables = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()
            AND table_type = 'BASE TABLE' AND table_name NOT IN ('schema_version', 'readiness') ORDER BY table_name";
        for table in self.query(tables, &[])? {
            let name: String = table.get(0);
            let any = format!("SELECT 1 FROM \"{}\" LIMIT 1", name.replace('"', "\"\""));
            if !self.query(&any, &[])?.is_empty() {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    fn create_or_upgrade(&mut self) -> Result<(), String> {
        let derived = to_hex(crate::crypto::sha256(DERIVED));
        let changed = match self.version()? {
            None => {
                self.create()?;
                true
            }
            Some((version, _)) if version > SCHEMA_VERSION => {
                return Err(format!(
                    "the database is from a newer version of hyprbox (schema {version}, this one knows {SCHEMA_VERSION}): install that version or a later one"
                ));
            }
            Some((version, made)) => {
                self.apply_steps(version)?;
                version < SCHEMA_VERSION || made != derived
            }
        };
        if changed {
            self.run(DERIVED)?;
            self.query(
                "UPDATE schema_version SET version = $1, derived_sha256 = $2",
                &[&SCHEMA_VERSION, &derived],
            )?;
        }
        Ok(())
    }

    /// The schema's version and the digest of the derived objects; `None` in a database without
    /// tables of ours.
    fn version(&mut self) -> Result<Option<(i64, String)>, String> {
        const FOREIGN: &str =
            "another program's tables are in this database: create a database only for hyprbox";
        let tables = self.query_one(
            "SELECT count(*) FILTER (WHERE table_name = 'schema_version'), count(*) FROM information_schema.tables
             WHERE table_schema = current_schema() AND table_name IN ('schema_version', 'users', 'sessions', 'nodes', 'jobs', 'chunks')",
            &[],
        )?;
        match (tables.get::<_, i64>(0), tables.get::<_, i64>(1)) {
            (0, 0) => return Ok(None),
            (0, _) => return Err(FOREIGN.to_owned()),
            _ => {}
        }
        let rows = self
            .query("SELECT version, derived_sha256 FROM schema_version", &[])
            .map_err(|_| FOREIGN.to_owned())?;
        let row = rows.first().ok_or_else(|| FOREIGN.to_owned())?;
        Ok(Some((row.get(0), row.get(1))))
    }

    fn create(&mut self) -> Result<(), String> {
        self.run(SCHEMA)?;
        self.run(TEXT_AS_BYTES)?;
        self.run(FRESH)?;
        self.query(
            "INSERT INTO schema_version (version, derived_sha256) VALUES ($1, '')",
            &[&SCHEMA_VERSION],
        )
        .map(|_| ())
    }

    fn apply_steps(&mut self, from: i64) -> Result<(), String> {
        for (to, parts) in MIGRATIONS {
            if *to > from {
                tracing::info!(version = to, "upgrading the database");
                parts.iter().try_for_each(|sql| self.run(sql))?;
            }
        }
        Ok(())
    }
}

/// Describes an error in one line, including the fix if a privilege is missing.
fn explain(error: ConnectionError) -> String {
    let text = error.to_string();
    if let ConnectionError::Postgres(error) = error
        && error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE)
    {
        return format!(
            "{text}: let the user own the database, or grant the user CREATE on the schema"
        );
    }
    text
}

fn check_server(connection: &mut PgConnection) -> Result<(), String> {
    let rows = connection
        .query(
            "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), current_schema()::text",
            &[],
        )
        .map_err(explain)?;
    let Some(row) = rows.first() else {
        return Err("the database returned no row".to_owned());
    };
    let (version, encoding, schema): (i32, String, Option<String>) =
        (row.get(0), row.get(1), row.get(2));
    if version < SERVER_MIN {
        return Err("PostgreSQL 14 or later is required".to_owned());
    }
    if encoding != "UTF8" {
        return Err(format!(
            "the database's encoding is {encoding}: create a database with ENCODING 'UTF8'"
        ));
    }
    if schema.is_none() {
        return Err("the user's search_path contains no existing schema".to_owned());
    }
    Ok(())
}
