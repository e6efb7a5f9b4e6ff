//! One connection to PostgreSQL, driven by the thread that uses it. Several requests are sent
//! together and waited for once.
//!
//! A client that waits for each answer before it sends the next request needs four round trips for
//! a transaction of two statements, which is most of the time that a short transaction takes. Here
//! BEGIN is sent with the first statement, COMMIT with the last one if it is known to be the last,
//! and nobody waits for the end of a read (docs/decisions/0008-journeys-to-postgres.md).

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::join3;
use futures_util::stream::TryStreamExt;
use tokio::runtime::Runtime;
use tokio_postgres::config::Host;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, Error, Notification, Row, Socket, Statement};

use super::endpoint::{CONNECT_TIMEOUT, Endpoint, addresses_shown};
use super::error::describe;
use super::tls::{Encrypted, Tls};
use crate::store::Value;

/// After this long without an answer a connection counts as lost: the server may be stopped, or
/// wait for a standby that is gone, which no timeout of PostgreSQL ends.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long closing a connection may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(200);

/// The future that reads and writes the socket.
type Driver = tokio_postgres::Connection<Socket, Encrypted>;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::store) enum ConnectionError {
    #[error("no answer for {} s", ANSWER_TIMEOUT.as_secs())]
    NoAnswer,
    #[error("the connection was closed")]
    Closed,
    #[error("{host} accepted the connection but did not answer for {} s", within.as_secs())]
    ConnectTimeout {
        /// `db.example.org:5432`
        host: String,
        within: Duration,
    },
    /// No file descriptor is left for the runtime.
    #[error("can't wait for an answer: {0}")]
    NoRuntime(std::io::Error),
    #[error("{}", describe(.0))]
    Postgres(#[from] Error),
}

/// The result of a statement.
pub(super) struct Answer {
    pub(super) rows: Vec<Row>,
    /// Rows that the statement changed or returned.
    pub(super) count: u64,
}

/// An open connection.
pub(in crate::store) struct PgConnection {
    client: Option<Client>,
    /// `None` once the connection is closed.
    driver: Option<Driver>,
    /// Notifications that arrived during other requests.
    notifications: Vec<Notification>,
    runtime: Runtime,
    /// `None` if requests may take any time.
    answer_timeout: Option<Duration>,
}

impl PgConnection {
    /// Connects to the first host that accepts writes. Must not be called on a thread of an async
    /// runtime.
    pub(in crate::store) fn open(endpoint: &Endpoint) -> Result<Self, ConnectionError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ConnectionError::NoRuntime)?;
        let (client, driver) = runtime.block_on(connect(endpoint))?;
        Ok(Self {
            client: Some(client),
            driver: Some(driver),
            notifications: Vec::new(),
            runtime,
            answer_timeout: Some(ANSWER_TIMEOUT),
        })
    }

    /// Like [`Self::open`], for requests that may take any time.
    pub(in crate::store) fn open_without_timeout(
        endpoint: &Endpoint,
    ) -> Result<Self, ConnectionError> {
        let mut connection = Self::open(endpoint)?;
        connection.answer_timeout = None;
        Ok(connection)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.driver.is_none() || self.client.as_ref().is_none_or(Client::is_closed)
    }

    /// Runs SQL without parameters.
    pub(in crate::store) fn run(&mut self, sql: &str) -> Result<(), ConnectionError> {
        self.wait(async |client| client.batch_execute(sql).await)
    }

    /// Runs one statement and returns its rows. The server decides the types of the parameters.
    pub(in crate::store) fn query(
        &mut self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, ConnectionError> {
        self.wait(async |client| client.query(sql, params).await)
    }

    /// Sends SQL without parameters and does not wait for the answer. If the SQL fails, the next
    /// request finds out.
    pub(super) fn send(&mut self, sql: &str) -> Result<(), ConnectionError> {
        self.wait(async |client| {
            let mut request = pin!(client.batch_execute(sql));
            let mut turns = 0;
            poll_fn(|cx| {
                // The first poll queues the request, and the driver sends it before the second.
                turns += 1;
                let done = request.as_mut().poll(cx);
                if done.is_pending() && turns >= 2 {
                    Poll::Ready(Ok(()))
                } else {
                    done
                }
            })
            .await
        })
    }

    /// Returns the process id of the server process behind this connection.
    pub(super) fn pid(&mut self) -> Result<i32, ConnectionError> {
        let rows = self.query("SELECT pg_backend_pid()", &[])?;
        // There is always a row; no process has the id 0.
        Ok(rows.first().map_or(Ok(0), |row| row.try_get(0))?)
    }

    pub(in crate::store) fn prepare(
        &mut self,
        sql: &str,
        types: &[Type],
    ) -> Result<Statement, ConnectionError> {
        self.wait(async |client| client.prepare_typed(sql, types).await)
    }

    /// Runs a statement. SQL without parameters may be sent with it, before and after.
    pub(super) fn run_statement(
        &mut self,
        before: Option<&str>,
        (statement, params): (&Statement, &[Value]),
        after: Option<&str>,
    ) -> Result<Answer, ConnectionError> {
        self.wait(async |client| {
            // The futures are polled, and so sent, in this order.
            let (before, answer, after) = join3(
                run_if_any(client, before),
                answer(client, statement, params),
                run_if_any(client, after),
            )
            .await;
            before?;
            let answer = answer?;
            after?;
            Ok(answer)
        })
    }

    /// Returns the notifications that have arrived. If there are none, waits for one no longer than
    /// `within`.
    pub(super) fn listen(
        &mut self,
        within: Duration,
    ) -> Result<Vec<Notification>, ConnectionError> {
        let (driver, notifications) = (&mut self.driver, &mut self.notifications);
        let listening = poll_fn(|cx| {
            let ended = drive(driver, notifications, cx);
            if !notifications.is_empty() {
                return Poll::Ready(Ok(()));
            }
            ended
        });
        let listened = self
            .runtime
            .block_on(async { tokio::time::timeout(within, listening).await });
        // A timeout is not an error: nobody sent a notification.
        listened.unwrap_or(Ok(()))?;
        if self.notifications.is_empty() && self.is_closed() {
            return Err(ConnectionError::Closed);
        }
        Ok(std::mem::take(&mut self.notifications))
    }

    /// Runs `work` to its end while this thread drives the socket.
    pub(in crate::store) fn wait<T>(
        &mut self,
        work: impl AsyncFnOnce(&Client) -> Result<T, Error>,
    ) -> Result<T, ConnectionError> {
        let client = self.client.as_ref().expect("it is there until the drop");
        let (driver, notifications) = (&mut self.driver, &mut self.notifications);
        let answer_timeout = self.answer_timeout;
        let done = self.runtime.block_on(async {
            let mut work = pin!(work(client));
            let turn = poll_fn(|cx| {
                if let Poll::Ready(done) = work.as_mut().poll(cx) {
                    return Poll::Ready(done);
                }
                // Sends requests and receives answers. If the connection is closed, `work` gets an
                // error when it is polled again.
                if driver.is_some()
                    && let Poll::Ready(Err(error)) = drive(driver, notifications, cx)
                {
                    return Poll::Ready(Err(error));
                }
                work.as_mut().poll(cx)
            });
            match answer_timeout {
                Some(within) => tokio::time::timeout(within, turn).await.ok(),
                None => Some(turn.await),
            }
        });
        let Some(done) = done else {
            self.driver = None;
            return Err(ConnectionError::NoAnswer);
        };
        Ok(done?)
    }
}

