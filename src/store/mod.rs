//! The only folder that contains SQL: a handle with two entry points, [`Store::read`] and
//! [`Store::write`], and one small function per statement.
//!
//! Once a transaction is durable, its [`Change`]s go to the listener that the server passed at the
//! start (the hub). The store does not depend on HTTP and makes no decisions: conditions are in the
//! SQL, and callers interpret the results.

pub mod attempt;
pub mod audit;
mod budget;
pub mod channel;
pub mod claim;
pub mod copy;
pub mod delivery;
pub mod diagnosis;
pub mod drift;
pub mod enrolment;
pub mod id;
pub mod idempotency;
pub mod job;
pub mod job_step;
pub mod ledger;
mod migrate;
#[cfg(feature = "postgres")]
pub mod migrate_store;
pub mod node;
pub mod node_alarm;
pub mod node_counts;
mod node_search;
pub mod node_status;
pub mod node_token;
pub mod output;
pub mod past_slot;
#[cfg(feature = "postgres")]
mod postgres;
pub mod preset;
pub mod retention;
pub mod rule;
pub mod run;
pub mod schedule;
pub mod sealed;
pub mod server_state;
pub mod session;
pub mod sign_key;
pub mod space;
mod sqlite;
pub mod standing_envelope;
pub mod stored_secret;
#[cfg(test)]
mod tests;
mod tx;
pub mod user;
pub mod user_token;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use budget::Budget;
pub use migrate::{SCHEMA_VERSION, refuse_emptied};
#[cfg(feature = "postgres")]
pub use postgres::check_url as check_postgres_url;
pub(crate) use tx::values;
pub use tx::{AfterCommit, FromValue, Row, Statement, Tx, Value, read_all};

use crate::metrics::Histogram;

/// From a commit on a fast disk to one that an operator should know of, in seconds.
const WRITE_BOUNDS: &[f64] = &[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// A change made by a committed transaction. The listener receives changes in commit order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A job's status or cancel request. The node may have new work.
    Job { id: String, node_id: String },
    /// A job has new output.
    Output { job_id: String },
    /// Somebody watches a job on one of the servers that share the database. The agent must send
    /// output without delay.
    Watched { job_id: String },
    /// A run's state, or the state of one of its jobs.
    Run { id: String },
    /// A job's step or its holds: what its agent does not wait for.
    Progress { job_id: String },
    /// A job waits for a time: its `not_before` or its expiry.
    Due,
    /// A node's facts, presence or existence.
    Node { id: String },
    /// Users, sessions or tokens. Cached credentials are invalid.
    Credentials,
    /// Another program wrote to the database, so anything may have changed.
    Foreign,
}

/// Receives every [`Change`] after its commit and before the writer gets its result. Must not
/// block.
pub type Listener = Arc<dyn Fn(&[Change]) + Send + Sync>;

/// Why a transaction failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Too many writes are waiting, or another program holds the database's lock.
    #[error("the database is busy")]
    Busy,
    /// The disk, or the quota, is full.
    #[error("the disk of the database is full")]
    Full,
    /// The database can't be read or written at all.
    #[error("the database can't be used: {0}")]
    Unusable(String),
    /// A statement failed because of a bug in this program or a schema that was changed by hand.
    #[error("a statement failed: {0}")]
    Statement(String),
    /// A value in the database does not have the expected type.
    #[error("column {column} can't be read as {wanted}")]
    Decode {
        /// The column's number in the SELECT, counted from 1.
        column: usize,
        /// The expected Rust type.
        wanted: &'static str,
    },
    /// The server is shutting down.
    #[error("the server is stopping")]
    Stopping,
}

/// Why the database can't be opened, as one line for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

/// A handle to the database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    backend: Backend,
    budget: Budget,
    write_latency: Histogram,
}

#[derive(Clone)]
enum Backend {
    Sqlite(Arc<sqlite::Sqlite>),
    #[cfg(feature = "postgres")]
    Postgres(Arc<postgres::Postgres>),
}

