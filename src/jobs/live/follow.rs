//! Following one job for one viewer: what is kept, then what is new, then the end; from wherever
//! the viewer was.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, mpsc};

use crate::jobs::Jobs;
use crate::jobs::live::cursor::Cursor;
use crate::jobs::live::frame::{DoneEvent, Offsets, StatusEvent};
use crate::jobs::live::recent::Recent;
use crate::jobs::live::stream::EventId;
use crate::jobs::live::tail::{Frame, Framed, look};
use crate::store::job::Job;

/// Something that the viewer is told.
#[derive(Debug)]
pub(in crate::jobs) enum Told {
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
pub(in crate::jobs) struct Follower<M, F> {
    jobs: Jobs,
    job_id: String,
    /// The job had ended when the viewer came: there is no live tail to join.
    ended: bool,
    told: EventId,
    viewer: mpsc::Sender<M>,
    /// Taken while output that was read for this viewer alone is held: a stream that follows many
    /// jobs holds that of one.
    turn: Arc<Semaphore>,
    map: F,
}

impl<M: Send, F: FnMut(&EventId, Told) -> M + Send> Follower<M, F> {
    /// Follows `job` from where `told` says.
    pub(in crate::jobs) fn new(
        jobs: Jobs,
        job: &Job,
        told: EventId,
        (viewer, turn): (mpsc::Sender<M>, Arc<Semaphore>),
        map: F,
    ) -> Self {
        Self {
            jobs,
            job_id: job.id.clone(),
            ended: job.status.is_terminal(),
            told,
            viewer,
            turn,
            map,
        }
    }

    /// Until the job's end was told or the viewer has gone.
    pub(in crate::jobs) async fn run(mut self) {
        // The end of everything is no error here.
        let _gone = self.follow().await;
    }

    async fn follow(&mut self) -> Result<(), Gone> {
        if self.ended {
            return self.catch_up(None).await;
        }
        // Joined before the look, so that what comes in between is in the tail.
        let mut tail = self.jobs.tails.join(&self.job_id);
        self.catch_up(Some(&tail.recent)).await?;
        loop {
            let frame = tokio::select! {
                frame = tail.frames.recv() => frame,
                // Else a job that says nothing would count as watched until it does.
                () = self.viewer.closed() => return Err(Gone),
            };
            match frame {
                Ok(Frame::Output { before, output }) => {
                    if self.tell_rest(before, output).await? {
                        continue;
                    }
                }
                Ok(Frame::Status(status)) => {
                    self.tell_status(status).await?;
                    continue;
                }
                Ok(Frame::Done) | Err(RecvError::Lagged(_)) => {}
                // The pump ended, as the job did; the look finds out.
                Err(RecvError::Closed) => tail = self.jobs.tails.join(&self.job_id),
            }
            self.catch_up(Some(&tail.recent)).await?;
        }
    }

    async fn tell(&mut self, told: Told) -> Result<(), Gone> {
        let message = (self.map)(&self.told, told);
        self.viewer.send(message).await.map_err(|_| Gone)
    }

    /// Tells what of a frame was not told yet; false where that can't be.
    async fn tell_rest(&mut self, before: Offsets, output: Arc<Framed>) -> Result<bool, Gone> {
        let (stream, end) = (output.event.stream, output.event.end);
        if end <= self.told.offsets.of(stream) {
            return Ok(true);
        }
        let Some(output) = untold(self.told.offsets, before, output) else {
            return Ok(false);
        };
        self.told.offsets.set(stream, end);
        self.tell(Told::Output(output)).await?;
        Ok(true)
    }

    async fn tell_status(&mut self, status: StatusEvent) -> Result<(), Gone> {
        if self.told.knows(&status) {
            return Ok(());
        }
        self.told = EventId::new(Some(&status), self.told.offsets);
        self.tell(Told::Status(status)).await
    }

