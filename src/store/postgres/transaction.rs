//! A transaction on a pooled connection.

use super::Postgres;
use super::connection::Answer;
use super::error::describe;
use super::payload::CHANNEL;
use super::session::SessionManager;
use super::value::Column;
use crate::store::{AfterCommit, Change, Row, Statement, StoreError, Tx, Value};

type PooledSession = r2d2::PooledConnection<SessionManager>;

/// Whether a transaction reads or writes.
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

/// How far a transaction has got.
enum Stage {
    /// No statement has run.
    New,
    /// Statements have run before BEGIN, each in a transaction of its own.
    Peeked(PooledSession),
    Begun(PooledSession),
    /// The transaction was committed or rolled back.
    Ended,
}

/// One transaction. It takes a connection from the pool for its first statement.
pub(super) struct PostgresTx<'p> {
    postgres: &'p Postgres,
    purpose: Purpose,
    stage: Stage,
    changes: Vec<Change>,
    acts: Vec<AfterCommit>,
    failed: Option<StoreError>,
    /// COMMIT was sent with the last statement and may have succeeded.
    may_be_committed: bool,
}

impl<'p> PostgresTx<'p> {
    pub(super) fn new(postgres: &'p Postgres, purpose: Purpose) -> Self {
        Self {
            postgres,
            purpose,
            stage: Stage::New,
            changes: Vec::new(),
            acts: Vec::new(),
            failed: None,
            may_be_committed: false,
        }
    }

    /// Whether the transaction may have been committed even if its work returned an error.
    pub(super) fn may_be_committed(&self) -> bool {
        self.may_be_committed
    }

    /// Commits, and returns the changes to publish. A transaction with a failed statement is rolled
    /// back even if its work ignored the error. If the commit's answer was lost, the changes are
    /// also published: the commit may have succeeded, and a needless query does no harm.
    pub(super) fn commit(mut self) -> (Vec<Change>, Result<(), StoreError>) {
        if let Some(failed) = self.failed.take() {
            self.roll_back();
            return (Vec::new(), Err(failed));
        }
        let commit = self.commit_sql();
        let committed = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::New | Stage::Peeked(_) | Stage::Ended => Ok(()),
            Stage::Begun(mut session) => match self.purpose {
                Purpose::Read => {
                    session.send_end(&commit);
                    Ok(())
                }
                Purpose::Write => {
                    let committed = session.run(&commit);
                    if committed.is_err() {
                        session.send_end("ROLLBACK");
                    }
                    committed
                }
            },
        };
        if committed.is_ok() {
            std::mem::take(&mut self.acts)
                .into_iter()
                .for_each(|act| act());
        }
        (std::mem::take(&mut self.changes), committed)
    }

    fn roll_back(&mut self) {
        if let Stage::Begun(mut session) = std::mem::replace(&mut self.stage, Stage::Ended) {
            session.send_end("ROLLBACK");
        }
    }

    /// A change of credentials is notified to other servers in the transaction itself, so that it
    /// can't get lost.
    fn commit_sql(&self) -> String {
        if self.changes.contains(&Change::Credentials) {
            format!("SELECT pg_notify('{CHANNEL}', 'c'); COMMIT")
        } else {
            "COMMIT".to_owned()
        }
    }

    fn run(
        &mut self,
        mode: Mode,
        statement: &Statement,
        params: &[Value],
    ) -> Result<Answer, StoreError> {
        let request = (statement, params);
        let (stage, answer) = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::New => match mode {
                Mode::Peek => {
                    let (session, answer) = self.run_first(None, request)?;
                    (Stage::Peeked(session), answer)
                }
                Mode::Within | Mode::Last => {
                    let begin = self.purpose.begin();
                    let (session, answer) = self.run_first(Some(begin), request)?;
                    (Stage::Begun(session), answer)
                }
            },
            Stage::Peeked(mut session) => match mode {
                Mode::Peek => {
                    let answer = session.run_statement(None, request, None);
                    (Stage::Peeked(session), answer)
                }
                Mode::Within => {
                    let answer = session.run_statement(Some(self.purpose.begin()), request, None);
                    (Stage::Begun(session), answer)
                }
                // A single statement is a transaction of its own. BEGIN and COMMIT are needed only
                // to notify other servers with it.
                Mode::Last if self.changes.is_empty() => {
                    let answer = session.run_statement(None, request, None);
                    self.may_be_committed = answer.is_ok() || session.is_lost();
                    (Stage::Ended, answer)
                }
                Mode::Last => {
                    let (begin, commit) = (self.purpose.begin(), self.commit_sql());
                    let answer = session.run_statement(Some(begin), request, Some(&commit));
                    self.may_be_committed = answer.is_ok() || session.is_lost();
                    (Stage::Ended, answer)
                }
            },
            Stage::Begun(mut session) => match mode {
                Mode::Peek | Mode::Within => {
                    let answer = session.run_statement(None, request, None);
                    (Stage::Begun(session), answer)
                }
                // If the statement fails, COMMIT rolls the transaction back.
                Mode::Last => {
                    let commit = self.commit_sql();
                    let answer = session.run_statement(None, request, Some(&commit));
                    self.may_be_committed = answer.is_ok() || session.is_lost();
                    (Stage::Ended, answer)
                }
            },
            Stage::Ended => {
                let why = "a statement came after the transaction's last one";
                (Stage::Ended, Err(StoreError::Statement(why.to_owned())))
            }
        };
        self.stage = stage;
        answer
    }

    /// Runs the first statement on a connection of the pool. Connections that were lost since their
    /// last use are skipped: nothing was committed on them. A connection that timed out is not
    /// skipped, since the caller has waited long enough.
    fn run_first(
        &self,
        begin: Option<&str>,
        request: (&Statement, &[Value]),
    ) -> Result<(PooledSession, Result<Answer, StoreError>), StoreError> {
        for _ in 0..Postgres::ATTEMPTS {
            let mut session = self.postgres.connection()?;
            let answer = session.run_statement(begin, request, None);
            if answer.is_ok() || !session.is_lost() || session.is_doubtful() {
                return Ok((session, answer));
            }
        }
        Err(StoreError::Busy)
    }

    fn rows(
        &mut self,
        mode: Mode,
        statement: &Statement,
        params: &[Value],
    ) -> Result<Vec<Row>, StoreError> {
        let rows = self
            .run(mode, statement, params)
            .and_then(|answer| rows_of(&answer));
        self.keep_failure(rows)
    }

    fn keep_failure<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result
            && self.failed.is_none()
        {
            self.failed = Some(error.clone());
        }
        result
    }
}

