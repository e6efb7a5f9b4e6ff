//! PostgreSQL: transactions on a pool of connections, on blocking threads.
//!
//! Each write is one READ COMMITTED transaction: row locks decide conflicts, and PostgreSQL checks
//! a condition again after it gets the lock. Each read is one snapshot. This server receives the
//! changes of a commit at once, other servers by NOTIFY, as ids only. The number of running and
//! waiting transactions is limited. A lost connection is replaced when it is next needed.

pub(super) mod connection;
pub(super) mod endpoint;
mod error;
mod gate;
mod listen;
mod notify;
mod payload;
pub(super) mod schema;
mod session;
mod tls;
mod transaction;
pub(super) mod value;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use self::endpoint::Endpoint;
pub use self::endpoint::check as check_url;
use self::gate::Gate;
use self::notify::Notifier;
use self::payload::OwnPids;
use self::session::SessionManager;
use self::transaction::{PostgresTx, Purpose};
use super::{Change, Listener, OpenError, StoreError, Tx};

/// Connections that may write at the same time. Their commits share the disk's flushes, so more
/// connections than processors are useful.
const WRITERS: usize = 12;
/// Connections that may read at the same time.
const READERS: usize = 8;
/// How long a caller waits for a new connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The same while the database is known to be unreachable. The pool keeps trying to connect.
const UNREACHABLE_TIMEOUT: Duration = Duration::from_millis(200);
/// How long the store's threads may take to end at shutdown: one may wait for an answer that never
/// comes.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

type Pool = r2d2::Pool<SessionManager>;

