//! One connection: its prepared statements, its transaction, and what its errors mean.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use postgres::Client;
use postgres::error::SqlState;

use super::OwnPids;
use super::url::Endpoint;
use super::value::{Column, as_params, type_of};
use crate::store::{Change, Row, Statement, StoreError, Tx, Value};

/// The channel of every notification.
pub(super) const CHANNEL: &str = "hyprbox";
/// Prepared statements kept on one connection; lists that are put together at run time add to the fixed ones.
const PREPARED_MAX: usize = 256;

/// What a session begins with. A statement that takes longer is [`StoreError::Busy`]; a transaction whose program has
/// stopped moving gives up its locks. Where the database as a whole is set to answer before it is durable, we are not.
/// `hyprbox.tells` keeps the trigger on jobs from telling what we tell ourselves, after the commit.
const SETTINGS: &str = "SET statement_timeout = '10s'; SET lock_timeout = '5s';
    SET idle_in_transaction_session_timeout = '15s'; SET timezone = 'UTC'; SET hyprbox.tells = 'itself';
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// Makes the pool's connections.
pub(super) struct Sessions {
    endpoint: Endpoint,
    own: Arc<OwnPids>,
}

impl Sessions {
    pub(super) fn new(endpoint: Endpoint, own: Arc<OwnPids>) -> Self {
        Self { endpoint, own }
    }
}

impl r2d2::ManageConnection for Sessions {
    type Connection = Session;
    type Error = SessionError;

    fn connect(&self) -> Result<Session, SessionError> {
        Session::open(&self.endpoint, Arc::clone(&self.own))
            .map_err(|error| SessionError(describe(&error)))
    }

    /// Never asked: the BEGIN of the next transaction finds out.
    fn is_valid(&self, _: &mut Session) -> Result<(), SessionError> {
        Ok(())
    }

    fn has_broken(&self, session: &mut Session) -> bool {
        session.is_lost()
    }
}

/// Why there is no connection, in words: the client's own errors keep theirs in their causes.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct SessionError(String);

/// Tells the log when the pool can't connect; not more often than [`LogErrors::EVERY`].
#[derive(Debug, Default)]
pub(super) struct LogErrors(Mutex<Option<Instant>>);

impl LogErrors {
    const EVERY: Duration = Duration::from_secs(5);
}

impl r2d2::HandleError<SessionError> for LogErrors {
    fn handle_error(&self, error: SessionError) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= Self::EVERY) {
            *last = Some(Instant::now());
            tracing::warn!(%error, "can't connect to the database; trying again");
        }
    }
}

/// A connection of the pool.
pub(super) struct Session {
    client: Client,
    pid: i32,
    own: Arc<OwnPids>,
    /// By text, and by which parameters were NULL: those have no type of their own.
    prepared: HashMap<String, HashMap<u64, postgres::Statement>>,
    count: usize,
    lost: bool,
}

impl Session {
    fn open(endpoint: &Endpoint, own: Arc<OwnPids>) -> Result<Self, postgres::Error> {
        let mut client = endpoint.connect()?;
        client.batch_execute(SETTINGS)?;
        let pid = client.query_one("SELECT pg_backend_pid()", &[])?.get(0);
        own.locked().insert(pid);
        Ok(Self {
            client,
            pid,
            own,
            prepared: HashMap::new(),
            count: 0,
            lost: false,
        })
    }

    /// Whether it is of no more use.
    pub(super) fn is_lost(&self) -> bool {
        self.lost || self.client.is_closed()
    }

