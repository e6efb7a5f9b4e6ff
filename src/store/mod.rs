//! The only folder that speaks SQL: a cheap handle with two doors, [`Store::read`] and
//! [`Store::write`], and a small function per statement beside the record that it gives.
//!
//! What a transaction changed is told, once it is durable, to the one listener that the server gave
//! at the start (`events`). The store knows no HTTP and decides nothing: conditions are in the SQL,
//! their meaning is the caller's.

pub mod attempt;
pub mod audit;
mod budget;
pub mod claim;
pub mod copy;
pub mod diagnosis;
pub mod enrolment;
pub mod idempotency;
pub mod job;
mod migrate;
#[cfg(feature = "postgres")]
pub mod migrate_store;
pub mod node;
pub mod output;
#[cfg(test)]
mod plans;
#[cfg(feature = "postgres")]
mod postgres;
pub mod readiness;
pub mod retention;
pub mod secret;
pub mod server_key;
pub mod session;
pub mod space;
mod sqlite;
mod tx;
pub mod user;
pub mod user_token;

use std::path::Path;
use std::sync::Arc;

use budget::Budget;
pub use migrate::SCHEMA_VERSION;
#[cfg(feature = "postgres")]
pub use postgres::check_url as check_postgres_url;
pub(crate) use tx::values;
pub use tx::{FromValue, Row, Statement, Tx, Value, read_all};

/// What a committed transaction changed, told to the listener in the order of the commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A job's status, or its wish to be cancelled.
    Job {
        /// The job.
        id: String,
        /// Its node, which may have work now.
        node_id: String,
    },
    /// A job has new output.
    Output {
        /// The job.
        job_id: String,
    },
    /// Somebody watches a job on one of the servers that share the database: its agent is to send
    /// output at once.
    Watched {
        /// The job.
        job_id: String,
    },
    /// A node's facts, presence or existence.
    Node {
        /// The node.
        id: String,
    },
    /// Users, sessions or tokens: whatever was remembered of credentials is void.
    Credentials,
    /// Somebody else wrote to the database: anything may have changed.
    Foreign,
}

/// Hears of every [`Change`] after its commit and before the writer's answer. It must not block.
pub type Listener = Arc<dyn Fn(&[Change]) + Send + Sync>;

/// What can go wrong between the server and its database.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Too many writes wait, or another program holds the database's lock.
    #[error("the database is busy")]
    Busy,
    /// The disk, or the quota, is full.
    #[error("the disk of the database is full")]
    Full,
    /// The database can't be read or written at all.
    #[error("the database can't be used: {0}")]
    Unusable(String),
    /// A statement failed: a fault of this program, or of a schema changed by hand.
    #[error("a statement failed: {0}")]
    Statement(String),
    /// A value in the database is not of the type that the program wants.
    #[error("column {column} is no {wanted}")]
    Decode {
        /// Its number in the SELECT, from 1.
        column: usize,
        /// The Rust type.
        wanted: &'static str,
    },
    /// The server is going down.
    #[error("the server is stopping")]
    Stopping,
}

/// Why the database can't be opened: one line for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

/// The database's handle; clones share it.
#[derive(Clone)]
pub struct Store {
    backend: Backend,
    budget: Budget,
}

#[derive(Clone)]
enum Backend {
    Sqlite(Arc<sqlite::Sqlite>),
    #[cfg(feature = "postgres")]
    Postgres(Arc<postgres::Postgres>),
}

impl Store {
    /// Opens the SQLite file, makes it or brings it up to date. Nothing on the disk changes where
    /// this fails because the file is another program's or a newer version's.
    pub fn open_sqlite(path: &Path, listener: Listener) -> Result<Self, OpenError> {
        let sqlite = sqlite::Sqlite::open(path, listener)?;
        Ok(Self {
            backend: Backend::Sqlite(Arc::new(sqlite)),
            budget: Budget::default(),
        })
    }

    /// Connects to Postgres, makes the tables or brings them up to date. `url` has passed
    /// [`check_postgres_url`].
    #[cfg(feature = "postgres")]
    pub fn open_postgres(url: &str, listener: Listener) -> Result<Self, OpenError> {
        let postgres = postgres::Postgres::open(url, listener)?;
        Ok(Self {
            backend: Backend::Postgres(Arc::new(postgres)),
            budget: Budget::default(),
        })
    }

    /// Whether other servers may share this database: then what is kept in this one's memory is not
    /// all there is.
    pub fn is_shared(&self) -> bool {
        match &self.backend {
            Backend::Sqlite(_) => false,
            #[cfg(feature = "postgres")]
            Backend::Postgres(_) => true,
        }
    }

    /// Reads, in one snapshot of the database. `work` runs on a blocking thread.
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

    /// Writes: `work` runs inside one transaction, together with others that wait; what it did is
    /// durable when this returns `Ok`, and undone when it gives an `Err`. It must be short: no
    /// network, no rendering, no waiting.
    pub async fn write<T, E>(
        &self,
        work: impl FnOnce(&mut dyn Tx) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        match &self.backend {
            Backend::Sqlite(sqlite) => {
                let (answer, wait) = tokio::sync::oneshot::channel();
                sqlite.enqueue(sqlite::write_of(work, answer))?;
                wait.await
                    .unwrap_or_else(|_| Err(StoreError::Stopping.into()))
            }
            #[cfg(feature = "postgres")]
            Backend::Postgres(postgres) => postgres.write(work).await,
        }
    }

    /// [`Store::write`] of something that holds so many bytes: what waits is bounded in bytes, too,
    /// and one that is too much is [`StoreError::Busy`].
    pub async fn write_large<T, E>(
        &self,
        bytes: usize,
        work: impl FnOnce(&mut dyn Tx) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let part = self.budget.take(bytes)?;
        // It goes with the work, which holds the bytes even when the caller has gone.
        self.write(move |tx| {
            let done = work(tx);
            drop(part);
            done
        })
        .await
    }

    /// Finishes the writes that wait and closes the database. Later calls answer
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
