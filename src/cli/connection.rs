//! A job's event stream. Reconnects by itself and resumes after the last event.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::client::{CallError, Client, connection_error};
use super::error::CliError;
use crate::cli::sse::Event;

/// Events that may be queued for a slow standard output.
const WAITING: usize = 16;
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long to try to reconnect.
const GIVE_UP: Duration = Duration::from_secs(600);

/// What the stream delivers.
pub(super) enum StreamEvent {
    Event(Event),
    /// The connection broke; reconnecting.
    Disconnected(String),
    Reconnected,
    /// The stream failed, and a retry is useless.
    Failed(CliError),
}

/// Opens the stream at `path` and keeps it open until its `done`. If `patient`, the very first
/// attempt is also retried.
pub(super) fn open(
    client: Arc<Client>,
    path: String,
    patient: bool,
) -> mpsc::Receiver<StreamEvent> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let connection = Connection {
        client,
        path,
        patient,
        last_id: None,
        events_out: sender,
    };
    tokio::spawn(async move {
        // The receiver is gone, or has received the end.
        let _ended = connection.run().await;
    });
    receiver
}

struct Connection {
    client: Arc<Client>,
    path: String,
    patient: bool,
    last_id: Option<String>,
    events_out: mpsc::Sender<StreamEvent>,
}

/// The receiver is gone, or the stream is complete.
struct Finished;

impl Connection {
    async fn run(mut self) -> Result<(), Finished> {
        let mut last_contact = Instant::now();
        let mut pause = RETRY_FIRST;
        let mut is_lost = false;
        loop {
            let before = self.last_id.clone();
            let words = match self
                .client
                .events(&self.path, self.last_id.as_deref())
                .await
            {
                Ok(events) => {
                    self.patient = true;
                    if std::mem::take(&mut is_lost) {
                        self.send(StreamEvent::Reconnected).await?;
                    }
                    let words = self.read(events).await?;
                    last_contact = Instant::now();
                    words
                }
                Err(error) if self.patient && error.is_transient() => self.describe(error),
                Err(error) => return self.fail(self.client.explain(error)).await,
            };
            if last_contact.elapsed() > GIVE_UP {
                let minutes = GIVE_UP.as_secs() / 60;
                let error = CliError::failed(format!(
                    "no response from {} for {minutes} minutes: {words}",
                    self.client.url()
                ));
                return self.fail(error).await;
            }
            if !std::mem::replace(&mut is_lost, true) {
                self.send(StreamEvent::Disconnected(words)).await?;
            }
            if self.last_id != before {
                pause = RETRY_FIRST;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// Passes events on until `done`. Returns why the stream broke.
    async fn read(&mut self, mut events: crate::cli::sse::Events) -> Result<String, Finished> {
        loop {
            match events.next().await {
                Ok(Some(event)) => {
                    if !event.id.is_empty() {
                        self.last_id = Some(event.id.clone());
                    }
                    let is_done = event.name == "done";
                    self.send(StreamEvent::Event(event)).await?;
                    if is_done {
                        return Err(Finished);
                    }
                }
                Ok(None) => return Ok("the server closed the connection".to_owned()),
                Err(error) => return Ok(self.describe(connection_error(&error))),
            }
        }
    }

    fn describe(&self, error: CallError) -> String {
        match error {
            CallError::Connection { words, .. } => words,
            CallError::Refused { .. } | CallError::Protocol(_) => {
                self.client.explain(error).message
            }
        }
    }

    async fn send(&self, events_out: StreamEvent) -> Result<(), Finished> {
        self.events_out.send(events_out).await.map_err(|_| Finished)
    }

    async fn fail(&self, error: CliError) -> Result<(), Finished> {
        self.send(StreamEvent::Failed(error)).await?;
        Err(Finished)
    }
}
