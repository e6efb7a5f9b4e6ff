//! Live tails: one pump per watched job reads new output from the store, encodes it once, and
//! shares the bytes with every viewer. A viewer that lags or resumes receives the recent frames
//! again, and reads from the store what they lack.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, broadcast};

use crate::hub::Hub;
use crate::jobs::live::cursor::Cursor;
use crate::jobs::live::event_id::EventId;
use crate::jobs::live::events::{DoneEvent, Offsets, OutputEvent, StatusEvent};
use crate::jobs::live::frame::{Frame, OutputFrame};
use crate::jobs::live::recent::RecentFrames;
use crate::metrics::Metrics;
use crate::store::job::{self, StreamCounts};
use crate::store::{Change, Store, StoreError};
use crate::sync::lock;

/// Frames that a viewer may fall behind before it has to catch up from the store.
const BACKLOG: usize = 64;
/// Interval of the reads without a nudge, in case one was lost.
pub(in crate::jobs) const SLOW_POLL: Duration = Duration::from_secs(5);

/// Approximate processor time for passing a frame to one viewer.
const PAUSE_PER_VIEWER: Duration = Duration::from_micros(20);
/// With fewer viewers than this, every frame is sent at once.
const CROWD: usize = 20;
/// A delay that viewers do not notice.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// The tails of all watched jobs.
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
    recent: Arc<RecentFrames>,
}

/// A viewer's end of a live tail.
pub(in crate::jobs) struct Subscription {
    /// All frames from now on.
    pub(in crate::jobs) frames: broadcast::Receiver<Frame>,
    /// The frames before them.
    pub(in crate::jobs) recent: Arc<RecentFrames>,
}

impl Tail {
    fn subscribe(&self) -> Subscription {
        Subscription {
            frames: self.frames.subscribe(),
            recent: Arc::clone(&self.recent),
        }
    }
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

    /// Counts a viewer until the returned value is dropped.
    pub(in crate::jobs) fn viewing(&self) -> crate::metrics::Viewing {
        self.metrics.viewing()
    }

    /// Whether somebody watches the job now, here or on another server.
    pub(in crate::jobs) fn is_watched(&self, job_id: &str) -> bool {
        let here = lock(&self.watched)
            .get(job_id)
            .is_some_and(|tail| tail.frames.receiver_count() > 0);
        here || self.hub.is_watched_elsewhere(job_id)
    }

    /// Joins the live tail of a job that has not ended. The first viewer starts the job's pump.
    pub(in crate::jobs) fn join(&self, job_id: &str) -> Subscription {
        let mut watched = lock(&self.watched);
        if let Some(tail) = watched.get(job_id) {
            return tail.subscribe();
        }
        let tail = Tail {
            frames: broadcast::Sender::new(BACKLOG),
            recent: Arc::default(),
        };
        let subscription = tail.subscribe();
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
        subscription
    }
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
        let mut announced_at = None;
        let mut cursor = self.start().await;
        loop {
            self.announce_watcher(&mut announced_at);
            cursor = match self.pump(cursor, &mut status).await {
                Some(cursor) => cursor,
                None => break,
            };
            if let Some(pause) = self.pause() {
                tokio::time::sleep(pause).await;
            }
            // If a nudge was lost, the slow poll limits the delay to seconds.
            let _slow = tokio::time::timeout(SLOW_POLL, self.nudge.notified()).await;
            if self.stop_if_unwatched() {
                return;
            }
        }
        self.unwatch(&mut lock(&self.watched));
    }

    /// Tells the servers that share the database, every few seconds, that the job is watched: its
    /// agent may be connected to one of them.
    fn announce_watcher(&self, announced_at: &mut Option<Instant>) {
        if !self.store.is_shared() || announced_at.is_some_and(|at| at.elapsed() < SLOW_POLL) {
            return;
        }
        *announced_at = Some(Instant::now());
        let (store, job_id) = (self.store.clone(), self.job_id.clone());
        tokio::spawn(async move {
            let announced = store.write(move |tx| {
                tx.publish(Change::Watched { job_id });
                Ok::<_, StoreError>(())
            });
            if let Err(error) = announced.await {
                tracing::debug!(%error, "could not announce a viewer to the other servers");
            }
        });
    }

    /// How long to let output accumulate, so that a crowd does not cost a write per viewer for each
    /// of the agent's calls.
    fn pause(&self) -> Option<Duration> {
        let viewers = self.tail.frames.receiver_count();
        let pause = PAUSE_PER_VIEWER.saturating_mul(u32::try_from(viewers).unwrap_or(u32::MAX));
        (viewers >= CROWD).then_some(pause.min(PAUSE_MAX))
    }

    /// A cursor at the end of the present output, before a last character that may be incomplete.
    /// Viewers read up to there themselves.
    async fn start(&self) -> Cursor {
        let job_id = self.job_id.clone();
        let found = self.store.read(move |tx| job::find(tx, &job_id)).await;
        let near_end = |counts: StreamCounts| counts.bytes.saturating_sub(3).max(counts.start);
        let offsets = match found {
            Ok(Some(job)) => job.counts().map(near_end),
            Ok(None) | Err(_) => Offsets::default(),
        };
        Cursor::at(&self.job_id, offsets)
    }

    /// Sends everything new. Returns the cursor after it, or `None` if the job has ended.
    async fn pump(&self, mut cursor: Cursor, status: &mut Option<StatusEvent>) -> Option<Cursor> {
        loop {
            let before = cursor.offsets();
            let snapshot = match cursor.read_next(&self.store).await {
                Ok(snapshot) => snapshot,
                Err(error) => {
                    tracing::warn!(%error, job = %self.job_id, "live tail: cannot read the job's output, retrying");
                    return Some(Cursor::at(&self.job_id, before));
                }
            };
            let job = snapshot.job?;
            let now = StatusEvent::from(&job);
            // The state goes first: the ids of the output contain the state that the viewer knows.
            if !job.status.is_terminal() && status.as_ref() != Some(&now) {
                self.send(Frame::Status(now.clone()));
                *status = Some(now.clone());
            }
            self.send_output(before, snapshot.events, &now);
            cursor = snapshot.cursor;
            if snapshot.has_more {
                continue;
            }
            if job.status.is_terminal() {
                self.send(Frame::Done(DoneEvent::from(&job)));
                return None;
            }
            return Some(cursor);
        }
    }

    fn send_output(&self, mut before: Offsets, events: Vec<OutputEvent>, status: &StatusEvent) {
        for event in events {
            let mut after = before;
            after[event.stream] = event.end;
            let id = EventId::new(Some(status), after);
            self.send(Frame::Output(Arc::new(OutputFrame::new(event, before, id))));
            before = after;
        }
    }

    fn send(&self, frame: Frame) {
        let viewers = self.tail.frames.receiver_count();
        self.tail.recent.push(&frame, viewers);
        // An error means that every viewer has left.
        let _nobody = self.tail.frames.send(frame);
    }

    /// Unwatches the job if nobody watches it any more, under the lock that viewers join under.
    fn stop_if_unwatched(&self) -> bool {
        let mut watched = lock(&self.watched);
        if self.tail.frames.receiver_count() > 0 {
            return false;
        }
        self.unwatch(&mut watched);
        true
    }

    fn unwatch(&self, watched: &mut Watched) {
        watched.remove(&self.job_id);
        self.hub.unwatch_job(&self.job_id);
    }
}