    /// Tells what others were told lately, as far as it goes on where this viewer is.
    async fn tell_recent(&mut self, recent: &Recent) -> Result<(), Gone> {
        loop {
            let told = self.told.offsets;
            let (status, output) = recent.beyond(told);
            let Some(status) = status else {
                return Ok(());
            };
            // The store may have told this viewer of a later one.
            if self.told.is_before(&status) {
                self.tell_status(status).await?;
            }
            for (before, output) in output {
                if !self.tell_rest(before, output).await? {
                    return Ok(());
                }
            }
            if self.told.offsets == told {
                return Ok(());
            }
        }
    }

    /// Tells everything that was not told yet, the end, too: what others were told lately, and what
    /// the store has before and beyond.
    async fn catch_up(&mut self, recent: Option<&Recent>) -> Result<(), Gone> {
        let mut cursor = None;
        loop {
            let before = self.told.offsets;
            if let Some(recent) = recent {
                self.tell_recent(recent).await?;
            }
            let turn = Arc::clone(&self.turn).acquire_owned().await;
            let _turn = turn.map_err(|_| Gone)?;
            let told = self.told.offsets;
            let from = cursor
                .take_if(|_| told == before)
                .unwrap_or_else(|| Cursor::at(&self.job_id, told));
            let look = match look(&self.jobs.store, self.job_id.clone(), from).await {
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
                cursor = Some(look.cursor);
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

/// What of a frame a viewer was not told; `None` where something is missing before it, or it can't
/// be cut. A look at the store ends wherever the store does, most likely within a frame: without
/// the cut, a viewer who had to look once would have to look again and again, each for itself.
fn untold(told: Offsets, before: Offsets, output: Arc<Framed>) -> Option<Arc<Framed>> {
    if before == told {
        return Some(output);
    }
    let stream = output.event.stream;
    let mut begun = before;
    begun.set(stream, told.of(stream));
    if begun != told {
        return None;
    }
    output.rest_from(told.of(stream)).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use hyprbox_protocol::Stream;

    use super::*;
    use crate::clock::Timestamp;
    use crate::jobs::live::frame::OutputEvent;

    fn at(stdout: u64, stderr: u64) -> Offsets {
        Offsets { stdout, stderr }
    }

    /// Stdout from 10 on, five lines begun before it.
    fn framed(data: &str, end: u64) -> Arc<Framed> {
        let event = OutputEvent {
            stream: Stream::Stdout,
            offset: 10,
            end,
            data: data.to_owned(),
            at: Timestamp::from_millis(0),
            line: Some(5),
        };
        Arc::new(Framed::new(event, EventId::new(None, at(end, 3))))
    }

    #[test]
    fn a_frame_is_cut_where_the_viewer_is() {
        let output = framed("a\nb\u{e9}c", 16);
        let whole = untold(at(10, 3), at(10, 3), Arc::clone(&output)).expect("nothing was told");
        assert!(Arc::ptr_eq(&whole, &output));
        let rest = untold(at(12, 3), at(10, 3), Arc::clone(&output)).expect("can be cut");
        let event = &rest.event;
        assert_eq!(
            (event.offset, event.end, event.data.as_str(), event.line),
            (12, 16, "b\u{e9}c", Some(6))
        );
        let sent = String::from_utf8(rest.bytes(false).to_vec()).expect("text");
        assert!(sent.starts_with("id: -16-3\n"), "{sent}");
    }

    #[test]
    fn a_frame_is_not_cut_where_something_would_be_lost() {
        let before = at(10, 3);
        let none = |told, output| assert!(untold(told, before, output).is_none());
        // Bytes are missing before it, of this stream or of the other.
        none(at(9, 3), framed("abc", 13));
        none(at(11, 2), framed("abc", 13));
        // Within a character, and where a byte stands as another.
        none(at(11, 3), framed("\u{e9}", 12));
        none(at(11, 3), framed("a\u{fffd}", 12));
    }
}
