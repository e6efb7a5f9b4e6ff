//! One connection: its prepared statements, its transaction, and what its errors mean.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postgres::error::SqlState;

use super::line::{Answer, Line, LineError};
use super::url::Endpoint;
use super::value::{Column, type_of};
use super::{OwnPids, Postgres};
use crate::store::{Change, Row, Statement, StoreError, Tx, Value};

/// The channel of every notification.
pub(super) const CHANNEL: &str = "hyprbox";
/// Prepared statements kept on one connection; lists that are put together at run time add to the
/// fixed ones.
const PREPARED_MAX: usize = 256;

/// What a session begins with. A statement that takes longer is [`StoreError::Busy`]; a transaction
/// whose program has stopped moving gives up its locks. Where the database as a whole is set to
/// answer before it is durable, we are not. `hyprbox.tells` keeps the trigger on jobs from telling
/// what we tell ourselves, after the commit.
const SETTINGS: &str = "SET statement_timeout = '10s'; SET lock_timeout = '5s';
    SET idle_in_transaction_session_timeout = '15s'; SET timezone = 'UTC'; SET hyprbox.tells = 'itself';
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// Makes the pool's connections.
pub(super) struct Sessions {
    endpoint: Endpoint,
    own: Arc<OwnPids>,
    silence: Arc<Silence>,
}

impl Sessions {
    pub(super) fn new(endpoint: Endpoint, own: Arc<OwnPids>) -> Self {
        Self {
            endpoint,
            own,
            silence: Arc::default(),
        }
    }
}

/// When somebody last asked in vain. A connection that has not answered since is most likely as
/// silent: each caller who found that out by himself would wait as long.
#[derive(Debug, Default)]
struct Silence(Mutex<Option<Instant>>);

impl Silence {
    fn locked(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody answered who was asked then.
    fn since(&self, asked: Instant) {
        let mut since = self.locked();
        *since = (*since).max(Some(asked));
    }

    fn is_doubtful(&self, answered: Instant) -> bool {
        self.locked().is_some_and(|since| answered < since)
    }
}

impl r2d2::ManageConnection for Sessions {
    type Connection = Session;
    type Error = LineError;

    fn connect(&self) -> Result<Session, LineError> {
        Session::open(self)
    }

    /// Never asked: the BEGIN of the next transaction finds out.
    fn is_valid(&self, _: &mut Session) -> Result<(), LineError> {
        Ok(())
    }

    fn has_broken(&self, session: &mut Session) -> bool {
        session.is_lost()
    }
}

/// Tells the log when the pool can't connect; not more often than [`LogErrors::EVERY`].
#[derive(Debug, Default)]
pub(super) struct LogErrors(Mutex<Option<Instant>>);

impl LogErrors {
    const EVERY: Duration = Duration::from_secs(5);
}

impl r2d2::HandleError<LineError> for LogErrors {
    fn handle_error(&self, error: LineError) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= Self::EVERY) {
            *last = Some(Instant::now());
            tracing::warn!(%error, "can't connect to the database; trying again");
        }
    }
}

/// A connection of the pool.
pub(super) struct Session {
    line: Line,
    pid: i32,
    own: Arc<OwnPids>,
    silence: Arc<Silence>,
    answered: Instant,
    /// By text, and by which parameters were NULL: those have no type of their own.
    prepared: HashMap<String, HashMap<u64, tokio_postgres::Statement>>,
    count: usize,
    lost: bool,
}

impl Session {
    fn open(sessions: &Sessions) -> Result<Self, LineError> {
        let mut line = Line::open(&sessions.endpoint)?;
        line.run(SETTINGS)?;
        let pid = line.pid()?;
        sessions.own.locked().insert(pid);
        Ok(Self {
            line,
            pid,
            own: Arc::clone(&sessions.own),
            silence: Arc::clone(&sessions.silence),
            answered: Instant::now(),
            prepared: HashMap::new(),
            count: 0,
            lost: false,
        })
    }

    /// Whether it is of no more use.
    fn is_lost(&self) -> bool {
        self.lost || self.line.is_closed()
    }

    /// Whether it is to be left unasked: others were silent since it last answered.
    pub(super) fn is_doubtful(&self) -> bool {
        self.silence.is_doubtful(self.answered)
    }

    /// Leaves it.
    pub(super) fn give_up(&mut self) {
        self.lost = true;
    }

    /// Runs SQL without parameters.
    fn run(&mut self, sql: &str) -> Result<(), StoreError> {
        let asked = Instant::now();
        let ran = self.line.run(sql);
        self.note(asked, ran)
    }

