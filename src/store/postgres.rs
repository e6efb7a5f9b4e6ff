//! Postgres: the same two doors over a pool of connections, on blocking threads.
//!
//! Each write is one transaction (READ COMMITTED: row locks decide, and a condition is looked at
//! again once the lock is had), each read one snapshot. What a commit changed is told to this
//! server at once, and to others by NOTIFY: ids alone. How many may work and wait is bounded; a
//! connection that was lost is replaced when it is next needed.

mod line;
mod listen;
pub(super) mod schema;
pub(super) mod session;
mod tell;
mod tls;
pub(super) mod url;
pub(super) mod value;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::session::{PostgresTx, Purpose, Sessions};
use self::tell::Teller;
use self::url::Endpoint;
pub use self::url::check as check_url;
use super::{Change, Listener, OpenError, StoreError, Tx};

/// Connections that write at once. Their commits share the disk's flushes, so more than there are
/// processors pays.
const WRITERS: usize = 12;
/// Connections that read at once.
const READERS: usize = 8;
/// Callers that may wait at either door; one more is [`StoreError::Busy`]. When a server comes
/// back, ten thousand agents come at once, each with a token to be looked up.
const QUEUE: usize = 16_384;
/// How long a caller waits at a door before it is [`StoreError::Busy`].
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a caller waits for a new connection where one is needed.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// The same while the database is known to be out of reach: the pool goes on trying by itself.
const CONNECT_IMPATIENCE: Duration = Duration::from_millis(200);
/// How long those who are inside may take to leave when the server goes down.
const LEAVE_WITHIN: Duration = Duration::from_millis(1_500);
/// How long the threads of this store may take to end then: one may wait for an answer that never
/// comes.
const END_WITHIN: Duration = Duration::from_secs(1);

type Pool = r2d2::Pool<Sessions>;

/// The server processes of this program's own connections: what they notify was told here already.
#[derive(Debug, Default)]
struct OwnPids(Mutex<HashSet<i32>>);

