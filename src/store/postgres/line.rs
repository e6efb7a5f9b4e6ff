//! One line to Postgres, driven by the thread that uses it: what is asked for goes out together,
//! and is waited for once.
//!
//! The blocking client waits for each answer before it sends the next request. A transaction of two
//! statements then goes to and fro four times, and most of a short one's time, and of the
//! processor's, is spent on that. Here BEGIN travels with the first statement, COMMIT with the last
//! one where that is known, and the end of a read is not waited for.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::join3;
use futures_util::stream::TryStreamExt;
use tokio::runtime::Runtime;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, Error, Notification, Statement};

use super::session::describe;
use super::url::{Driven, Endpoint};
use crate::store::Value;

/// After this long without an answer a line counts as lost: the other end may be stopped, or wait
/// for a standby that is gone, which no timeout of its own ends.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// How long a line that is closed may take to say goodbye.
const GOODBYE_WITHIN: Duration = Duration::from_millis(200);

/// What went wrong on a line, in one line.
#[derive(Debug, thiserror::Error)]
pub(in crate::store) enum LineError {
    /// It is of no more use.
    #[error("no answer for {} s", ANSWER_WITHIN.as_secs())]
    Silent,
    /// The other end closed it.
    #[error("the line has ended")]
    Ended,
    /// Somebody was there, and did not say a word.
    #[error("{host} took the connection, and did not answer for {} s", within.as_secs())]
    Unwelcome {
        /// `db.example.org:5432`
        host: String,
        within: Duration,
    },
    /// There is no file descriptor left for what waits for it.
    #[error("can't wait for an answer: {0}")]
    NoRuntime(std::io::Error),
    /// As Postgres, or its client, says.
    #[error("{}", describe(.0))]
    Told(#[from] Error),
}

/// What a statement gave.
pub(super) struct Answer {
    pub(super) rows: Vec<tokio_postgres::Row>,
    /// Rows that it changed, or gave.
    pub(super) count: u64,
}

/// An open line.
pub(super) struct Line {
    client: Option<Client>,
    /// Reads and writes the socket; none once the line has ended.
    driver: Option<Driven>,
    /// Notifications that came while something else was waited for.
    heard: Vec<Notification>,
    runtime: Runtime,
}

impl Line {
    /// Connects. Not on a thread of an async runtime.
    pub(super) fn open(endpoint: &Endpoint) -> Result<Self, LineError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(LineError::NoRuntime)?;
        let (client, connection) = runtime.block_on(endpoint.connect_async())?;
        Ok(Self {
            client: Some(client),
            driver: Some(connection),
            heard: Vec::new(),
            runtime,
        })
    }