/// How a statement belongs to its transaction; see [`Tx::peek`] and [`Tx::query_last`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Peek,
    Within,
    Last,
}

impl Drop for PostgresTx<'_> {
    fn drop(&mut self) {
        self.roll_back();
    }
}

impl Tx for PostgresTx<'_> {
    fn query(&mut self, statement: &Statement, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.rows(Mode::Within, statement, params)
    }

    fn peek(&mut self, statement: &Statement, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.rows(Mode::Peek, statement, params)
    }

    fn query_last(
        &mut self,
        statement: &Statement,
        params: &[Value],
    ) -> Result<Vec<Row>, StoreError> {
        self.rows(Mode::Last, statement, params)
    }

    fn execute(&mut self, statement: &Statement, params: &[Value]) -> Result<u64, StoreError> {
        let count = self
            .run(Mode::Within, statement, params)
            .map(|answer| answer.count);
        self.keep_failure(count)
    }

    fn publish(&mut self, change: Change) {
        self.changes.push(change);
    }

    fn after_commit(&mut self, act: AfterCommit) {
        self.acts.push(act);
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

fn rows_of(answer: &Answer) -> Result<Vec<Row>, StoreError> {
    let row_of = |row: &tokio_postgres::Row| {
        let values: Result<Vec<Value>, _> = (0..row.len())
            .map(|column| row.try_get::<_, Column>(column).map(|Column(value)| value))
            .collect();
        values.map(Row::new)
    };
    let rows: Result<Vec<Row>, tokio_postgres::Error> = answer.rows.iter().map(row_of).collect();
    rows.map_err(|error| StoreError::Statement(describe(&error)))
}
