//! Follows one job to its end: receives its stream and handles Ctrl-C at any time. What is printed
//! is up to the reporter.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

use super::args::{OneJob, StreamArg};
use super::client::Client;
use super::connection;
use super::error::{CliError, exit};
use super::interrupts::Interrupts;
use super::progress;
use super::reporter::{Message, Reporter, detached};
use super::screen::{Screen, print_note};

/// Messages that may wait for the reporter. A slow reader holds up the stream, not this program.
const QUEUE: usize = 4;
/// How long to wait, when detaching, for output that is being written.
const DETACH_TIMEOUT: Duration = Duration::from_millis(300);

/// Which job to follow, and how.
pub(super) struct Follow {
    pub(super) client: Arc<Client>,
    pub(super) screen: Screen,
    pub(super) job: OneJob,
    /// Which output to print; `None` prints only the end.
    pub(super) stream: Option<StreamArg>,
    /// Start with this many of the last lines.
    pub(super) tail: Option<usize>,
    /// The job is known to exist, so an unreachable server is retried from the start.
    pub(super) patient: bool,
}

impl Follow {
    /// Runs until the job ends or the user detaches. Returns this program's exit code.
    ///
    /// The reporter has a thread of its own: a standard output that accepts nothing at the moment,
    /// such as a pager's, must not keep this program from handling Ctrl-C.
    pub(super) async fn run(self, interrupts: &mut Interrupts) -> Result<u8, CliError> {
        let follow = Arc::new(self);
        let mut events =
            connection::open(Arc::clone(&follow.client), follow.path(), follow.patient);
        let (messages, inbox) = mpsc::channel(QUEUE);
        let reporter = Reporter::new(
            follow.job.clone(),
            follow.stream,
            follow.tail,
            follow.screen,
        );
        let mut reporting = tokio::task::spawn_blocking(move || reporter.run(inbox));
        let mut tick = tokio::time::interval(progress::REDRAW_INTERVAL);
        let (mut next, mut has_ended, mut has_cancelled) = (None, false, false);
        loop {
            tokio::select! {
                result = &mut reporting => return joined(result),
                event = events.recv(), if next.is_none() && !has_ended => {
                    has_ended = event.is_none();
                    next = Some(event.map_or(Message::StreamEnded, Message::Stream));
                }
                permit = messages.reserve(), if next.is_some() => {
                    // No permit: the reporter has ended, which the first branch handles.
                    if let (Ok(permit), Some(message)) = (permit, next.take()) {
                        permit.send(message);
                    }
                }
                () = interrupts.next() => {
                    if !interrupts.cancels() || has_cancelled {
                        return follow.detach(&messages, reporting).await;
                    }
                    has_cancelled = true;
                    let (follow, messages) = (Arc::clone(&follow), messages.clone());
                    tokio::spawn(async move { follow.cancel(&messages).await });
                }
                // A tick that finds the queue full is dropped: it would be late anyway.
                _ = tick.tick() => {
                    drop(messages.try_send(Message::Tick));
                    if follow.stream.is_some() {
                        follow.screen.check_reader()?;
                    }
                }
            }
        }
    }

    fn path(&self) -> String {
        let output = match self.stream {
            Some(_) => "exact",
            None => "none",
        };
        let path = self.job.path("/stream");
        let separator = if path.contains('?') { '&' } else { '?' };
        format!("{path}{separator}output={output}")
    }

    /// Detaches from the job. Prints how to return to it even if standard output is blocked.
    async fn detach(
        &self,
        messages: &mpsc::Sender<Message>,
        reporting: JoinHandle<Result<u8, CliError>>,
    ) -> Result<u8, CliError> {
        let orderly = async {
            // If the reporter has ended meanwhile, its result counts.
            let _gone = messages.send(Message::Detach).await;
            reporting.await
        };
        if let Ok(result) = tokio::time::timeout(DETACH_TIMEOUT, orderly).await {
            return joined(result);
        }
        progress::clear_line(&self.screen);
        print_note(&detached(&self.job, None));
        Ok(exit::INTERRUPTED)
    }

    async fn cancel(&self, messages: &mpsc::Sender<Message>) {
        let words = "Cancelling the job. Press Ctrl-C again to detach from it.";
        // If the reporter has ended, there is nothing to add.
        let _gone = messages.send(Message::Note(words.to_owned())).await;
        let cancelled = self
            .client
            .post::<Value>(&self.job.path("/cancel"), &Value::Null)
            .await;
        // A job that has ended by itself needs no cancel: its end is about to arrive.
        if let Err(error) = cancelled
            && !error.has_code("wrong_state")
        {
            let error = error.hint(format!("to cancel it: {}", self.job.command("cancel")));
            let _gone = messages.send(Message::Note(error.to_string())).await;
        }
    }
}

fn joined(result: Result<Result<u8, CliError>, JoinError>) -> Result<u8, CliError> {
    result.unwrap_or_else(|error| Err(CliError::failed(format!("following failed: {error}"))))
}
