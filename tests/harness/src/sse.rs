//! A reader of a stream of events, strict about its form.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use serde_json::Value;

use super::{PATIENCE, RUNTIME};

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: String,
    pub name: String,
    pub data: Value,
}

enum Item {
    Event(Event),
    Retry(u64),
    Comment,
    /// The stream ended: cleanly, or broken off.
    End(Result<(), String>),
}

/// An open stream. Dropping it closes the connection.
pub struct Sse {
    items: Receiver<Item>,
    reading: tokio::task::JoinHandle<()>,
    pub retry: Option<u64>,
    pub comments: usize,
    /// The id of the last event that was taken.
    pub last_id: String,
}

impl Drop for Sse {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Sse {
    pub(crate) fn read(mut response: reqwest::Response) -> Self {
        let (sender, items) = channel();
        let reading = RUNTIME.spawn(async move {
            let mut parser = Parser::default();
            let end = loop {
                match response.chunk().await {
                    Ok(Some(bytes)) => parser.take(&bytes, &sender),
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error.to_string()),
                }
            };
            let _nobody = sender.send(Item::End(end));
        });
        Self {
            items,
            reading,
            retry: None,
            comments: 0,
            last_id: String::new(),
        }
    }

    /// The next event; `None` when the stream ended cleanly.
    #[track_caller]
    pub fn next_or_end(&mut self) -> Option<Event> {
        self.next_within(PATIENCE)
            .expect("an event, or the end of the stream, in time")
    }

    /// The same with its own patience: `Err` when nothing came.
    #[track_caller]
    pub fn next_within(&mut self, patience: Duration) -> Result<Option<Event>, RecvTimeoutError> {
        let deadline = std::time::Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            match self.items.recv_timeout(left) {
                Ok(Item::Event(event)) => {
                    self.last_id.clone_from(&event.id);
                    return Ok(Some(event));
                }
                Ok(Item::Retry(millis)) => self.retry = Some(millis),
                Ok(Item::Comment) => self.comments += 1,
                Ok(Item::End(Ok(()))) => return Ok(None),
                Ok(Item::End(Err(error))) => panic!("the stream broke off: {error}"),
                Err(RecvTimeoutError::Timeout) => return Err(RecvTimeoutError::Timeout),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }

    #[track_caller]
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator's `next` does not fail a test at the end"
    )]
    pub fn next(&mut self) -> Event {
        self.next_or_end().expect("an event, not the end")
    }

    /// Events up to and with the first one that `is_last` holds for.
    #[track_caller]
    pub fn until(&mut self, is_last: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self.next();
            let last = is_last(&event);
            events.push(event);
            if last {
                return events;
            }
        }
    }

    /// Everything up to `done`, after which the server closes.
    #[track_caller]
    pub fn until_done(&mut self) -> Vec<Event> {
        let events = self.until(|event| event.name == "done");
        assert_eq!(self.next_or_end(), None, "nothing after done");
        events
    }

    /// Waits for a clean end, whatever comes before.
    #[track_caller]
    pub fn ends(&mut self) {
        while self.next_or_end().is_some() {}
    }

    /// Waits for any end: a server that was killed breaks off.
    pub fn breaks(&mut self) {
        while let Ok(item) = self.items.recv_timeout(PATIENCE) {
            match item {
                Item::Event(event) => self.last_id = event.id,
                Item::Retry(_) | Item::Comment => {}
                Item::End(_) => return,
            }
        }
        panic!("the stream neither went on nor ended");
    }

    /// The text of one stream's `output` events up to where there are `bytes` of it.
    #[track_caller]
    pub fn output(&mut self, stream: &str, bytes: u64) -> String {
        let mut text = String::new();
        loop {
            let event = self.next();
            if event.name == "output" && event.data["stream"] == stream {
                text.push_str(event.data["data"].as_str().expect("text"));
                if event.data["end"].as_u64().expect("an end") >= bytes {
                    return text;
                }
            }
        }
    }
}

#[derive(Default)]
struct Parser {
    line: Vec<u8>,
    id: Option<String>,
    name: Option<String>,
    data: Option<String>,
}

impl Parser {
    fn take(&mut self, bytes: &[u8], sender: &Sender<Item>) {
        for byte in bytes {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.take_line(&String::from_utf8(line).expect("UTF-8"), sender);
            } else {
                self.line.push(*byte);
            }
        }
    }

    fn take_line(&mut self, line: &str, sender: &Sender<Item>) {
        if line.is_empty() {
            if let Some(data) = self.data.take() {
                let event = Event {
                    id: self.id.take().expect("every event has an id"),
                    name: self.name.take().expect("every event has a name"),
                    data: serde_json::from_str(&data).expect("JSON"),
                };
                let _nobody = sender.send(Item::Event(event));
            }
            return;
        }
        if line.starts_with(':') {
            let _nobody = sender.send(Item::Comment);
            return;
        }
        let (field, value) = line.split_once(": ").expect("field: value");
        match field {
            "id" => self.id = Some(value.to_owned()),
            "event" => self.name = Some(value.to_owned()),
            "data" => self.data = Some(value.to_owned()),
            "retry" => {
                let millis = value.parse().expect("milliseconds");
                let _nobody = sender.send(Item::Retry(millis));
            }
            other => panic!("no field of a stream of events: {other}"),
        }
    }
}
