//! Following one job for one viewer: what is kept, then what is new, then the end; from wherever the viewer was.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::Jobs;
use super::cursor::Cursor;
use super::frame::{DoneEvent, StatusEvent};
use super::stream::EventId;
use super::tail::{Frame, Framed, look};
use crate::store::job::Job;

/// Something that the viewer is told.
#[derive(Debug)]
pub(super) enum Told {
    /// Output.
    Output(Arc<Framed>),
    /// Another state.
    Status(StatusEvent),
    /// The end.
    Done(DoneEvent),
}

/// The viewer has gone, or everything was told.
struct Gone;

/// Follows a job and sends what `map` makes of each thing told.
pub(super) struct Follower<M, F> {
    jobs: Jobs,
    job_id: String,
    /// The job had ended when the viewer came: there is no live tail to join.
    ended: bool,
    told: EventId,
    viewer: mpsc::Sender<M>,
    map: F,
}

impl<M: Send, F: FnMut(&EventId, Told) -> M + Send> Follower<M, F> {
    /// Follows `job` from where `told` says.
    pub(super) fn new(
        jobs: Jobs,
        job: &Job,
        told: EventId,
        viewer: mpsc::Sender<M>,
        map: F,
    ) -> Self {
        Self {
            jobs,
            job_id: job.id.clone(),
            ended: job.status.is_terminal(),
            told,
            viewer,
            map,
        }
    }

    /// Until the job's end was told or the viewer has gone.
    pub(super) async fn run(mut self) {
        // The end of everything is no error here.
        let _gone = self.follow().await;
    }

    async fn follow(&mut self) -> Result<(), Gone> {
        if self.ended {
            return self.catch_up().await;
        }
        // Joined before the look, so that what comes in between is in the tail.
        let mut tail = self.jobs.tails.join(&self.job_id);
        self.catch_up().await?;
        loop {
            let frame = tokio::select! {
                frame = tail.recv() => frame,
                // Else a job that says nothing would count as watched until it does.
                () = self.viewer.closed() => return Err(Gone),
            };
            match frame {
                Ok(frame) => self.pass_on(frame).await?,
                Err(RecvError::Lagged(_)) => self.catch_up().await?,
                Err(RecvError::Closed) => {
                    // The pump ended, as the job did; the look finds out.
                    tail = self.jobs.tails.join(&self.job_id);
                    self.catch_up().await?;
                }
            }
        }
    }

    async fn tell(&mut self, told: Told) -> Result<(), Gone> {
        let message = (self.map)(&self.told, told);
        self.viewer.send(message).await.map_err(|_| Gone)
    }

    async fn pass_on(&mut self, frame: Frame) -> Result<(), Gone> {
        match frame {
            Frame::Output { before, output } => {
                let (stream, end) = (output.event.stream, output.event.end);
                if end <= self.told.offsets.of(stream) {
                    return Ok(());
                }
                if before != self.told.offsets {
                    return self.catch_up().await;
                }
                self.told.offsets.set(stream, end);
                self.tell(Told::Output(output)).await
            }
            Frame::Status(status) => self.tell_status(status).await,
            Frame::Done => self.catch_up().await,
        }
    }

    async fn tell_status(&mut self, status: StatusEvent) -> Result<(), Gone> {
        if self.told.knows(&status) {
            return Ok(());
        }
        self.told = EventId::new(Some(&status), self.told.offsets);
        self.tell(Told::Status(status)).await
    }

    /// Reads everything from the store that was not told yet; the end, too.
    async fn catch_up(&mut self) -> Result<(), Gone> {
        let mut cursor = Cursor::at(&self.job_id, self.told.offsets);
        loop {
            let look = match look(&self.jobs.store, self.job_id.clone(), cursor).await {
                Ok(look) => look,
                Err(error) => {
                    // The client comes back by itself, and resumes.
                    tracing::warn!(%error, job = %self.job_id, "a live tail could not read");
                    return Err(Gone);
                }
            };
            let job = look.job.ok_or(Gone)?;
            // Of a job that ended while it was watched, `done` tells the state.
            if self.told.is_opening() || !job.status.is_terminal() {
                self.tell_status(StatusEvent::from(&job)).await?;
            }
            for event in look.events {
                self.told.offsets.set(event.stream, event.end);
                let output = Arc::new(Framed::new(event, self.told));
                self.tell(Told::Output(output)).await?;
            }
            if look.more {
                cursor = look.cursor;
                continue;
            }
            if job.status.is_terminal() {
                self.told = EventId::new(Some(&StatusEvent::from(&job)), self.told.offsets);
                self.tell(Told::Done(DoneEvent::from(&job))).await?;
                return Err(Gone);
            }
            return Ok(());
        }
    }
}
