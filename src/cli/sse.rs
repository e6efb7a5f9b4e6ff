//! Reads server-sent events from a response's body.

use bytes::BytesMut;

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: String,
    /// The id for `Last-Event-ID`; empty if the event has none.
    pub(crate) id: String,
    pub(crate) data: String,
}

/// The events of a stream, in order.
pub(crate) struct Events {
    answer: reqwest::Response,
    buffer: Buffer,
}

impl Events {
    pub(crate) fn new(answer: reqwest::Response) -> Self {
        Self {
            answer,
            buffer: Buffer::default(),
        }
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> reqwest::Result<Option<Event>> {
        loop {
            if let Some(event) = self.buffer.take() {
                return Ok(Some(event));
            }
            match self.answer.chunk().await? {
                Some(bytes) => self.buffer.bytes.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }
}

#[derive(Debug, Default)]
struct Buffer {
    bytes: BytesMut,
    /// So many of them are known to hold no event's end, so that a large event isn't looked through
    /// with each piece of it.
    searched: usize,
}

impl Buffer {
    /// Takes a whole event out of what has come so far; comments and events without data are passed
    /// over.
    fn take(&mut self) -> Option<Event> {
        while let Some(end) = self.end() {
            self.searched = 0;
            let block = self.bytes.split_to(end);
            let event = parse(&String::from_utf8_lossy(&block));
            if event.is_some() {
                return event;
            }
        }
        None
    }

    /// Just past the first event that is whole.
    fn end(&mut self) -> Option<usize> {
        let from = self.searched;
        let found = self.bytes[from..]
            .windows(2)
            .position(|pair| pair == b"\n\n");
        // The last byte may be the first half of the end.
        self.searched = self.bytes.len().saturating_sub(1);
        found.map(|at| from + at + 2)
    }
}

fn parse(block: &str) -> Option<Event> {
    let field = |name: &str| {
        block
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let data = field("data")?;
    Some(Event {
        name: field("event").unwrap_or("message").to_owned(),
        id: field("id").unwrap_or_default().to_owned(),
        data: data.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "retry: 1000\n\n: alive\n\nid: 1\nevent: output\ndata: {\"a\":1}\n\nevent: done\ndata: {}\n\n";

    #[test]
    fn events_are_whole_wherever_the_bytes_are_cut() {
        for piece in [1, 2, 3, 7, TEXT.len()] {
            let mut buffer = Buffer::default();
            let mut events = Vec::new();
            for bytes in TEXT.as_bytes().chunks(piece) {
                buffer.bytes.extend_from_slice(bytes);
                while let Some(event) = buffer.take() {
                    events.push(event);
                }
            }
            let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
            assert_eq!(names, ["output", "done"], "in pieces of {piece}");
            assert_eq!(
                (events[0].id.as_str(), events[0].data.as_str()),
                ("1", "{\"a\":1}")
            );
        }
    }
}