    /// Ends a transaction without waiting for the answer.
    fn let_go(&mut self, end: &str) {
        if !self.is_lost() && self.line.send(end).is_err() {
            self.lost = true;
        }
    }

    fn prepare(
        &mut self,
        statement: &Statement,
        params: &[Value],
    ) -> Result<tokio_postgres::Statement, LineError> {
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
        let prepared = self.line.prepare(sql, &types)?;
        self.count += 1;
        self.prepared
            .entry(sql.to_owned())
            .or_default()
            .insert(nulls, prepared.clone());
        Ok(prepared)
    }

    fn ask(
        &mut self,
        before: Option<&str>,
        (statement, params): (&Statement, &[Value]),
        behind: Option<&str>,
    ) -> Result<Answer, StoreError> {
        let asked = Instant::now();
        let answer = self
            .prepare(statement, params)
            .and_then(|prepared| self.line.ask(before, (&prepared, params), behind));
        self.note(asked, answer)
    }

    /// What came of asking.
    fn note<T>(&mut self, asked: Instant, done: Result<T, LineError>) -> Result<T, StoreError> {
        let error = match done {
            Ok(done) => {
                self.answered = Instant::now();
                return Ok(done);
            }
            Err(error) => error,
        };
        if matches!(error, LineError::Silent) {
            self.silence.since(asked);
        }
        let meaning = match &error {
            LineError::Told(error) => store_error(error),
            LineError::Silent
            | LineError::Ended
            | LineError::Unwelcome { .. }
            | LineError::NoRuntime(_) => StoreError::Unusable(error.to_string()),
        };
        // A server that is going down, or that takes no writes any more, is left: another one may
        // be there already.
        if matches!(meaning, StoreError::Unusable(_)) {
            self.lost = true;
        }
        Err(meaning)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.own.locked().remove(&self.pid);
    }
}

fn rows_of(answer: &Answer) -> Result<Vec<Row>, StoreError> {
    let row_of = |row: &tokio_postgres::Row| {
        let values: Result<Vec<Value>, _> = (0..row.len())
            .map(|column| row.try_get::<_, Column>(column).map(|Column(value)| value))
            .collect();
        values.map(Row::new)
    };
    let rows: Result<Vec<Row>, postgres::Error> = answer.rows.iter().map(row_of).collect();
    rows.map_err(|error| StoreError::Statement(describe(&error)))
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Read,
    Write,
}

impl Purpose {
    fn begin(self) -> &'static str {
        match self {
            Self::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Self::Write => "BEGIN ISOLATION LEVEL READ COMMITTED",
        }
    }
}

/// How far a transaction is.
enum Stage {
    /// Nothing was asked.
    New,
    /// Something was, before it: each statement stands for itself.
    Peeked(r2d2::PooledConnection<Sessions>),
    Begun(r2d2::PooledConnection<Sessions>),
    /// It was committed, or undone by its failure.
    Ended,
}

/// One transaction, on a connection of the pool from its first statement on.
pub(super) struct PostgresTx<'p> {
    postgres: &'p Postgres,
    purpose: Purpose,
    stage: Stage,
    notes: Vec<Change>,
    failed: Option<StoreError>,
    /// The commit went out with the last statement, and did not fail for sure.
    unsure: bool,
}

impl<'p> PostgresTx<'p> {
    pub(super) fn new(postgres: &'p Postgres, purpose: Purpose) -> Self {
        Self {
            postgres,
            purpose,
            stage: Stage::New,
            notes: Vec::new(),
            failed: None,
            unsure: false,
        }
    }

    /// Whether it may have been committed, whatever its work says.
    pub(super) fn is_unsure(&self) -> bool {
        self.unsure
    }

