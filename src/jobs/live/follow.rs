//! Follows one job for one viewer: from the viewer's offsets to the end of the kept output, then
//! everything new, then the job's end.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, mpsc};

use crate::jobs::Jobs;
use crate::jobs::live::cursor::Cursor;
use crate::jobs::live::event_id::EventId;
use crate::jobs::live::events::{DoneEvent, StatusEvent};
use crate::jobs::live::frame::{Frame, OutputFrame};
use crate::jobs::live::recent::RecentFrames;
use crate::jobs::live::sse::StreamClosed;
use crate::store::job::Job;

/// Receives a follower's messages.
#[derive(Clone)]
pub(in crate::jobs) struct Recipient<M> {
    queue: mpsc::Sender<M>,
    /// Held while output that was read for this recipient only is in memory, so that a stream that
    /// follows many jobs holds the output of one.
    turn: Arc<Semaphore>,
}

impl<M> Recipient<M> {
    pub(in crate::jobs) fn new(queue: mpsc::Sender<M>) -> Self {
        let turn = Arc::new(Semaphore::new(1));
        Self { queue, turn }
    }
}

/// Follows a job and sends what `map` makes of each frame.
pub(in crate::jobs) struct Follower<M, F> {
    jobs: Jobs,
    job_id: String,
    /// Whether the job had ended when the viewer came, so that it has no live tail.
    ended: bool,
    /// What the viewer has received.
    sent: EventId,
    recipient: Recipient<M>,
    map: F,
}

impl<M: Send, F: FnMut(&EventId, Frame) -> M + Send> Follower<M, F> {
    /// A follower of `job` for a viewer that has received everything up to `sent`.
    pub(in crate::jobs) fn new(
        jobs: Jobs,
        job: &Job,
        sent: EventId,
        recipient: Recipient<M>,
        map: F,
    ) -> Self {
        Self {
            jobs,
            job_id: job.id.clone(),
            ended: job.status.is_terminal(),
            sent,
            recipient,
            map,
        }
    }

    /// Runs until the job's end was sent or the viewer has disconnected.
    pub(in crate::jobs) async fn run(mut self) {
        let _closed = self.follow().await;
    }

    async fn follow(&mut self) -> Result<(), StreamClosed> {
        if self.ended {
            return self.catch_up(None).await;
        }
        // Joined before the first read, so that the tail has everything that arrives in between.
        let mut tail = self.jobs.tails.join(&self.job_id);
        self.catch_up(Some(&tail.recent)).await?;
        loop {
            let frame = tokio::select! {
                frame = tail.frames.recv() => frame,
                // Without this, a silent job would count as watched until it writes something.
                () = self.recipient.queue.closed() => return Err(StreamClosed),
            };
            match frame {
                Ok(Frame::Output(output)) => {
                    if self.send_output(&output).await? {
                        continue;
                    }
                }
                Ok(Frame::Status(status)) => {
                    self.send_status(status).await?;
                    continue;
                }
                Ok(Frame::Done(_)) | Err(RecvError::Lagged(_)) => {}
                // The pump ended because the job did, as the next read shows.
                Err(RecvError::Closed) => tail = self.jobs.tails.join(&self.job_id),
            }
            self.catch_up(Some(&tail.recent)).await?;
        }
    }

    async fn send(&mut self, frame: Frame) -> Result<(), StreamClosed> {
        let message = (self.map)(&self.sent, frame);
        self.recipient
            .queue
            .send(message)
            .await
            .map_err(|_| StreamClosed)
    }

    /// Sends the part of a frame that the viewer has not received. Returns false if output before
    /// the frame is missing.
    async fn send_output(&mut self, output: &Arc<OutputFrame>) -> Result<bool, StreamClosed> {
        let (stream, end) = (output.event.stream, output.event.end);
        if end <= self.sent.offsets[stream] {
            return Ok(true);
        }
        let Some(output) = output.rest_for(self.sent.offsets) else {
            return Ok(false);
        };
        self.sent.offsets[stream] = end;
        self.send(Frame::Output(output)).await?;
        Ok(true)
    }

    async fn send_status(&mut self, status: StatusEvent) -> Result<(), StreamClosed> {
        if self.sent.has_status(&status) {
            return Ok(());
        }
        self.sent = EventId::new(Some(&status), self.sent.offsets);
        self.send(Frame::Status(status)).await
    }

    /// Sends the recent frames, as far as they continue where the viewer is.
    async fn send_recent(&mut self, recent: &RecentFrames) -> Result<(), StreamClosed> {
        loop {
            let before = self.sent.offsets;
            let (status, output) = recent.beyond(before);
            let Some(status) = status else {
                return Ok(());
            };
            // The viewer may have received a later state from the store.
            if self.sent.is_before(&status) {
                self.send_status(status).await?;
            }
            for output in output {
                if !self.send_output(&output).await? {
                    return Ok(());
                }
            }
            if self.sent.offsets == before {
                return Ok(());
            }
        }
    }

    /// Sends everything that the viewer has not received, including the job's end: the recent
    /// frames, and what the store has before and after them.
    async fn catch_up(&mut self, recent: Option<&RecentFrames>) -> Result<(), StreamClosed> {
        let mut cursor = None;
        loop {
            let before = self.sent.offsets;
            if let Some(recent) = recent {
                self.send_recent(recent).await?;
            }
            let turn = Arc::clone(&self.recipient.turn).acquire_owned().await;
            let _turn = turn.map_err(|_| StreamClosed)?;
            let sent = self.sent.offsets;
            let from = cursor
                .take_if(|_| sent == before)
                .unwrap_or_else(|| Cursor::at(&self.job_id, sent));
            let snapshot = from.read_next(&self.jobs.store).await.map_err(|error| {
                // The client reconnects and resumes.
                tracing::warn!(%error, job = %self.job_id, "live tail: cannot read the job's output, closing the stream");
                StreamClosed
            })?;
            let job = snapshot.job.ok_or(StreamClosed)?;
            // The final state of a job that ended while it was watched is in `done`.
            if self.sent.is_opening() || !job.status.is_terminal() {
                self.send_status(StatusEvent::from(&job)).await?;
            }
            for event in snapshot.events {
                let before = self.sent.offsets;
                self.sent.offsets[event.stream] = event.end;
                let output = OutputFrame::new(event, before, self.sent);
                self.send(Frame::Output(Arc::new(output))).await?;
            }
            if snapshot.has_more {
                cursor = Some(snapshot.cursor);
                continue;
            }
            if job.status.is_terminal() {
                self.sent = EventId::new(Some(&StatusEvent::from(&job)), self.sent.offsets);
                self.send(Frame::Done(DoneEvent::from(&job))).await?;
                return Err(StreamClosed);
            }
            return Ok(());
        }
    }
}
