//! Follows a run to its end. Events of the run cause a read of the run. While a job runs, the run
//! is also read every second, because a new step causes no event.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::board::Board;
use super::changes::Changes;
use super::reading::{Reading, nodes_of};
use crate::cli::answers::RunAnswer;
use crate::cli::args::OneRun;
use crate::cli::client::{Answer, Client, segment};
use crate::cli::connection::{self, StreamEvent};
use crate::cli::error::{CliError, exit};
use crate::cli::interrupts::Interrupts;
use crate::cli::screen::{Screen, print_note};

/// How often a run with running jobs is read. Reads of a large run are further apart.
const STEPS_EVERY: Duration = Duration::from_secs(1);
/// How often a run is read if nothing happens, in case an event was missed.
const IDLE_EVERY: Duration = Duration::from_secs(15);
/// How long an event may wait for others, so that many cause one read.
const GATHER: Duration = Duration::from_millis(200);
/// How long after a failed read the next one follows.
const RETRY_EVERY: Duration = Duration::from_secs(2);
/// How long to try to reach the server.
const GIVE_UP: Duration = Duration::from_secs(600);

pub(super) struct FollowRun {
    pub(super) client: Arc<Client>,
    pub(super) screen: Screen,
    pub(super) run: OneRun,
}

/// What the user sees.
enum View {
    Board(Box<Board>),
    Changes(Changes),
}

impl View {
    fn show(&mut self, reading: Reading) -> Result<(), CliError> {
        match self {
            Self::Board(board) => board.show(reading),
            Self::Changes(changes) => changes.print(reading),
        }
    }

    fn note(&mut self, text: &str) -> Result<(), CliError> {
        if let Self::Board(board) = self {
            board.clear()?;
        }
        print_note(text);
        Ok(())
    }
}

impl FollowRun {
    /// Returns the run once it and its jobs have ended; `None` if the user detaches.
    pub(super) async fn run(
        self,
        mut interrupts: Interrupts,
    ) -> Result<Option<RunAnswer>, CliError> {
        let mut view = match Board::open(self.screen) {
            Some(board) => View::Board(Box::new(board)),
            None => View::Changes(Changes::new(self.screen)),
        };
        let path = format!(
            "/api/events?run={}{}",
            segment(&self.run.id),
            self.run.scope.query().replace('?', "&")
        );
        let mut events = Some(connection::open(Arc::clone(&self.client), path, true));
        let mut reading: Option<JoinHandle<Result<Reading, CliError>>> = None;
        let (mut began, mut last_contact) = (Instant::now(), Instant::now());
        let mut due = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        let mut has_cancelled = false;
        loop {
            tokio::select! {
                () = interrupts.next() => {
                    if interrupts.cancels() && !std::mem::replace(&mut has_cancelled, true) {
                        view.note("Cancelling the run. Press Ctrl-C again to detach from it.")?;
                        self.cancel().await?;
                        continue;
                    }
                    view.note(&format!(
                        "Detached; the run continues. To follow it again: {}",
                        self.run.command("show --follow")
                    ))?;
                    return Ok(None);
                }
                event = next_event(&mut events) => match event {
                    Some(StreamEvent::Event(event)) if matches!(event.name.as_str(), "run" | "job") => {
                        due = due.min(began + GATHER.max(2 * (last_contact - began)));
                    }
                    Some(StreamEvent::Event(_) | StreamEvent::Reconnected) => {}
                    Some(StreamEvent::Disconnected(why)) => {
                        view.note(&format!("Connection lost ({why}). The run continues; reconnecting."))?;
                    }
                    // The reads go on, and report what is wrong.
                    Some(StreamEvent::Failed(_)) | None => events = None,
                },
                () = sleep_until(due), if reading.is_none() => {
                    began = Instant::now();
                    reading = Some(self.read());
                }
                result = joined(&mut reading) => {
                    reading = None;
                    let now = Instant::now();
                    let read = match result {
                        Ok(read) => read,
                        Err(error) if is_unreachable(&error) && last_contact.elapsed() < GIVE_UP => {
                            due = now + RETRY_EVERY;
                            continue;
                        }
                        Err(error) => return Err(error),
                    };
                    last_contact = now;
                    let run = read.run.clone();
                    view.show(read)?;
                    if run.status.is_final() && run.counts.running == 0 {
                        self.finish(&run)?;
                        return Ok(Some(run));
                    }
                    let pause = match (&events, run.counts.running) {
                        (_, 1..) => STEPS_EVERY.max(5 * (now - began)),
                        (Some(_), 0) => IDLE_EVERY,
                        (None, 0) => RETRY_EVERY,
                    };
                    due = now + pause;
                }
                _ = tick.tick() => if let View::Board(board) = &mut view { board.draw()? },
            }
        }
    }

    /// Reads the run. If released jobs wait, also reads the nodes.
    fn read(&self) -> JoinHandle<Result<Reading, CliError>> {
        let (client, path) = (Arc::clone(&self.client), self.run.path(""));
        let wants_nodes = !self.screen.json;
        tokio::spawn(async move {
            let Answer { json, value: run } = client.get::<RunAnswer>(&path).await?;
            let nodes = match wants_nodes {
                true => nodes_of(&client, &run).await,
                false => Vec::new(),
            };
            Ok(Reading { run, json, nodes })
        })
    }

    async fn cancel(&self) -> Result<(), CliError> {
        let cancelled = self
            .client
            .post::<Value>(&self.run.path("/cancel"), &Value::Null)
            .await;
        match cancelled {
            // The run has ended by itself, which is about to be read.
            Err(error) if error.has_code("wrong_state") => Ok(()),
            Err(error) => Err(error.hint(format!("to cancel it: {}", self.run.command("cancel")))),
            Ok(_) => Ok(()),
        }
    }

    fn finish(&self, run: &RunAnswer) -> Result<(), CliError> {
        if !self.screen.json {
            return Ok(());
        }
        self.screen.json_line(&serde_json::json!({
            "type": "done", "runId": run.id, "status": run.status.to_string(),
            "processExitCode": super::words::exit_code(run.status),
        }))
    }
}

async fn next_event(events: &mut Option<mpsc::Receiver<StreamEvent>>) -> Option<StreamEvent> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

async fn joined(
    reading: &mut Option<JoinHandle<Result<Reading, CliError>>>,
) -> Result<Reading, CliError> {
    match reading {
        Some(reading) => reading
            .await
            .unwrap_or_else(|error| Err(CliError::failed(format!("following failed: {error}")))),
        None => std::future::pending().await,
    }
}

/// Whether the server gave no answer of its own.
fn is_unreachable(error: &CliError) -> bool {
    let is_busy = |code: &str| code.is_empty() || ["busy", "stopping"].contains(&code);
    error.code == exit::FAILED && error.api.as_ref().is_none_or(|(code, _)| is_busy(code))
}
