//! Following one job to its end: its stream comes in, Ctrl-C is heard at any time. How it is told
//! is `tell`'s.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

use super::args::{Scoped, StreamArg};
use super::client::{Client, segment};
use super::connection;
use super::error::{CliError, exit};
use super::interrupts::Interrupts;
use super::progress;
use super::screen::{Screen, note};
use super::tell::{Teller, Told};
use crate::store::job::JobStatus;

/// What may wait to be told; a slow reader holds up the stream, not this program.
const WAITING: usize = 4;
/// How long a detaching waits for what is being written.
const ORDERLY: Duration = Duration::from_millis(300);

/// What of a job to follow, and how.
pub(super) struct Follow {
    pub(super) client: Arc<Client>,
    pub(super) screen: Screen,
    pub(super) id: String,
    pub(super) scope: Scoped,
    /// Which output; `None`: only the end.
    pub(super) stream: Option<StreamArg>,
    /// Begin with so many of the last lines.
    pub(super) tail: Option<usize>,
    /// The job is known to be there, so that a server that can't be reached is waited for.
    pub(super) patient: bool,
}

impl Follow {
    /// Until the job has ended or the person has had enough; what this program ends with.
    ///
    /// What comes is told on a thread of its own: a standard output that takes nothing at the
    /// moment, as a pager's, must not keep Ctrl-C from being heard.
    pub(super) async fn run(self, interrupts: &mut Interrupts) -> Result<u8, CliError> {
        let follow = Arc::new(self);
        let mut news = connection::open(Arc::clone(&follow.client), follow.path(), follow.patient);
        let (teller, inbox) = mpsc::channel(WAITING);
        let ours = Arc::clone(&follow);
        let mut telling = tokio::task::spawn_blocking(move || Teller::new(&ours).tell(inbox));
        let mut tick = tokio::time::interval(progress::EVERY);
        let (mut next, mut is_over, mut has_cancelled) = (None, false, false);
        loop {
            tokio::select! {
                ended = &mut telling => return ended_with(ended),
                item = news.recv(), if next.is_none() && !is_over => {
                    is_over = item.is_none();
                    next = Some(item.map_or(Told::Over, Told::News));
                }
                place = teller.reserve(), if next.is_some() => {
                    // Without one the telling has ended, which is heard next.
                    if let (Ok(place), Some(told)) = (place, next.take()) {
                        place.send(told);
                    }
                }
                () = interrupts.next() => {
                    if !interrupts.cancels() || has_cancelled {
                        return follow.detach(&teller, telling).await;
                    }
                    has_cancelled = true;
                    let (follow, teller) = (Arc::clone(&follow), teller.clone());
                    tokio::spawn(async move { follow.cancel_and_tell(&teller).await });
                }
                // One that finds no place is late anyway.
                _ = tick.tick() => drop(teller.try_send(Told::Tick)),
            }
        }
    }

    fn path(&self) -> String {
        let output = match self.stream {
            Some(_) => "exact",
            None => "none",
        };
        let scope = self.scope.query().replace('?', "&");
        format!(
            "/api/jobs/{}/stream?output={output}{scope}",
            segment(&self.id)
        )
    }

    /// Leaves the job to itself, and says so even where standard output takes no more.
    async fn detach(
        &self,
        teller: &mpsc::Sender<Told>,
        telling: JoinHandle<Result<u8, CliError>>,
    ) -> Result<u8, CliError> {
        let orderly = async {
            // Where it has ended meanwhile, that is the answer.
            let _gone = teller.send(Told::Detach).await;
            telling.await
        };
        if let Ok(ended) = tokio::time::timeout(ORDERLY, orderly).await {
            return ended_with(ended);
        }
        progress::clear_line(&self.screen);
        note(&self.detached(None));
        Ok(exit::INTERRUPTED)
    }

    async fn cancel_and_tell(&self, teller: &mpsc::Sender<Told>) {
        let words = "Cancelling the job. Press Ctrl-C again to detach from it.";
        // With the telling ended there is nothing to add.
        let _gone = teller.send(Told::Note(words.to_owned())).await;
        if let Err(error) = self.cancel().await {
            let error = error.hint(format!("to cancel it: {}", self.command("cancel")));
            let _gone = teller.send(Told::Note(error.to_string())).await;
        }
    }

    async fn cancel(&self) -> Result<(), CliError> {
        let path = format!(
            "/api/jobs/{}/cancel{}",
            segment(&self.id),
            self.scope.query()
        );
        let cancelled = self.client.post::<Value>(&path, &Value::Null).await;
        match cancelled {
            // It has ended by itself; its end is on its way.
            Err(error)
                if error
                    .api
                    .as_ref()
                    .is_some_and(|(code, _)| code == "wrong_state") =>
            {
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// `hyprbox jobs … ID`, for this job.
    fn command(&self, what: &str) -> String {
        let scope = match self.scope.query() {
            "" => "",
            _ => " --scope all",
        };
        format!("hyprbox jobs {what} {}{scope}", self.id)
    }

    /// What is said on leaving a job that was last seen in this state.
    pub(super) fn detached(&self, status: Option<JobStatus>) -> String {
        let words = match status {
            Some(JobStatus::Queued) => "the job stays queued",
            Some(JobStatus::Running) | None => "the job goes on",
            Some(JobStatus::Succeeded | JobStatus::Failed | JobStatus::Cancelled) => {
                "the job has ended"
            }
        };
        format!(
            "Detached; {words}.\n  follow it again: {}\n  cancel it:       {}",
            self.command("log --follow"),
            self.command("cancel")
        )
    }
}

fn ended_with(ended: Result<Result<u8, CliError>, JoinError>) -> Result<u8, CliError> {
    ended.unwrap_or_else(|error| Err(CliError::failed(format!("following failed: {error}"))))
}
