//! Live tails: each watched job has one pump that reads what is new from the store, frames it once,
//! and shares the bytes with every viewer. A viewer that lags or resumes is told the last of them,
//! and reads the store for what they lack.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, broadcast};

use crate::hub::Hub;
use crate::jobs::live::cursor::Cursor;
use crate::jobs::live::frame::{Offsets, OutputEvent, StatusEvent};
use crate::jobs::live::recent::Recent;
use crate::jobs::live::stream::{EventId, sse};
use crate::metrics::Metrics;
use crate::store::job::{self, Job};
use crate::store::{Change, Store, StoreError};

/// Frames that a viewer may fall behind before it has to catch up.
const BACKLOG: usize = 64;
/// How often the pump looks without a nudge, in case one was lost.
const SLOW_POLL: Duration = Duration::from_secs(5);

/// Bytes that a frame takes beside its output, about.
const FRAME_BYTES: usize = 512;
/// About what it costs a processor to pass a frame on to one viewer.
const REST_A_VIEWER: Duration = Duration::from_micros(20);
/// Viewers from whose number on they are a crowd: fewer are passed everything as it comes.
const CROWD: usize = 20;
/// A delay that nobody who reads along minds.
const REST_AT_MOST: Duration = Duration::from_millis(100);

/// Something that happened to a watched job.
#[derive(Debug, Clone)]
pub(in crate::jobs) enum Frame {
    /// New output. `before` is how far both streams were told.
    Output {
        before: Offsets,
        output: Arc<Framed>,
    },
    /// Another status, or a wish to cancel.
    Status(StatusEvent),
    /// The end; everything was told before.
    Done,
}

/// Output with its event as the job's own stream sends it, in either form; each is made once, when
/// the first viewer wants it.
#[derive(Debug)]
pub(in crate::jobs) struct Framed {
    pub(in crate::jobs) event: OutputEvent,
    id: EventId,
    plain: OnceLock<Bytes>,
    timed: OnceLock<Bytes>,
}

impl Framed {
    pub(in crate::jobs) fn new(event: OutputEvent, id: EventId) -> Self {
        Self {
            event,
            id,
            plain: OnceLock::new(),
            timed: OnceLock::new(),
        }
    }

    /// Bytes that it takes, about: as it came and as it is sent.
    pub(in crate::jobs) fn bytes_held(&self) -> usize {
        FRAME_BYTES + 2 * self.event.data.len()
    }

    /// What of it comes from `offset` on; `None` where it can't be cut there.
    pub(in crate::jobs) fn rest_from(&self, offset: u64) -> Option<Self> {
        Some(Self::new(self.event.rest_from(offset)?, self.id))
    }

    /// As it is sent, with or without times.
    pub(in crate::jobs) fn bytes(&self, times: bool) -> Bytes {
        let id = || self.id.to_string();
        let (form, made): (_, fn(&Self, &str) -> Bytes) = if times {
            (&self.timed, |framed, id| {
                sse("output", id, &framed.event.timed())
            })
        } else {
            (&self.plain, |framed, id| sse("output", id, &framed.event))
        };
        form.get_or_init(|| made(self, &id())).clone()
    }
}

/// The tails of every watched job.
pub(in crate::jobs) struct Tails {
    store: Store,
    hub: Arc<Hub>,
    metrics: Metrics,
    watched: Arc<Mutex<Watched>>,
}

type Watched = HashMap<String, Tail>;

/// The live tail of one job.
#[derive(Debug, Clone)]
struct Tail {
    frames: broadcast::Sender<Frame>,
    recent: Arc<Recent>,
}

/// A viewer's end of it.
pub(in crate::jobs) struct Joined {
    /// What is told from now on.
    pub(in crate::jobs) frames: broadcast::Receiver<Frame>,
    /// What was told lately.
    pub(in crate::jobs) recent: Arc<Recent>,
}

impl Tail {
    fn join(&self) -> Joined {
        Joined {
            frames: self.frames.subscribe(),
            recent: Arc::clone(&self.recent),
        }
    }
}

fn locked(watched: &Mutex<Watched>) -> MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tails {
    pub(in crate::jobs) fn new(store: Store, hub: Arc<Hub>, metrics: Metrics) -> Self {
        Self {
            store,
            hub,
            metrics,
            watched: Arc::default(),
        }
    }

    /// Counts a viewer while what is returned lives.
    pub(in crate::jobs) fn viewing(&self) -> crate::metrics::Viewing {
        self.metrics.viewing()
    }

    /// Whether somebody looks at that job now.
    pub(in crate::jobs) fn is_watched(&self, job_id: &str) -> bool {
        let here = locked(&self.watched)
            .get(job_id)
            .is_some_and(|tail| tail.frames.receiver_count() > 0);
        here || self.hub.is_watched_elsewhere(job_id)
    }

    /// Joins the live tail of a job that has not ended; the first viewer starts its pump.
    pub(in crate::jobs) fn join(&self, job_id: &str) -> Joined {
        let mut watched = locked(&self.watched);
        if let Some(tail) = watched.get(job_id) {
            return tail.join();
        }
        let tail = Tail {
            frames: broadcast::Sender::new(BACKLOG),
            recent: Arc::default(),
        };
        let viewer = tail.join();
        watched.insert(job_id.to_owned(), tail.clone());
        let pump = Pump {
            store: self.store.clone(),
            hub: Arc::clone(&self.hub),
            watched: Arc::clone(&self.watched),
            nudge: self.hub.watch_job(job_id),
            job_id: job_id.to_owned(),
            tail,
        };
        tokio::spawn(pump.run());
        viewer
    }
}

