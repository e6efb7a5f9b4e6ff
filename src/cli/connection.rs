//! A job's stream across broken connections: it comes back by itself and goes on right after the
//! last event.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::client::{CallError, Client, lost};
use super::error::CliError;
use crate::cli::sse::Event;

/// Events that may wait for a slow standard output.
const WAITING: usize = 16;
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MOST: Duration = Duration::from_secs(5);
/// A server that gave no sign for so long is given up.
const GIVE_UP: Duration = Duration::from_secs(600);

/// What comes.
pub(super) enum News {
    Event(Event),
    /// The connection broke; it is tried again.
    Lost(String),
    /// It is there again.
    Back,
    /// It is of no use to try again.
    Failed(CliError),
}

/// Opens the stream at `path` and keeps it open until its `done`. A `patient` one doesn't mind that
/// the very first try fails.
pub(super) fn open(client: Arc<Client>, path: String, patient: bool) -> mpsc::Receiver<News> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let connection = Connection {
        client,
        path,
        patient,
        last_id: None,
        news: sender,
    };
    tokio::spawn(async move {
        // The follower has gone, or knows the end.
        let _ended = connection.keep().await;
    });
    receiver
}

struct Connection {
    client: Arc<Client>,
    path: String,
    patient: bool,
    last_id: Option<String>,
    news: mpsc::Sender<News>,
}

/// Nothing more is to be done.
struct Ended;

impl Connection {
    async fn keep(mut self) -> Result<(), Ended> {
        let mut heard = Instant::now();
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
                        self.tell(News::Back).await?;
                    }
                    let words = self.read(events).await?;
                    heard = Instant::now();
                    words
                }
                Err(error) if self.patient && error.is_passing() => self.words(error),
                Err(error) => return self.fail(self.client.explain(error)).await,
            };
            if heard.elapsed() > GIVE_UP {
                let minutes = GIVE_UP.as_secs() / 60;
                let error = CliError::failed(format!(
                    "no response from {} for {minutes} minutes: {words}",
                    self.client.url()
                ));
                return self.fail(error).await;
            }
            if !std::mem::replace(&mut is_lost, true) {
                self.tell(News::Lost(words)).await?;
            }
            if self.last_id != before {
                pause = RETRY_FIRST;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MOST);
        }
    }

    /// Passes events on until `done`; what broke the stream otherwise.
    async fn read(&mut self, mut events: crate::cli::sse::Events) -> Result<String, Ended> {
        loop {
            match events.next().await {
                Ok(Some(event)) => {
                    if !event.id.is_empty() {
                        self.last_id = Some(event.id.clone());
                    }
                    let is_done = event.name == "done";
                    self.tell(News::Event(event)).await?;
                    if is_done {
                        return Err(Ended);
                    }
                }
                Ok(None) => return Ok("the server closed the connection".to_owned()),
                Err(error) => return Ok(self.words(lost(&error))),
            }
        }
    }

    fn words(&self, error: CallError) -> String {
        match error {
            CallError::Lost { words, .. } => words,
            CallError::Refused { .. } | CallError::Foreign(_) => self.client.explain(error).message,
        }
    }

    async fn tell(&self, news: News) -> Result<(), Ended> {
        self.news.send(news).await.map_err(|_| Ended)
    }

    async fn fail(&self, error: CliError) -> Result<(), Ended> {
        self.tell(News::Failed(error)).await?;
        Err(Ended)
    }
}