    pub(super) fn tx(&mut self) -> PostgresTx<'_> {
        PostgresTx {
            session: self,
            notes: Vec::new(),
            failed: None,
        }
    }

    /// Runs SQL without parameters.
    pub(super) fn run(&mut self, sql: &str) -> Result<(), StoreError> {
        let ran = self.client.batch_execute(sql);
        ran.map_err(|error| self.note_error(&error))
    }

    /// Commits. That credentials changed is told to other servers with the commit itself.
    pub(super) fn commit(&mut self, notes: &[Change]) -> Result<(), StoreError> {
        let committed = if notes.contains(&Change::Credentials) {
            self.run(&format!("SELECT pg_notify('{CHANNEL}', 'c'); COMMIT"))
        } else {
            self.run("COMMIT")
        };
        if committed.is_err() {
            self.roll_back();
        }
        committed
    }

    pub(super) fn roll_back(&mut self) {
        if !self.is_lost() && self.run("ROLLBACK").is_err() {
            self.lost = true;
        }
    }

    fn prepare(
        &mut self,
        statement: &Statement,
        params: &[Value],
    ) -> Result<postgres::Statement, postgres::Error> {
        let sql = statement.for_postgres();
        let nulls = params.iter().enumerate().fold(0_u64, |nulls, (at, value)| {
            nulls | u64::from(*value == Value::Null) << (at % 64)
        });
        if let Some(found) = self.prepared.get(sql).and_then(|by| by.get(&nulls)) {
            return Ok(found.clone());
        }
        if self.count >= PREPARED_MAX {
            self.prepared.clear();
            self.count = 0;
        }
        let types: Vec<_> = params.iter().map(type_of).collect();
        let prepared = self.client.prepare_typed(sql, &types)?;
        self.count += 1;
        self.prepared
            .entry(sql.to_owned())
            .or_default()
            .insert(nulls, prepared.clone());
        Ok(prepared)
    }

    fn query(&mut self, statement: &Statement, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        let rows = self.prepare(statement, params).and_then(|prepared| {
            let rows = self.client.query(&prepared, &as_params(params))?;
            rows.iter().map(row_of).collect::<Result<Vec<Row>, _>>()
        });
        rows.map_err(|error| self.note_error(&error))
    }

    fn execute(&mut self, statement: &Statement, params: &[Value]) -> Result<u64, StoreError> {
        let changed = self
            .prepare(statement, params)
            .and_then(|prepared| self.client.execute(&prepared, &as_params(params)));
        changed.map_err(|error| self.note_error(&error))
    }

    fn note_error(&mut self, error: &postgres::Error) -> StoreError {
        let meaning = store_error(error);
        // A server that is going down, or that takes no writes any more, is left: another one may be there already.
        if matches!(meaning, StoreError::Unusable(_)) {
            self.lost = true;
        }
        meaning
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.own.locked().remove(&self.pid);
    }
}

fn row_of(row: &postgres::Row) -> Result<Row, postgres::Error> {
    let values: Result<Vec<Value>, postgres::Error> = (0..row.len())
        .map(|column| row.try_get::<_, Column>(column).map(|Column(value)| value))
        .collect();
    values.map(Row::new)
}

/// One transaction on one connection.
pub(super) struct PostgresTx<'s> {
    session: &'s mut Session,
    notes: Vec<Change>,
    failed: Option<StoreError>,
}

impl PostgresTx<'_> {
    /// What was noted, and the first failure of a statement.
    pub(super) fn into_parts(self) -> (Vec<Change>, Option<StoreError>) {
        (self.notes, self.failed)
    }

    fn keep_failure<T>(&mut self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &done
            && self.failed.is_none()
        {
            self.failed = Some(error.clone());
        }
        done
    }
}

impl Tx for PostgresTx<'_> {
    fn query(&mut self, statement: &Statement, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        let rows = self.session.query(statement, params);
        self.keep_failure(rows)
    }

    fn execute(&mut self, statement: &Statement, params: &[Value]) -> Result<u64, StoreError> {
        let changed = self.session.execute(statement, params);
        self.keep_failure(changed)
    }

    fn note(&mut self, change: Change) {
        self.notes.push(change);
    }

    fn lock(&mut self, name: &str) -> Result<(), StoreError> {
        static LOCK: Statement =
            Statement::new("SELECT 1 FROM pg_advisory_xact_lock(hashtextextended($1, 0))");
        self.query(&LOCK, &[Value::from(name)]).map(|_| ())
    }

    fn is_shared(&self) -> bool {
        true
    }
}

fn store_error(error: &postgres::Error) -> StoreError {
    let Some(state) = error.code() else {
        // Without a state it never came from the server: the line is broken, or a value is not what it was taken for.
        return if error.is_closed() || has_io_cause(error) {
            StoreError::Unusable(describe(error))
        } else {
            StoreError::Statement(describe(error))
        };
    };
    if *state == SqlState::DISK_FULL {
        return StoreError::Full;
    }
    let busy = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::QUERY_CANCELED,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    // Class 53: too many connections, out of memory.
    if busy.contains(state) || state.code().starts_with("53") {
        tracing::warn!(error = describe(error), "the database is busy");
        return StoreError::Busy;
    }
    // Classes 08 (connection), 57 (going down, starting up), 58 (system) and XX (internal, corrupt).
    let unusable = ["08", "57", "58", "XX"]
        .iter()
        .any(|class| state.code().starts_with(class));
    if unusable || *state == SqlState::READ_ONLY_SQL_TRANSACTION {
        return StoreError::Unusable(describe(error));
    }
    StoreError::Statement(describe(error))
}

fn has_io_cause(error: &postgres::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if inner.is::<std::io::Error>() {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// An error in one line, with its causes.
pub(in crate::store) fn describe(error: &postgres::Error) -> String {
    if let Some(told) = error.as_db_error() {
        return format!("{} ({})", told.message(), told.code().code());
    }
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = inner.source();
    }
    if words.contains("server does not support TLS") {
        words.push_str(
            ": turn ssl on there, or connect with sslmode=disable over a line that nobody reads",
        );
    }
    words.replace('\n', " ")
}
