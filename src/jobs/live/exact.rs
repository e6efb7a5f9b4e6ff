//! Following one job for a program: its output byte for byte, in the order in which the agent read
//! it, or its state alone.
//!
//! Viewers in browsers get whole characters, framed once for all of them (`tail`, `follow`). A
//! program that passes the output on, as the command line does, must not lose a byte that is no
//! UTF-8, nor see one later than `/log` would show it. So it gets the chunks as they are stored,
//! each with the position after it as the event's id.

use bytes::Bytes;
use hyprbox_protocol::Chunk;
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use crate::jobs::Jobs;
use crate::jobs::live::frame::{DoneEvent, StatusEvent};
use crate::jobs::live::stream::sse;
use crate::jobs::live::tail::Frame;
use crate::store::job::{self, Job, StreamCounts};
use crate::store::output::{self, StoredChunk};
use crate::store::{Change, StoreError};

/// Bytes read from the store at a time.
const WINDOW_BYTES: u64 = 64 * 1024;
/// How often a job is looked at without a nudge, in case one was lost.
const SLOW_POLL: std::time::Duration = std::time::Duration::from_secs(5);

/// What of the output a program wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::jobs) enum Wanted {
    /// Every kept byte.
    Exact,
    /// Only how the job stands.
    Nothing,
}

impl Wanted {
    /// The value of the stream's parameter `output`.
    pub(in crate::jobs) fn parse(name: &str) -> Option<Self> {
        match name {
            "exact" => Some(Self::Exact),
            "none" => Some(Self::Nothing),
            _ => None,
        }
    }
}

/// Bytes of both streams: all that were written, and of them those that are not kept.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    stdout_bytes: u64,
    stderr_bytes: u64,
    stdout_dropped: u64,
    stderr_dropped: u64,
}

#[derive(Serialize)]
struct Counted<E> {
    #[serde(flatten)]
    event: E,
    #[serde(flatten)]
    counts: Counts,
}

impl<E: for<'j> From<&'j Job>> From<&Job> for Counted<E> {
    fn from(job: &Job) -> Self {
        Self {
            event: E::from(job),
            counts: Counts {
                stdout_bytes: job.stdout.bytes,
                stderr_bytes: job.stderr.bytes,
                stdout_dropped: job.stdout.dropped,
                stderr_dropped: job.stderr.dropped,
            },
        }
    }
}

/// The position that an event's id names; 0 where it can't be this job's.
pub(in crate::jobs) fn resume_point(last_id: Option<&str>, job: &Job) -> u64 {
    last_id
        .and_then(|id| id.strip_prefix('p')?.parse().ok())
        .filter(|position| *position <= job.position)
        .unwrap_or(0)
}

/// The client has gone, or everything was told.
struct Gone;

/// Tells `client` of `job` from `position` on, until its end was told or the client has gone.
pub(in crate::jobs) async fn follow(
    jobs: &Jobs,
    job: &Job,
    wanted: Wanted,
    position: u64,
    client: mpsc::Sender<Bytes>,
) {
    let mut program = Program {
        jobs,
        job_id: job.id.clone(),
        wanted,
        position,
        told: None,
        client,
    };
    // The end of everything is no error here. A job that has ended has no live tail to join.
    let _gone = if job.status.is_terminal() {
        program.catch_up().await
    } else {
        program.follow().await
    };
}

struct Program<'j> {
    jobs: &'j Jobs,
    job_id: String,
    wanted: Wanted,
    /// Every byte before it was told.
    position: u64,
    told: Option<StatusEvent>,
    client: mpsc::Sender<Bytes>,
}

/// Where nudges come from. A job whose output nobody wants is not watched: its agent may flush at
/// its leisure.
enum Nudges {
    Tail(Receiver<Frame>),
    Changes(Receiver<Change>),
}