/// An open PostgreSQL database.
pub(super) struct Postgres {
    pool: Mutex<Option<Pool>>,
    /// Whether the last request for a connection failed.
    is_unreachable: AtomicBool,
    reads: Gate,
    writes: Gate,
    listener: Listener,
    notifier: Notifier,
    stop_listening: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Postgres {
    /// Connects, upgrades the schema if needed, and starts to listen.
    pub(super) fn open(url: &str, listener: Listener) -> Result<Self, OpenError> {
        let endpoint = Endpoint::parse(url).map_err(OpenError)?;
        let shown = endpoint.shown();
        let for_schema = endpoint.clone();
        // A connection blocks its thread, which is not allowed on a thread of the async runtime.
        on_plain_thread(move || schema::upgrade(&for_schema))
            .map_err(|error| OpenError(format!("HYPRBOX_DATABASE_URL={shown}: {error}")))?;
        let own = Arc::new(OwnPids::default());
        let no_thread = |error| OpenError(format!("can't start a thread: {error}"));
        let (notifier, notifying) =
            Notifier::start(endpoint.clone(), Arc::clone(&own)).map_err(no_thread)?;
        let stop_listening = Arc::new(AtomicBool::new(false));
        let listening = listen::start(
            endpoint.clone(),
            Arc::clone(&own),
            Arc::clone(&listener),
            Arc::clone(&stop_listening),
        )
        .map_err(no_thread)?;
        let pool = r2d2::Pool::builder()
            .max_size((WRITERS + READERS) as u32)
            .min_idle(Some(4))
            .test_on_check_out(false)
            .connection_timeout(CONNECT_TIMEOUT)
            .error_handler(Box::new(session::LogErrors::default()))
            .build_unchecked(SessionManager::new(endpoint, own));
        Ok(Self {
            pool: Mutex::new(Some(pool)),
            is_unreachable: AtomicBool::new(false),
            reads: Gate::new(READERS),
            writes: Gate::new(WRITERS),
            listener,
            notifier,
            stop_listening,
            threads: Mutex::new(vec![listening, notifying]),
        })
    }

    pub(super) async fn read<T, E>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut dyn Tx) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let permit = self.reads.enter().await?;
        self.on_blocking_thread(permit, Purpose::Read, work).await
    }

    pub(super) async fn write<T, E>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut dyn Tx) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let permit = self.writes.enter().await?;
        self.on_blocking_thread(permit, Purpose::Write, work).await
    }

    async fn on_blocking_thread<T, E>(
        self: &Arc<Self>,
        permit: OwnedSemaphorePermit,
        purpose: Purpose,
        work: impl FnOnce(&mut dyn Tx) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let postgres = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let done = postgres.transact(purpose, work);
            drop(permit);
            done
        })
        .await
        .unwrap_or_else(|stopped| Err(super::join_error(&stopped).into()))
    }

    /// Runs `work` in one transaction.
    fn transact<T, E: From<StoreError>>(
        &self,
        purpose: Purpose,
        work: impl FnOnce(&mut dyn Tx) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut tx = PostgresTx::new(self, purpose);
        // A panic must fail only this transaction and not leave it open.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&mut tx)))
            .unwrap_or_else(|_| {
                Err(StoreError::Statement("a transaction panicked".to_owned()).into())
            });
        let value = match outcome {
            Ok(value) => value,
            Err(error) => {
                if tx.may_be_committed() {
                    self.publish(&[Change::Foreign]);
                }
                return Err(error);
            }
        };
        let (changes, committed) = tx.commit();
        self.publish(&changes);
        committed?;
        Ok(value)
    }

    /// Passes changes to this server at once and to other servers soon.
    fn publish(&self, changes: &[Change]) {
        if !changes.is_empty() {
            (self.listener)(changes);
            self.notifier.notify(changes);
        }
    }

    /// A caller that finds so many lost connections in a row gets [`StoreError::Busy`]. All idle
    /// connections may have been lost at once, and as many again before new ones are open.
    const ATTEMPTS: usize = 2 * (WRITERS + READERS);

    /// Returns a connection of the pool, which may have been lost since its last use. Connections
    /// that are probably broken are closed.
    fn connection(&self) -> Result<r2d2::PooledConnection<SessionManager>, StoreError> {
        loop {
            let mut session = self.any_connection()?;
            if !session.is_doubtful() {
                return Ok(session);
            }
            session.give_up();
        }
    }

    fn any_connection(&self) -> Result<r2d2::PooledConnection<SessionManager>, StoreError> {
        let pool = {
            let pool = crate::sync::lock(&self.pool);
            pool.as_ref().ok_or(StoreError::Stopping)?.clone()
        };
        let within = if self.is_unreachable.load(Ordering::Relaxed) {
            UNREACHABLE_TIMEOUT
        } else {
            CONNECT_TIMEOUT
        };
        let connection = pool.get_timeout(within);
        self.is_unreachable
            .store(connection.is_err(), Ordering::Relaxed);
        connection.map_err(|error| StoreError::Unusable(error.to_string()))
    }

    /// Waits for running transactions, stops listening and closes the connections.
    pub(super) async fn close(self: &Arc<Self>) {
        tokio::join!(self.reads.close(), self.writes.close());
        self.stop_listening.store(true, Ordering::Release);
        self.notifier.stop();
        let postgres = Arc::clone(self);
        let closing = tokio::task::spawn_blocking(move || {
            let mut threads = crate::sync::lock(&postgres.threads);
            for thread in threads.drain(..) {
                if thread.join().is_err() {
                    tracing::error!("a thread of the store panicked");
                }
            }
            postgres.drop_pool();
        });
        match tokio::time::timeout(STOP_TIMEOUT, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "closing the database failed"),
            Err(_) => {
                tracing::warn!("the database does not answer; leaving its connections open")
            }
        }
    }

    fn drop_pool(&self) {
        let pool = crate::sync::lock(&self.pool).take();
        if let Some(pool) = pool {
            // Closing a connection blocks, which panics on a thread of the async runtime.
            on_plain_thread(move || drop(pool));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop_listening.store(true, Ordering::Release);
        self.notifier.stop();
        self.drop_pool();
    }
}

fn on_plain_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match std::thread::spawn(work).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