    /// Commits; what was noted. A transaction with a failed statement can't be committed, whatever
    /// its work made of that. After a commit whose answer got lost, too, all must look: it may have
    /// gone through, and looking harms nothing.
    pub(super) fn commit(mut self) -> (Vec<Change>, Result<(), StoreError>) {
        if let Some(failed) = self.failed.take() {
            self.undo();
            return (Vec::new(), Err(failed));
        }
        let commit = self.commit_sql();
        let committed = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::New | Stage::Peeked(_) | Stage::Ended => Ok(()),
            Stage::Begun(mut session) => match self.purpose {
                Purpose::Read => {
                    session.let_go(&commit);
                    Ok(())
                }
                Purpose::Write => {
                    let committed = session.run(&commit);
                    if committed.is_err() {
                        session.let_go("ROLLBACK");
                    }
                    committed
                }
            },
        };
        (std::mem::take(&mut self.notes), committed)
    }

    /// Undoes it.
    pub(super) fn undo(&mut self) {
        if let Stage::Begun(mut session) = std::mem::replace(&mut self.stage, Stage::Ended) {
            session.let_go("ROLLBACK");
        }
    }

    /// That credentials changed is told to other servers with the commit itself.
    fn commit_sql(&self) -> String {
        if self.notes.contains(&Change::Credentials) {
            format!("SELECT pg_notify('{CHANNEL}', 'c'); COMMIT")
        } else {
            "COMMIT".to_owned()
        }
    }

    fn ask(
        &mut self,
        how: How,
        statement: &Statement,
        params: &[Value],
    ) -> Result<Answer, StoreError> {
        let asked = (statement, params);
        let (stage, answer) = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::New => match how {
                How::Peek => {
                    let (session, answer) = self.ask_first(None, asked)?;
                    (Stage::Peeked(session), answer)
                }
                How::Within | How::Last => {
                    let begin = self.purpose.begin();
                    let (session, answer) = self.ask_first(Some(begin), asked)?;
                    (Stage::Begun(session), answer)
                }
            },
            Stage::Peeked(mut session) => match how {
                How::Peek => {
                    let answer = session.ask(None, asked, None);
                    (Stage::Peeked(session), answer)
                }
                How::Within => {
                    let answer = session.ask(Some(self.purpose.begin()), asked, None);
                    (Stage::Begun(session), answer)
                }
                // Alone it is a transaction of its own, unless there is more to be said with it.
                How::Last if self.notes.is_empty() => {
                    let answer = session.ask(None, asked, None);
                    self.unsure = answer.is_ok() || session.is_lost();
                    (Stage::Ended, answer)
                }
                How::Last => {
                    let (begin, commit) = (self.purpose.begin(), self.commit_sql());
                    let answer = session.ask(Some(begin), asked, Some(&commit));
                    self.unsure = answer.is_ok() || session.is_lost();
                    (Stage::Ended, answer)
                }
            },
            Stage::Begun(mut session) => match how {
                How::Peek | How::Within => {
                    let answer = session.ask(None, asked, None);
                    (Stage::Begun(session), answer)
                }
                // Where it fails, COMMIT undoes it.
                How::Last => {
                    let commit = self.commit_sql();
                    let answer = session.ask(None, asked, Some(&commit));
                    self.unsure = answer.is_ok() || session.is_lost();
                    (Stage::Ended, answer)
                }
            },
            Stage::Ended => {
                let words = "a statement came after the transaction's last one";
                (Stage::Ended, Err(StoreError::Statement(words.to_owned())))
            }
        };
        self.stage = stage;
        answer
    }

    /// Asks on a connection of the pool. Those that were lost since their last use are left behind:
    /// on none of them was anything committed. One that is silent cost time enough: whoever asks
    /// next finds another one.
    fn ask_first(
        &self,
        begin: Option<&str>,
        asked: (&Statement, &[Value]),
    ) -> Result<(r2d2::PooledConnection<Sessions>, Result<Answer, StoreError>), StoreError> {
        for _ in 0..Postgres::ATTEMPTS {
            let mut session = self.postgres.connection()?;
            let answer = session.ask(begin, asked, None);
            if answer.is_ok() || !session.is_lost() || session.is_doubtful() {
                return Ok((session, answer));
            }
        }
        Err(StoreError::Busy)
    }

    fn rows(
        &mut self,
        how: How,
        statement: &Statement,
        params: &[Value],
    ) -> Result<Vec<Row>, StoreError> {
        let rows = self
            .ask(how, statement, params)
            .and_then(|answer| rows_of(&answer));
        self.keep_failure(rows)
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

/// How a statement stands to its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Peek,
    Within,
    Last,
}

impl Drop for PostgresTx<'_> {
    fn drop(&mut self) {
        self.undo();
    }
}

impl Tx for PostgresTx<'_> {
    fn query(&mut self, statement: &Statement, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.rows(How::Within, statement, params)
    }

    fn peek(&mut self, statement: &Statement, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.rows(How::Peek, statement, params)
    }

    fn query_last(
        &mut self,
        statement: &Statement,
        params: &[Value],
    ) -> Result<Vec<Row>, StoreError> {
        self.rows(How::Last, statement, params)
    }

    fn execute(&mut self, statement: &Statement, params: &[Value]) -> Result<u64, StoreError> {
        let count = self
            .ask(How::Within, statement, params)
            .map(|answer| answer.count);
        self.keep_failure(count)
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
        // Without a state it never came from the server: the line is broken, or a value is not what
        // it was taken for.
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
    // Classes 08 (connection), 57 (going down, starting up), 58 (system) and XX (internal,
    // corrupt).
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