impl Program<'_> {
    async fn follow(&mut self) -> Result<(), Gone> {
        // Joined before the first look, so that what comes in between nudges.
        let mut nudges = self.join();
        loop {
            self.catch_up().await?;
            let client = self.client.clone();
            tokio::select! {
                joined = nudge(&mut nudges, &self.job_id) => if !joined {
                    // The pump ended, as the job did; the look finds out.
                    nudges = self.join();
                },
                () = tokio::time::sleep(SLOW_POLL) => {}
                () = client.closed() => return Err(Gone),
            }
        }
    }

    fn join(&self) -> Nudges {
        match self.wanted {
            Wanted::Exact => Nudges::Tail(self.jobs.tails.join(&self.job_id).frames),
            Wanted::Nothing => Nudges::Changes(self.jobs.hub.changes()),
        }
    }

    async fn catch_up(&mut self) -> Result<(), Gone> {
        loop {
            let (job, chunks) = self.look().await?;
            let status = StatusEvent::from(&job);
            // Of a job that ended while it was followed, `done` tells the state.
            if self.told.is_none()
                || !job.status.is_terminal() && self.told.as_ref() != Some(&status)
            {
                self.tell("status", &Counted::<StatusEvent>::from(&job))
                    .await?;
                self.told = Some(status);
            }
            if chunks.is_empty() {
                if job.status.is_terminal() {
                    self.tell("done", &Counted::<DoneEvent>::from(&job)).await?;
                    return Err(Gone);
                }
                return Ok(());
            }
            for chunk in chunks {
                self.position = chunk.position + chunk.data.len() as u64;
                if let Some(chunk) = kept_part(chunk, &job) {
                    self.tell("output", &chunk).await?;
                }
            }
        }
    }

    async fn look(&self) -> Result<(Job, Vec<StoredChunk>), Gone> {
        let (id, position, wanted) = (self.job_id.clone(), self.position, self.wanted);
        let look = self
            .jobs
            .store
            .read(move |tx| {
                let job = job::find(tx, &id)?;
                let chunks = match wanted {
                    Wanted::Exact => output::window(tx, &id, position, WINDOW_BYTES)?,
                    Wanted::Nothing => Vec::new(),
                };
                Ok::<_, StoreError>((job, chunks))
            })
            .await;
        match look {
            Ok((Some(job), chunks)) => Ok((job, chunks)),
            Ok((None, _)) => Err(Gone),
            Err(error) => {
                // The client comes back by itself, and resumes.
                tracing::warn!(%error, job = %self.job_id, "a job could not be followed");
                Err(Gone)
            }
        }
    }

    async fn tell(&self, event: &str, data: &impl Serialize) -> Result<(), Gone> {
        let framed = sse(event, &format!("p{}", self.position), data);
        self.client.send(framed).await.map_err(|_| Gone)
    }
}

/// Waits until there may be something to see; false where nothing more will come this way.
async fn nudge(nudges: &mut Nudges, job_id: &str) -> bool {
    match nudges {
        Nudges::Tail(tail) => {
            let first = tail.recv().await;
            // One look serves them all.
            while tail.try_recv().is_ok() {}
            !matches!(first, Err(RecvError::Closed))
        }
        Nudges::Changes(changes) => loop {
            match changes.recv().await {
                Ok(Change::Job { id, .. }) if id == job_id => return true,
                Ok(Change::Foreign) | Err(RecvError::Lagged(_)) => return true,
                Ok(
                    Change::Job { .. }
                    | Change::Output { .. }
                    | Change::Watched { .. }
                    | Change::Node { .. }
                    | Change::Credentials,
                ) => {}
                Err(RecvError::Closed) => return false,
            }
        },
    }
}

/// The chunk at the tail's edge is stored whole; what fell off its head is not told.
fn kept_part(chunk: StoredChunk, job: &Job) -> Option<Chunk> {
    let StreamCounts { start, .. } = match chunk.stream {
        hyprbox_protocol::Stream::Stdout => job.stdout,
        hyprbox_protocol::Stream::Stderr => job.stderr,
    };
    let fallen = usize::try_from(start.saturating_sub(chunk.start_offset)).unwrap_or(usize::MAX);
    let kept = chunk.data.get(fallen..).filter(|kept| !kept.is_empty())?;
    Some(Chunk::new(
        chunk.stream,
        chunk.start_offset + fallen as u64,
        kept,
    ))
}