/// What one look at a job's rows found.
pub(in crate::jobs) struct Look {
    pub(in crate::jobs) job: Option<Job>,
    pub(in crate::jobs) cursor: Cursor,
    pub(in crate::jobs) events: Vec<OutputEvent>,
    /// There may be more to read at once.
    pub(in crate::jobs) more: bool,
}

/// Reads what a cursor has not told yet, with the job's row of the same moment. A job that has
/// ended gives up what was held back of a cut character.
pub(in crate::jobs) async fn look(
    store: &Store,
    job_id: String,
    mut cursor: Cursor,
) -> Result<Look, StoreError> {
    store
        .read(move |tx| {
            let job = job::find(tx, &job_id)?;
            let Some(row) = &job else {
                return Ok(Look {
                    job,
                    cursor,
                    events: Vec::new(),
                    more: false,
                });
            };
            let (mut events, more) = cursor.read(tx, row)?;
            if !more && row.status.is_terminal() {
                events.extend(cursor.finish());
            }
            Ok(Look {
                job,
                cursor,
                events,
                more,
            })
        })
        .await
}

struct Pump {
    store: Store,
    hub: Arc<Hub>,
    watched: Arc<Mutex<Watched>>,
    nudge: Arc<Notify>,
    job_id: String,
    tail: Tail,
}

impl Pump {
    async fn run(self) {
        let mut status = None;
        let mut told_others = None;
        let mut cursor = self.start().await;
        loop {
            self.tell_others(&mut told_others);
            cursor = match self.step(cursor, &mut status).await {
                Step::On(cursor) => cursor,
                Step::Ended => break,
            };
            if let Some(rest) = self.rest() {
                tokio::time::sleep(rest).await;
            }
            // The slow poll is for a nudge that was lost: then it costs seconds, never a byte.
            let _slow = tokio::time::timeout(SLOW_POLL, self.nudge.notified()).await;
            if self.is_deserted() {
                return;
            }
        }
        locked(&self.watched).remove(&self.job_id);
        self.hub.unwatch_job(&self.job_id);
    }

    /// Tells servers that share the database, now and then, that the job is watched: its agent may
    /// speak to one of them.
    fn tell_others(&self, told: &mut Option<Instant>) {
        if !self.store.is_shared() || told.is_some_and(|told| told.elapsed() < SLOW_POLL) {
            return;
        }
        *told = Some(Instant::now());
        let (store, job_id) = (self.store.clone(), self.job_id.clone());
        tokio::spawn(async move {
            let told = store.write(move |tx| {
                tx.note(Change::Watched { job_id });
                Ok::<_, StoreError>(())
            });
            if let Err(error) = told.await {
                tracing::debug!(%error, "others were not told of a watcher");
            }
        });
    }

    /// How long to let output gather, so that a crowd doesn't cost a write for each viewer at each
    /// of the agent's calls.
    fn rest(&self) -> Option<Duration> {
        let viewers = self.tail.frames.receiver_count();
        let rest = REST_A_VIEWER.saturating_mul(u32::try_from(viewers).unwrap_or(u32::MAX));
        (viewers >= CROWD).then_some(rest.min(REST_AT_MOST))
    }

    /// The end of what is there now, less a character that is not whole: viewers read up to there
    /// by themselves.
    async fn start(&self) -> Cursor {
        let job_id = self.job_id.clone();
        let found = self.store.read(move |tx| job::find(tx, &job_id)).await;
        let near_end = |counts: job::StreamCounts| counts.bytes.saturating_sub(3).max(counts.start);
        let offsets = match found {
            Ok(Some(job)) => Offsets {
                stdout: near_end(job.stdout),
                stderr: near_end(job.stderr),
            },
            Ok(None) | Err(_) => Offsets::default(),
        };
        Cursor::at(&self.job_id, offsets)
    }

    async fn step(&self, mut cursor: Cursor, status: &mut Option<StatusEvent>) -> Step {
        loop {
            let before = cursor.offsets();
            let look = match look(&self.store, self.job_id.clone(), cursor).await {
                Ok(look) => look,
                Err(error) => {
                    tracing::warn!(%error, job = %self.job_id, "a live tail could not read; it tries again");
                    return Step::On(Cursor::at(&self.job_id, before));
                }
            };
            let Some(job) = look.job else {
                return Step::Ended;
            };
            let now = StatusEvent::from(&job);
            // The state goes first: the ids of the output tell which state the viewer knows.
            if !job.status.is_terminal() && status.as_ref() != Some(&now) {
                self.send(Frame::Status(now.clone()));
                *status = Some(now.clone());
            }
            self.send_output(before, look.events, &now);
            if look.more {
                cursor = look.cursor;
                continue;
            }
            if job.status.is_terminal() {
                self.send(Frame::Done);
                return Step::Ended;
            }
            return Step::On(look.cursor);
        }
    }

    fn send_output(&self, mut before: Offsets, events: Vec<OutputEvent>, status: &StatusEvent) {
        for event in events {
            let mut after = before;
            after.set(event.stream, event.end);
            let id = EventId::new(Some(status), after);
            let output = Arc::new(Framed::new(event, id));
            self.send(Frame::Output { before, output });
            before = after;
        }
    }

    fn send(&self, frame: Frame) {
        self.tail
            .recent
            .note(&frame, self.tail.frames.receiver_count());
        // An error says that every viewer has gone.
        let _nobody = self.tail.frames.send(frame);
    }

    /// True when nobody watches any more; then the job is unwatched, under the lock under which
    /// viewers join.
    fn is_deserted(&self) -> bool {
        let mut watched = locked(&self.watched);
        if self.tail.frames.receiver_count() > 0 {
            return false;
        }
        watched.remove(&self.job_id);
        self.hub.unwatch_job(&self.job_id);
        true
    }
}

enum Step {
    On(Cursor),
    Ended,
}
