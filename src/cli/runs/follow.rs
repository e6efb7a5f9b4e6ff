//! Follows a run to its end. The run is read once; the events of its stream keep it up to date.
//! Only without a stream is it read again and again.

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

/// How often a terminal is drawn while events arrive.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// How often a run is read without a stream. Reads of a large run are further apart.
const READ_EVERY: Duration = Duration::from_secs(2);
/// How long after a failed read the next one follows.
const RETRY_EVERY: Duration = Duration::from_secs(2);
/// How long to try to reach the server.
const GIVE_UP: Duration = Duration::from_secs(600);

pub(super) struct FollowRun {
    pub(super) client: Arc<Client>,
    pub(super) screen: Screen,
    pub(super) run: OneRun,
    /// The run is known to exist, so an unreachable server is retried from the start.
    pub(super) patient: bool,
}

/// What the user sees.
enum View {
    Board(Box<Board>),
    Changes(Changes),
}

impl View {
    fn note(&mut self, text: &str) -> Result<(), CliError> {
        if let Self::Board(board) = self {
            board.clear()?;
        }
        print_note(text);
        Ok(())
    }
}

/// Where the news come from.
enum Source {
    /// Nothing is known yet.
    FirstRead,
    Stream(mpsc::Receiver<StreamEvent>),
    /// There is no stream.
    Reads,
}

impl Source {
    async fn next(&mut self) -> Option<StreamEvent> {
        match self {
            Self::Stream(events) => events.recv().await,
            Self::FirstRead | Self::Reads => std::future::pending().await,
        }
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
        let (mut source, mut known) = (Source::FirstRead, None::<Reading>);
        let mut reading: Option<JoinHandle<Result<Reading, CliError>>> = None;
        let (mut began, mut last_contact) = (Instant::now(), Instant::now());
        // When to read the run, and when to draw it.
        let (mut read_at, mut draw_at) = (Some(Instant::now()), None::<Instant>);
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
                event = source.next() => match event {
                    Some(StreamEvent::Event(event)) => {
                        let Some(run) = &mut known else { continue };
                        let now = Instant::now();
                        match run.apply(&event) {
                            Some(false) => continue,
                            Some(true) => {}
                            None => read_at = Some(now),
                        }
                        // The end is read once more, so that the summary is the server's own.
                        if has_ended(&run.run) {
                            read_at = Some(now);
                        }
                        match &mut view {
                            View::Changes(changes) => changes.print(run)?,
                            View::Board(_) => {
                                draw_at.get_or_insert(now + DRAW_EVERY);
                            }
                        }
                    }
                    Some(StreamEvent::Reconnected) => {}
                    Some(StreamEvent::Disconnected(why)) => {
                        view.note(&format!("Connection lost ({why}). The run continues; reconnecting."))?;
                    }
                    // The reads go on, and report what is wrong.
                    Some(StreamEvent::Failed(_)) | None => {
                        source = Source::Reads;
                        read_at = Some(Instant::now());
                    }
                },
                () = at(read_at), if reading.is_none() => {
                    (began, read_at) = (Instant::now(), None);
                    reading = Some(self.read());
                }
                result = joined(&mut reading) => {
                    reading = None;
                    let now = Instant::now();
                    let read = match result {
                        Ok(read) => read,
                        Err(error)
                            if is_unreachable(&error)
                                && (self.patient || known.is_some())
                                && last_contact.elapsed() < GIVE_UP =>
                        {
                            read_at = Some(now + RETRY_EVERY);
                            continue;
                        }
                        Err(error) => return Err(error),
                    };
                    last_contact = now;
                    match &mut view {
                        View::Board(board) => board.draw(&read)?,
                        View::Changes(changes) => changes.print(&read)?,
                    }
                    if has_ended(&read.run) {
                        self.finish(&read.run)?;
                        return Ok(Some(read.run));
                    }
                    known = Some(read);
                    match source {
                        // Opened only now: what it sends is never older than what was read.
                        Source::FirstRead => source = Source::Stream(self.open_stream()),
                        Source::Stream(_) => {}
                        Source::Reads => {
                            read_at = Some(now + READ_EVERY.max(5 * (now - began)));
                        }
                    }
                }
                () = at(draw_at) => {
                    draw_at = None;
                    draw(&mut view, known.as_ref())?;
                }
                _ = tick.tick() => {
                    self.screen.check_reader()?;
                    draw(&mut view, known.as_ref())?;
                }
            }
        }
    }

    fn open_stream(&self) -> mpsc::Receiver<StreamEvent> {
        let path = format!(
            "/api/events?run={}{}",
            segment(&self.run.id),
            self.run.scope.query().replace('?', "&")
        );
        connection::open(Arc::clone(&self.client), path, true)
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

/// Whether the run and its jobs have ended.
fn has_ended(run: &RunAnswer) -> bool {
    run.status.is_final() && run.counts.running == 0
}

fn draw(view: &mut View, run: Option<&Reading>) -> Result<(), CliError> {
    match (view, run) {
        (View::Board(board), Some(run)) => board.draw(run),
        (View::Board(_) | View::Changes(_), _) => Ok(()),
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
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