impl Drop for PgConnection {
    fn drop(&mut self) {
        // Without a client the driver closes the connection and ends.
        self.client = None;
        if let Some(driver) = self.driver.take() {
            let closing = async { tokio::time::timeout(CLOSE_TIMEOUT, driver).await };
            // The connection may be broken already.
            let _closed = self.runtime.block_on(closing);
        }
    }
}

/// Sends requests and receives answers. Ready once the connection is closed.
fn drive(
    driver: &mut Option<Driver>,
    notifications: &mut Vec<Notification>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Error>> {
    let ended = loop {
        let Some(driving) = driver.as_mut() else {
            return Poll::Ready(Ok(()));
        };
        match ready!(driving.poll_message(cx)) {
            Some(Ok(AsyncMessage::Notification(notification))) => notifications.push(notification),
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

/// Connects to one host after the other, beginning with the host that accepted the last connection.
async fn connect(endpoint: &Endpoint) -> Result<(Client, Driver), ConnectionError> {
    let count = endpoint.hosts.len();
    let first = endpoint.last.load(Ordering::Relaxed);
    let mut tried = 0;
    loop {
        let at = (first + tried) % count;
        tried += 1;
        match connect_to(&endpoint.hosts[at], &endpoint.tls).await {
            Ok(connected) => {
                endpoint.last.store(at, Ordering::Relaxed);
                return Ok(connected);
            }
            Err(error) if tried == count => return Err(error),
            Err(_) => {}
        }
    }
}

async fn connect_to(host: &Config, tls: &Tls) -> Result<(Client, Driver), ConnectionError> {
    let timeout = host.get_connect_timeout().copied();
    let within = timeout.unwrap_or(CONNECT_TIMEOUT) * count_addresses(host).await;
    match tokio::time::timeout(within, host.connect(tls.clone())).await {
        Ok(connected) => Ok(connected?),
        Err(_) => Err(ConnectionError::ConnectTimeout {
            host: addresses_shown(host),
            within,
        }),
    }
}

/// How many addresses a host has. The connect timeout is per address.
async fn count_addresses(host: &Config) -> u32 {
    let (hosts, ports) = (host.get_hosts(), host.get_ports());
    let (true, [Host::Tcp(name)]) = (host.get_hostaddrs().is_empty(), hosts) else {
        return 1;
    };
    let port = ports.first().copied().unwrap_or(5432);
    let found = tokio::net::lookup_host((name.as_str(), port)).await;
    // If the name is unknown, connecting returns the error.
    let count = found.map_or(1, Iterator::count);
    u32::try_from(count.max(1)).unwrap_or(1)
}
