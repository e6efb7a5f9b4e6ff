//! The outbox: messages about events, each written in the transaction that makes its event. Another
//! task sends them (`notify`). Also the pings of schedules, which are only sent.

mod event;
mod rule;

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::sync::{Mutex, Notify, mpsc};

pub use event::EventKind;
pub use rule::{Rule, Subject, SubjectNodes};

use crate::clock::Timestamp;
use crate::store::delivery::{self, Delivery, DeliveryState};
use crate::store::{StoreError, Tx, server_state};

/// For how long a message is tried, in milliseconds.
pub const TRIED_FOR_MS: i64 = 3 * 24 * 3_600_000;
/// Pings that may wait. A schedule is due at most once a minute.
const PINGS_MAX: usize = 4_096;

/// The event of a message that tests a channel.
const TEST: &str = "test";

/// What a schedule's ping reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PingKind {
    Start,
    Success,
    Failure,
}

/// A call of a schedule's ping address.
#[derive(Debug)]
pub struct Ping {
    pub schedule_id: String,
    pub kind: PingKind,
}

/// What a message says.
#[derive(Debug)]
pub struct Message {
    /// `None`: a person tests the channel.
    pub event: Option<EventKind>,
    /// The name and the API's form of what the event is about.
    pub object: Option<(&'static str, Value)>,
    /// The reason in words.
    pub reason: String,
    /// The last lines of stderr.
    pub stderr_tail: Option<String>,
    /// The path of a page, such as `/jobs/ID`.
    pub path: String,
}

impl Message {
    fn event_name(&self) -> &'static str {
        self.event.map_or(TEST, EventKind::as_str)
    }
}

/// Writes messages. Cheap to clone.
#[derive(Clone)]
pub struct Outbox(Arc<Shared>);

struct Shared {
    public_url: String,
    /// Wakes the task that sends deliveries.
    sender: Notify,
    /// Wakes the task that watches nodes, after a change of a rule.
    watch: Notify,
    pings: mpsc::Sender<Ping>,
    waiting_pings: Mutex<mpsc::Receiver<Ping>>,
}

impl Outbox {
    /// An outbox whose links begin with `public_url`.
    pub fn new(public_url: &str) -> Self {
        let (pings, waiting) = mpsc::channel(PINGS_MAX);
        Self(Arc::new(Shared {
            public_url: public_url.trim_end_matches('/').to_owned(),
            sender: Notify::new(),
            watch: Notify::new(),
            pings,
            waiting_pings: Mutex::new(waiting),
        }))
    }

    /// The rules that want the event about this subject.
    pub fn rules_for(
        &self,
        tx: &mut dyn Tx,
        event: EventKind,
        subject: &Subject<'_>,
    ) -> Result<Vec<Rule>, StoreError> {
        Rule::wanting(tx, event, subject)
    }

    /// Writes the message that `make` returns to every channel that wants the event. `make` is
    /// called only if there is one.
    pub fn report<E: From<StoreError>>(
        &self,
        tx: &mut dyn Tx,
        event: EventKind,
        subject: &Subject<'_>,
        make: impl FnOnce(&mut dyn Tx) -> Result<Message, E>,
    ) -> Result<(), E> {
        let rules = self.rules_for(tx, event, subject)?;
        let mut channels: Vec<String> = rules.into_iter().map(|rule| rule.channel_id).collect();
        if channels.is_empty() {
            return Ok(());
        }
        channels.sort_unstable();
        channels.dedup();
        let message = make(tx)?;
        Ok(self.write(tx, &channels, &message)?)
    }

    /// Writes a message for each of these channels.
    pub fn write(
        &self,
        tx: &mut dyn Tx,
        channels: &[String],
        message: &Message,
    ) -> Result<(), StoreError> {
        let now = server_state::now(tx)?;
        let body = self.body(message, now).to_string();
        for channel_id in channels {
            let delivery = Delivery {
                id: uuid::Uuid::now_v7().to_string(),
                channel_id: channel_id.clone(),
                event: message.event_name().to_owned(),
                message: body.clone(),
                state: DeliveryState::Pending,
                created_at: now,
                next_attempt_at: Some(now),
                give_up_at: now.plus_millis(TRIED_FOR_MS),
                tries: 0,
                attempts: String::new(),
            };
            delivery::insert(tx, &delivery)?;
        }
        self.wake_sender(tx);
        Ok(())
    }

    /// The body that webhooks get.
    pub fn body(&self, message: &Message, at: Timestamp) -> Value {
        let mut data = Map::new();
        data.insert("event".to_owned(), json!(message.event_name()));
        if let Some((name, object)) = &message.object {
            data.insert((*name).to_owned(), object.clone());
        }
        data.insert("reason".to_owned(), json!(message.reason));
        data.insert("stderrTail".to_owned(), json!(message.stderr_tail));
        let url = format!("{}{}", self.0.public_url, message.path);
        data.insert("url".to_owned(), json!(url));
        let kind = message.event.map_or(TEST.to_owned(), EventKind::type_name);
        json!({"type": kind, "timestamp": at, "data": data})
    }

    /// Lets the sender read what is due once the transaction is durable.
    pub fn wake_sender(&self, tx: &mut dyn Tx) {
        let outbox = self.clone();
        tx.after_commit(Box::new(move || outbox.0.sender.notify_one()));
    }

    /// Waits for new deliveries. Only the one task that sends them may call this.
    pub async fn sender_woken(&self) {
        self.0.sender.notified().await;
    }

    /// Lets the watch of nodes read the rules once the transaction is durable.
    pub fn wake_watch(&self, tx: &mut dyn Tx) {
        let outbox = self.clone();
        tx.after_commit(Box::new(move || outbox.0.watch.notify_one()));
    }

    /// Waits for a change of the rules. Only the one task that watches nodes may call this.
    pub async fn watch_woken(&self) {
        self.0.watch.notified().await;
    }

    /// Calls the schedule's ping address, if it has one, once the transaction is durable.
    pub fn ping(&self, tx: &mut dyn Tx, schedule_id: &str, kind: PingKind) {
        let (outbox, schedule_id) = (self.clone(), schedule_id.to_owned());
        tx.after_commit(Box::new(move || {
            let ping = Ping { schedule_id, kind };
            if outbox.0.pings.try_send(ping).is_err() {
                tracing::warn!("too many pings of schedules wait: one is left out");
            }
        }));
    }

    /// The next ping of a schedule. Only the one task that sends pings may call this.
    pub async fn next_ping(&self) -> Option<Ping> {
        self.0.waiting_pings.lock().await.recv().await
    }
}
