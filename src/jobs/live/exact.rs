//! Follows one job for a program: its output byte for byte, in the order in which the agent read
//! it, or only its state.
//!
//! Viewers in browsers receive whole characters, encoded once for all of them (`tail`, `follow`). A
//! program that passes the output on, such as the command line, must not lose bytes that are not
//! UTF-8, nor receive a byte later than `/log` would show it. It therefore receives the chunks as
//! they are stored; each event's id is the position after its chunk.

use bytes::Bytes;
use hyprbox_protocol::Chunk;
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use crate::hub::next_change;
use crate::jobs::Jobs;
use crate::jobs::live::cursor::WINDOW_BYTES;
use crate::jobs::live::events::{Counted, DoneEvent, StatusEvent};
use crate::jobs::live::frame::Frame;
use crate::jobs::live::sse::{self, StreamClosed};
use crate::jobs::live::tail::SLOW_POLL;
use crate::store::job::{self, Job};
use crate::store::output::{self, StoredChunk};
use crate::store::{Change, StoreError};

/// The output that a program wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::jobs) enum OutputMode {
    /// Every kept byte.
    Exact,
    /// Only the job's state.
    None,
}

impl OutputMode {
    /// Parses the stream's parameter `output`.
    pub(in crate::jobs) fn parse(name: &str) -> Option<Self> {
        match name {
            "exact" => Some(Self::Exact),
            "none" => Some(Self::None),
            _ => None,
        }
    }
}

/// The position in an event's id; 0 if the id can't be of this job.
pub(in crate::jobs) fn resume_position(last_id: Option<&str>, job: &Job) -> u64 {
    last_id
        .and_then(|id| id.strip_prefix('p')?.parse().ok())
        .filter(|position| *position <= job.position)
        .unwrap_or(0)
}

/// Sends a job's events from `position` on, until its end was sent or the client has disconnected.
pub(in crate::jobs) async fn follow(
    jobs: &Jobs,
    job: &Job,
    mode: OutputMode,
    position: u64,
    client: mpsc::Sender<Bytes>,
) {
    let mut follower = ExactFollower {
        jobs,
        job_id: job.id.clone(),
        mode,
        position,
        status: None,
        client,
    };
    // A job that has ended has no live tail to join.
    let _closed = if job.status.is_terminal() {
        follower.catch_up().await
    } else {
        follower.follow().await
    };
}

struct ExactFollower<'j> {
    jobs: &'j Jobs,
    job_id: String,
    mode: OutputMode,
    /// Every byte before this position was sent.
    position: u64,
    /// The last status that was sent.
    status: Option<StatusEvent>,
    client: mpsc::Sender<Bytes>,
}

/// Where nudges come from. A job whose output nobody wants is not watched, so that its agent may
/// flush at leisure.
enum Nudges {
    Tail(Receiver<Frame>),
    Changes(Receiver<Change>),
}

impl ExactFollower<'_> {
    async fn follow(&mut self) -> Result<(), StreamClosed> {
        // Joined before the first read, so that whatever arrives in between nudges.
        let mut nudges = self.join();
        loop {
            self.catch_up().await?;
            let client = self.client.clone();
            tokio::select! {
                is_open = nudge(&mut nudges, &self.job_id) => if !is_open {
                    // The pump ended because the job did, as the next read shows.
                    nudges = self.join();
                },
                () = tokio::time::sleep(SLOW_POLL) => {}
                () = client.closed() => return Err(StreamClosed),
            }
        }
    }

    fn join(&self) -> Nudges {
        match self.mode {
            OutputMode::Exact => Nudges::Tail(self.jobs.tails.join(&self.job_id).frames),
            OutputMode::None => Nudges::Changes(self.jobs.hub.changes()),
        }
    }

    async fn catch_up(&mut self) -> Result<(), StreamClosed> {
        loop {
            let (job, chunks) = self.read().await?;
            let status = StatusEvent::from(&job);
            // The final state of a job that ended while it was followed is in `done`.
            if self.status.is_none()
                || !job.status.is_terminal() && self.status.as_ref() != Some(&status)
            {
                self.send("status", &Counted::<StatusEvent>::from(&job))
                    .await?;
                self.status = Some(status);
            }
            if chunks.is_empty() {
                if job.status.is_terminal() {
                    self.send("done", &Counted::<DoneEvent>::from(&job)).await?;
                    return Err(StreamClosed);
                }
                return Ok(());
            }
            for chunk in chunks {
                self.position = chunk.end_position();
                if !chunk.data.is_empty() {
                    let chunk = Chunk::new(chunk.stream, chunk.start_offset, &chunk.data);
                    self.send("output", &chunk).await?;
                }
            }
        }
    }

    async fn read(&self) -> Result<(Job, Vec<StoredChunk>), StreamClosed> {
        let (id, position, mode) = (self.job_id.clone(), self.position, self.mode);
        let read = self
            .jobs
            .store
            .read(move |tx| {
                let Some(job) = job::find(tx, &id)? else {
                    return Ok(None);
                };
                let chunks = match mode {
                    OutputMode::Exact => output::window(tx, &job, None, position, WINDOW_BYTES)?,
                    OutputMode::None => Vec::new(),
                };
                Ok::<_, StoreError>(Some((job, chunks)))
            })
            .await;
        let found = read.map_err(|error| {
            // The client reconnects and resumes.
            tracing::warn!(%error, job = %self.job_id, "exact stream: cannot read the job's output, closing the stream");
            StreamClosed
        })?;
        found.ok_or(StreamClosed)
    }

    async fn send(&self, event: &str, data: &impl Serialize) -> Result<(), StreamClosed> {
        let bytes = sse::encode(event, &format!("p{}", self.position), data);
        self.client.send(bytes).await.map_err(|_| StreamClosed)
    }
}

/// Waits until there may be something new. Returns false if this source has ended.
async fn nudge(nudges: &mut Nudges, job_id: &str) -> bool {
    match nudges {
        Nudges::Tail(tail) => {
            let first = tail.recv().await;
            // One read covers all frames that are queued.
            while tail.try_recv().is_ok() {}
            !matches!(first, Err(RecvError::Closed))
        }
        Nudges::Changes(changes) => {
            let is_its = |change: &Change| matches!(change, Change::Job { id, .. } if id == job_id);
            next_change(changes, is_its).await
        }
    }
}