impl OwnPids {
    fn locked(&self) -> MutexGuard<'_, HashSet<i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open Postgres database.
pub(super) struct Postgres {
    pool: Mutex<Option<Pool>>,
    /// The last who wanted a connection got none.
    is_out_of_reach: AtomicBool,
    reads: Door,
    writes: Door,
    listener: Listener,
    teller: Teller,
    stop_listening: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Postgres {
    /// Connects, brings the schema up to date and begins to listen.
    pub(super) fn open(url: &str, listener: Listener) -> Result<Self, OpenError> {
        let endpoint = Endpoint::parse(url).map_err(OpenError)?;
        let named = endpoint.shown();
        let for_schema = endpoint.clone();
        // The client has a runtime of its own, which can't be started on a thread of ours.
        on_plain_thread(move || schema::bring_up_to_date(&for_schema))
            .map_err(|error| OpenError(format!("HYPRBOX_DATABASE_URL={named}: {error}")))?;
        let own = Arc::new(OwnPids::default());
        let no_thread = |error| OpenError(format!("can't start a thread: {error}"));
        let (teller, telling) =
            Teller::start(endpoint.clone(), Arc::clone(&own)).map_err(no_thread)?;
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
            .connection_timeout(CONNECT_PATIENCE)
            .error_handler(Box::new(session::LogErrors::default()))
            .build_unchecked(Sessions::new(endpoint, own));
        Ok(Self {
            pool: Mutex::new(Some(pool)),
            is_out_of_reach: AtomicBool::new(false),
            reads: Door::new(READERS),
            writes: Door::new(WRITERS),
            listener,
            teller,
            stop_listening,
            threads: Mutex::new(vec![listening, telling]),
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
        let inside = self.reads.enter().await?;
        self.on_blocking_thread(inside, Purpose::Read, work).await
    }

    pub(super) async fn write<T, E>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut dyn Tx) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let inside = self.writes.enter().await?;
        self.on_blocking_thread(inside, Purpose::Write, work).await
    }

    async fn on_blocking_thread<T, E>(
        self: &Arc<Self>,
        inside: OwnedSemaphorePermit,
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
            drop(inside);
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
        // A panic must cost its own caller an error, and leave no transaction open.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&mut tx)))
            .unwrap_or_else(|_| {
                Err(StoreError::Statement("a transaction panicked".to_owned()).into())
            });
        let value = match outcome {
            Ok(value) => value,
            Err(error) => {
                if tx.is_unsure() {
                    self.tell(&[Change::Foreign]);
                }
                return Err(error);
            }
        };
        let (notes, committed) = tx.commit();
        self.tell(&notes);
        committed?;
        Ok(value)
    }

    /// Tells this server at once, and the others soon.
    fn tell(&self, notes: &[Change]) {
        if !notes.is_empty() {
            (self.listener)(notes);
            self.teller.tell(notes);
        }
    }

    /// How many connections may turn out to be lost before somebody who needs one is
    /// [`StoreError::Busy`]: all that are idle may have been lost at once, and as many again before
    /// new ones are had.
    const ATTEMPTS: usize = 2 * (WRITERS + READERS);

    /// A connection of the pool, which may have been lost since its last use. Those that are most
    /// likely silent are left.
    fn connection(&self) -> Result<r2d2::PooledConnection<Sessions>, StoreError> {
        loop {
            let mut session = self.any_connection()?;
            if !session.is_doubtful() {
                return Ok(session);
            }
            session.give_up();
        }
    }

    fn any_connection(&self) -> Result<r2d2::PooledConnection<Sessions>, StoreError> {
        let pool = {
            let pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
            pool.as_ref().ok_or(StoreError::Stopping)?.clone()
        };
        let patience = if self.is_out_of_reach.load(Ordering::Relaxed) {
            CONNECT_IMPATIENCE
        } else {
            CONNECT_PATIENCE
        };
        let got = pool.get_timeout(patience);
        self.is_out_of_reach.store(got.is_err(), Ordering::Relaxed);
        got.map_err(|error| StoreError::Unusable(error.to_string()))
    }

    /// Lets those who wait come to their end, stops listening and closes the connections.
    pub(super) async fn close(self: &Arc<Self>) {
        tokio::join!(self.reads.close(), self.writes.close());
        self.stop_listening.store(true, Ordering::Release);
        self.teller.stop();
        let postgres = Arc::clone(self);
        let closing = tokio::task::spawn_blocking(move || {
            let mut threads = postgres
                .threads
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            for thread in threads.drain(..) {
                if thread.join().is_err() {
                    tracing::error!("a thread of the store panicked");
                }
            }
            postgres.drop_pool();
        });
        match tokio::time::timeout(END_WITHIN, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "closing the database failed"),
            Err(_) => {
                tracing::warn!("the database does not answer; its connections are left as they are")
            }
        }
    }

    fn drop_pool(&self) {
        let pool = self
            .pool
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(pool) = pool {
            // Closing a connection blocks, which aborts the program on a thread of the async
            // runtime.
            on_plain_thread(move || drop(pool));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop_listening.store(true, Ordering::Release);
        self.teller.stop();
        self.drop_pool();
    }
}

fn on_plain_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match std::thread::spawn(work).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Lets a bounded number in, and a bounded number wait, for a bounded time.
struct Door {
    places: Arc<Semaphore>,
    size: u32,
    waiting: AtomicUsize,
    closed: AtomicBool,
}

impl Door {
    fn new(size: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(size)),
            size: size as u32,
            waiting: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    async fn enter(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Stopping);
        }
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let waiting = Waiting::at(&self.waiting);
        if waiting.before >= QUEUE {
            return Err(StoreError::Busy);
        }
        match tokio::time::timeout(PATIENCE, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_closed)) => Err(StoreError::Stopping),
            Err(_too_long) => Err(StoreError::Busy),
        }
    }

    /// Lets nobody in any more, and waits until those inside, and those who waited, have left.
    async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let everybody = self.places.acquire_many(self.size);
        if tokio::time::timeout(LEAVE_WITHIN, everybody).await.is_err() {
            tracing::warn!("the database was closed over transactions that took too long");
        }
        self.places.close();
    }
}

/// Counts one who waits, until it is dropped.
struct Waiting<'d> {
    count: &'d AtomicUsize,
    before: usize,
}

