//! A pooled connection with its prepared statements.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::connection::{Answer, ConnectionError, PgConnection};
use super::endpoint::Endpoint;
use super::error::store_error;
use super::payload::OwnPids;
use super::value::type_of;
use crate::store::{Statement, StoreError, Value};

/// Prepared statements kept on one connection: the fixed ones, and lists composed at run time.
const PREPARED_MAX: usize = 256;

/// Settings of a session. A statement that takes longer is [`StoreError::Busy`]. A transaction
/// whose program hangs loses its locks. Commits are durable even if the database is configured to
/// answer earlier. `hyprbox.tells` keeps the trigger on jobs from notifying other servers, since
/// this server does so itself after the commit.
const SETTINGS: &str = "SET statement_timeout = '10s'; SET lock_timeout = '5s';
    SET idle_in_transaction_session_timeout = '15s'; SET timezone = 'UTC'; SET hyprbox.tells = 'itself';
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// Opens the pool's connections.
pub(super) struct SessionManager {
    endpoint: Endpoint,
    own: Arc<OwnPids>,
    timeouts: Arc<LastTimeout>,
}

impl SessionManager {
    pub(super) fn new(endpoint: Endpoint, own: Arc<OwnPids>) -> Self {
        Self {
            endpoint,
            own,
            timeouts: Arc::default(),
        }
    }
}

/// When the last request that got no answer was sent. A connection that has not answered since then
/// is most likely broken too, and every caller that tried it would wait for the timeout.
#[derive(Debug, Default)]
struct LastTimeout(Mutex<Option<Instant>>);

impl LastTimeout {
    fn locked(&self) -> MutexGuard<'_, Option<Instant>> {
        crate::sync::lock(&self.0)
    }

    /// Records that a request sent at this time got no answer.
    fn record(&self, sent: Instant) {
        let mut last = self.locked();
        *last = (*last).max(Some(sent));
    }

    fn is_doubtful(&self, answered: Instant) -> bool {
        self.locked().is_some_and(|last| answered < last)
    }
}

impl r2d2::ManageConnection for SessionManager {
    type Connection = Session;
    type Error = ConnectionError;

    fn connect(&self) -> Result<Session, ConnectionError> {
        Session::open(self)
    }

    /// Not used: the next transaction's first statement finds out.
    fn is_valid(&self, _: &mut Session) -> Result<(), ConnectionError> {
        Ok(())
    }

    fn has_broken(&self, session: &mut Session) -> bool {
        session.is_lost()
    }
}

/// Logs that the pool can't connect, at most once per [`LogErrors::INTERVAL`].
#[derive(Debug, Default)]
pub(super) struct LogErrors(Mutex<Option<Instant>>);

impl LogErrors {
    const INTERVAL: Duration = Duration::from_secs(5);
}

impl r2d2::HandleError<ConnectionError> for LogErrors {
    fn handle_error(&self, error: ConnectionError) {
        let mut last = crate::sync::lock(&self.0);
        if last.is_none_or(|last| last.elapsed() >= Self::INTERVAL) {
            *last = Some(Instant::now());
            tracing::warn!(%error, "can't connect to the database; trying again");
        }
    }
}

/// A connection of the pool.
pub(super) struct Session {
    connection: PgConnection,
    pid: i32,
    own: Arc<OwnPids>,
    timeouts: Arc<LastTimeout>,
    /// When the last answer arrived.
    answered: Instant,
    /// By SQL text and by a bit mask of the parameters that are NULL, which have no type.
    prepared: HashMap<String, HashMap<u64, tokio_postgres::Statement>>,
    count: usize,
    lost: bool,
}

impl Session {
    fn open(manager: &SessionManager) -> Result<Self, ConnectionError> {
        let mut connection = PgConnection::open(&manager.endpoint)?;
        connection.run(SETTINGS)?;
        let pid = connection.pid()?;
        manager.own.locked().insert(pid);
        Ok(Self {
            connection,
            pid,
            own: Arc::clone(&manager.own),
            timeouts: Arc::clone(&manager.timeouts),
            answered: Instant::now(),
            prepared: HashMap::new(),
            count: 0,
            lost: false,
        })
    }

    /// Whether the connection can no longer be used.
    pub(super) fn is_lost(&self) -> bool {
        self.lost || self.connection.is_closed()
    }

    /// Whether the connection is probably broken: another one timed out after this one's last
    /// answer.
    pub(super) fn is_doubtful(&self) -> bool {
        self.timeouts.is_doubtful(self.answered)
    }

    /// Marks the connection as lost, so that the pool closes it.
    pub(super) fn give_up(&mut self) {
        self.lost = true;
    }

    /// Runs SQL without parameters.
    pub(super) fn run(&mut self, sql: &str) -> Result<(), StoreError> {
        let sent = Instant::now();
        let result = self.connection.run(sql);
        self.check(sent, result)
    }

    /// Sends COMMIT or ROLLBACK without waiting for the answer.
    pub(super) fn send_end(&mut self, end: &str) {
        if !self.is_lost() && self.connection.send(end).is_err() {
            self.lost = true;
        }
    }

    fn prepare(
        &mut self,
        statement: &Statement,
        params: &[Value],
    ) -> Result<tokio_postgres::Statement, ConnectionError> {
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
        let prepared = self.connection.prepare(sql, &types)?;
        self.count += 1;
        self.prepared
            .entry(sql.to_owned())
            .or_default()
            .insert(nulls, prepared.clone());
        Ok(prepared)
    }

    /// Runs a statement. SQL without parameters may be sent with it, before and after.
    pub(super) fn run_statement(
        &mut self,
        before: Option<&str>,
        (statement, params): (&Statement, &[Value]),
        after: Option<&str>,
    ) -> Result<Answer, StoreError> {
        let sent = Instant::now();
        let answer = self.prepare(statement, params).and_then(|prepared| {
            self.connection
                .run_statement(before, (&prepared, params), after)
        });
        self.check(sent, answer)
    }

    /// Translates the error of a request that was sent at `sent`, and marks a connection that can't
    /// be used any more as lost.
    fn check<T>(
        &mut self,
        sent: Instant,
        result: Result<T, ConnectionError>,
    ) -> Result<T, StoreError> {
        let error = match result {
            Ok(value) => {
                self.answered = Instant::now();
                return Ok(value);
            }
            Err(error) => error,
        };
        if matches!(error, ConnectionError::NoAnswer) {
            self.timeouts.record(sent);
        }
        let translated = match &error {
            ConnectionError::Postgres(error) => store_error(error),
            ConnectionError::NoAnswer
            | ConnectionError::Closed
            | ConnectionError::ConnectTimeout { .. }
            | ConnectionError::NoRuntime(_) => StoreError::Unusable(error.to_string()),
        };
        // A server that is shutting down or no longer accepts writes is left: another server may
        // have taken over.
        if matches!(translated, StoreError::Unusable(_)) {
            self.lost = true;
        }
        Err(translated)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.own.locked().remove(&self.pid);
    }
}