    /// Whether it has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.driver.is_none() || self.client.as_ref().is_none_or(Client::is_closed)
    }

    /// Runs SQL without parameters.
    pub(super) fn run(&mut self, sql: &str) -> Result<(), LineError> {
        self.wait(async |client| client.batch_execute(sql).await)
    }

    /// Sends SQL without parameters and does not wait for its answer; what fails is found out by
    /// whoever asks next.
    pub(super) fn send(&mut self, sql: &str) -> Result<(), LineError> {
        self.wait(async |client| {
            let mut asked = pin!(client.batch_execute(sql));
            let mut turns = 0;
            poll_fn(|cx| {
                // The first turn hands it over, and between the two it goes out.
                turns += 1;
                let done = asked.as_mut().poll(cx);
                if done.is_pending() && turns >= 2 {
                    Poll::Ready(Ok(()))
                } else {
                    done
                }
            })
            .await
        })
    }

    /// The number of the process that serves it.
    pub(super) fn pid(&mut self) -> Result<i32, LineError> {
        let asks = self.prepare("SELECT pg_backend_pid()", &[])?;
        let answer = self.ask(None, (&asks, &[]), None)?;
        // It always says one; nobody's number is 0.
        Ok(answer.rows.first().map_or(Ok(0), |row| row.try_get(0))?)
    }

    pub(super) fn prepare(&mut self, sql: &str, types: &[Type]) -> Result<Statement, LineError> {
        self.wait(async |client| client.prepare_typed(sql, types).await)
    }

    /// Runs a statement; before it and behind it, on the same way, SQL without parameters.
    pub(super) fn ask(
        &mut self,
        before: Option<&str>,
        (statement, params): (&Statement, &[Value]),
        behind: Option<&str>,
    ) -> Result<Answer, LineError> {
        self.wait(async |client| {
            // Polled in this order, which is the order in which they go out.
            let (began, answer, ended) = join3(
                run_if_any(client, before),
                answer(client, statement, params),
                run_if_any(client, behind),
            )
            .await;
            began?;
            let answer = answer?;
            ended?;
            Ok(answer)
        })
    }

    /// What others notify, all that has come; waits for it no longer than `within`, and gives
    /// nothing where it was quiet.
    pub(super) fn listen(&mut self, within: Duration) -> Result<Vec<Notification>, LineError> {
        let (driver, heard) = (&mut self.driver, &mut self.heard);
        let listening = poll_fn(|cx| {
            let ended = drive(driver, heard, cx);
            if !heard.is_empty() {
                return Poll::Ready(Ok(()));
            }
            ended
        });
        let heard = self
            .runtime
            .block_on(async { tokio::time::timeout(within, listening).await });
        // That the time is over is no fault.
        heard.unwrap_or(Ok(()))?;
        if self.heard.is_empty() && self.is_closed() {
            return Err(LineError::Ended);
        }
        Ok(std::mem::take(&mut self.heard))
    }

    fn wait<T>(
        &mut self,
        work: impl AsyncFnOnce(&Client) -> Result<T, Error>,
    ) -> Result<T, LineError> {
        let client = self.client.as_ref().expect("it is there until the drop");
        let (driver, heard) = (&mut self.driver, &mut self.heard);
        let done = self.runtime.block_on(async {
            let mut work = pin!(work(client));
            let turn = poll_fn(|cx| {
                if let Poll::Ready(done) = work.as_mut().poll(cx) {
                    return Poll::Ready(done);
                }
                // What was asked for goes out, and what has come is handed over.
                // Where it has ended, whatever is still waited for is told that the line is closed.
                if driver.is_some()
                    && let Poll::Ready(Err(error)) = drive(driver, heard, cx)
                {
                    return Poll::Ready(Err(error));
                }
                work.as_mut().poll(cx)
            });
            tokio::time::timeout(ANSWER_WITHIN, turn).await
        });
        let Ok(done) = done else {
            self.driver = None;
            return Err(LineError::Silent);
        };
        Ok(done?)
    }
}

/// Lets what was asked for go out, and takes what has come. Ready once the line has ended.
fn drive(
    driver: &mut Option<Driven>,
    heard: &mut Vec<Notification>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Error>> {
    let ended = loop {
        let Some(driving) = driver.as_mut() else {
            return Poll::Ready(Ok(()));
        };
        match ready!(driving.poll_message(cx)) {
            Some(Ok(AsyncMessage::Notification(notification))) => heard.push(notification),
            Some(Ok(_notice)) => {}
            Some(Err(error)) => break Err(error),
            None => break Ok(()),
        }
    };
    *driver = None;
    Poll::Ready(ended)
}

async fn run_if_any(client: &Client, sql: Option<&str>) -> Result<(), Error> {
    match sql {
        Some(sql) => client.batch_execute(sql).await,
        None => Ok(()),
    }
}

async fn answer(client: &Client, statement: &Statement, params: &[Value]) -> Result<Answer, Error> {
    let mut stream = pin!(client.query_raw(statement, params).await?);
    let mut rows = Vec::new();
    while let Some(row) = stream.try_next().await? {
        rows.push(row);
    }
    let count = stream.rows_affected().unwrap_or(0);
    Ok(Answer { rows, count })
}

impl Drop for Line {
    fn drop(&mut self) {
        // Nobody asks any more: the driver says goodbye.
        self.client = None;
        if let Some(driver) = self.driver.take() {
            let goodbye = async { tokio::time::timeout(GOODBYE_WITHIN, driver).await };
            // It may be cut off already.
            let _said = self.runtime.block_on(goodbye);
        }
    }
}