impl<'d> Waiting<'d> {
    fn at(count: &'d AtomicUsize) -> Self {
        let before = count.fetch_add(1, Ordering::Relaxed);
        Self { count, before }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Joins lines into payloads of the size that Postgres takes: 8,000 bytes.
fn payloads_of(lines: &[String]) -> Vec<String> {
    const PAYLOAD_MAX: usize = 7_900;
    let mut payloads: Vec<String> = Vec::new();
    for line in lines {
        match payloads.last_mut() {
            Some(last) if last.len() + 1 + line.len() <= PAYLOAD_MAX => {
                last.push('\n');
                last.push_str(line);
            }
            _ => payloads.push(line.clone()),
        }
    }
    payloads
}

/// The line that tells other servers of a change: ids alone. Letters, digits, `-`, `*` and blanks:
/// it needs no quoting.
fn line_of(change: &Change) -> String {
    let line = |letter: char, ids: &[&str]| {
        // Ids are ours; one that isn't, made by hand, is told as "anything".
        let is_plain = |id: &&str| {
            (1..=255).contains(&id.len())
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if ids.iter().all(is_plain) {
            format!("{letter} {}", ids.join(" "))
        } else {
            "*".to_owned()
        }
    };
    match change {
        Change::Job { id, node_id } => line('j', &[id, node_id]),
        Change::Output { job_id } => line('o', &[job_id]),
        Change::Watched { job_id } => line('w', &[job_id]),
        Change::Node { id } => line('n', &[id]),
        Change::Credentials => "c".to_owned(),
        Change::Foreign => "*".to_owned(),
    }
}

/// What a line of a payload tells. One that a newer version sends is "anything".
fn change_of(line: &str) -> Change {
    let mut words = line.split(' ');
    match (words.next(), words.next(), words.next()) {
        (Some("j"), Some(id), Some(node_id)) => Change::Job {
            id: id.to_owned(),
            node_id: node_id.to_owned(),
        },
        (Some("o"), Some(job_id), None) => Change::Output {
            job_id: job_id.to_owned(),
        },
        (Some("w"), Some(job_id), None) => Change::Watched {
            job_id: job_id.to_owned(),
        },
        (Some("n"), Some(id), None) => Change::Node { id: id.to_owned() },
        (Some("c"), None, None) => Change::Credentials,
        _ => Change::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_to_others_is_read_back() {
        let job = Change::Job {
            id: "0193-a".into(),
            node_id: "n-1".into(),
        };
        let output = |id: &str| Change::Output { job_id: id.into() };
        let node = Change::Node { id: "n-1".into() };
        let told = [output("a"), job, node, Change::Credentials];
        let lines: Vec<String> = told.iter().map(line_of).collect();
        let payloads = payloads_of(&lines);
        assert_eq!(payloads, ["o a\nj 0193-a n-1\nn n-1\nc"]);
        let read: Vec<Change> = payloads[0].lines().map(change_of).collect();
        assert_eq!(read, told);
        assert_eq!(line_of(&output("it's")), "*");
        assert_eq!(change_of("*"), Change::Foreign);
        assert_eq!(change_of("z 1 2"), Change::Foreign);
    }

    #[test]
    fn many_changes_take_several_payloads() {
        let lines: Vec<String> = (0..1_000)
            .map(|number| format!("o 0193-{number}"))
            .collect();
        let payloads = payloads_of(&lines);
        assert!(payloads.iter().all(|payload| payload.len() < 8_000));
        let lines: usize = payloads.iter().map(|payload| payload.lines().count()).sum();
        assert_eq!(lines, 1_000);
    }

    #[tokio::test]
    async fn a_door_bounds_who_waits() {
        let door = Door::new(1);
        let inside = door.enter().await.expect("free");
        door.waiting.store(QUEUE, Ordering::Relaxed);
        assert!(matches!(door.enter().await, Err(StoreError::Busy)));
        door.waiting.store(0, Ordering::Relaxed);
        drop(inside);
        assert!(door.enter().await.is_ok());
        door.close().await;
        assert!(matches!(door.enter().await, Err(StoreError::Stopping)));
    }
}