impl Store {
    /// Opens the SQLite file, and creates or upgrades it if needed. Leaves the file unchanged if it
    /// belongs to another program or a newer version.
    pub fn open_sqlite(path: &Path, listener: Listener) -> Result<Self, OpenError> {
        let sqlite = sqlite::Sqlite::open(path, listener)?;
        Ok(Self {
            backend: Backend::Sqlite(Arc::new(sqlite)),
            budget: Budget::default(),
            write_latency: Histogram::new(WRITE_BOUNDS),
        })
    }

    /// Connects to PostgreSQL and creates or upgrades the tables if needed. `url` must have passed
    /// [`check_postgres_url`].
    #[cfg(feature = "postgres")]
    pub fn open_postgres(url: &str, listener: Listener) -> Result<Self, OpenError> {
        let postgres = postgres::Postgres::open(url, listener)?;
        Ok(Self {
            backend: Backend::Postgres(Arc::new(postgres)),
            budget: Budget::default(),
            write_latency: Histogram::new(WRITE_BOUNDS),
        })
    }

    /// Whether other servers may share this database. If so, state in this server's memory is
    /// incomplete.
    pub fn is_shared(&self) -> bool {
        match &self.backend {
            Backend::Sqlite(_) => false,
            #[cfg(feature = "postgres")]
            Backend::Postgres(_) => true,
        }
    }

    /// Runs `work` on a blocking thread, in a read transaction that sees one snapshot.
    pub async fn read<T, E>(
        &self,
        work: impl FnOnce(&mut dyn Tx) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        match &self.backend {
            Backend::Sqlite(sqlite) => {
                let sqlite = Arc::clone(sqlite);
                tokio::task::spawn_blocking(move || sqlite.read(work))
                    .await
                    .unwrap_or_else(|stopped| Err(join_error(&stopped).into()))
            }
            #[cfg(feature = "postgres")]
            Backend::Postgres(postgres) => postgres.read(work).await,
        }
    }

    /// Runs `work` in a write transaction. Its changes are durable when this returns `Ok`, and
    /// rolled back if `work` returns an `Err`. Waiting writes share a commit, so `work` must be
    /// short: no network, no rendering, no waiting.
    pub async fn write<T, E>(
        &self,
        work: impl FnOnce(&mut dyn Tx) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let began = Instant::now();
        let written = match &self.backend {
            Backend::Sqlite(sqlite) => {
                let (caller, result) = tokio::sync::oneshot::channel();
                sqlite.enqueue(sqlite::queued_write(work, caller))?;
                result
                    .await
                    .unwrap_or_else(|_| Err(StoreError::Stopping.into()))
            }
            #[cfg(feature = "postgres")]
            Backend::Postgres(postgres) => postgres.write(work).await,
        };
        if written.is_ok() {
            self.write_latency.observe(began.elapsed());
        }
        written
    }

    /// How long writes take from their request to their durable commit.
    pub(crate) fn write_latency(&self) -> Histogram {
        self.write_latency.clone()
    }

    /// [`Store::write`] for work that holds `bytes` bytes in memory. Returns [`StoreError::Busy`]
    /// if the waiting writes hold too many bytes.
    pub async fn write_large<T, E>(
        &self,
        bytes: usize,
        work: impl FnOnce(&mut dyn Tx) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let reservation = self.budget.reserve(bytes)?;
        // The work keeps the reservation, since it holds the bytes even if the caller is gone.
        self.write(move |tx| {
            let done = work(tx);
            drop(reservation);
            done
        })
        .await
    }

    /// Finishes the waiting writes and closes the database. Later calls return
    /// [`StoreError::Stopping`].
    pub async fn close(&self) {
        match &self.backend {
            Backend::Sqlite(sqlite) => {
                let sqlite = Arc::clone(sqlite);
                if let Err(stopped) = tokio::task::spawn_blocking(move || sqlite.close()).await {
                    tracing::error!(error = %stopped, "closing the database failed");
                }
            }
            #[cfg(feature = "postgres")]
            Backend::Postgres(postgres) => postgres.close().await,
        }
    }
}

fn join_error(stopped: &tokio::task::JoinError) -> StoreError {
    if stopped.is_panic() {
        StoreError::Statement("a transaction panicked".to_owned())
    } else {
        StoreError::Stopping
    }
}
