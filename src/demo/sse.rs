//! Reads server-sent events from an answer's body.

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) data: String,
}

/// The events of a stream, in order.
pub(super) struct Events {
    answer: reqwest::Response,
    buffer: Buffer,
}

impl Events {
    pub(super) fn new(answer: reqwest::Response) -> Self {
        Self {
            answer,
            buffer: Buffer::default(),
        }
    }

    /// The next event; `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Event>> {
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
    bytes: Vec<u8>,
}

impl Buffer {
    /// Takes a whole event out of what has come so far; comments and events without data are passed over.
    fn take(&mut self) -> Option<Event> {
        while let Some(end) = self.bytes.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.bytes.drain(..end + 2).collect();
            let event = parse(&String::from_utf8_lossy(&block));
            if event.is_some() {
                return event;
            }
        }
        None
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
        data: data.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_wherever_the_bytes_are_cut() {
        let text = "retry: 1000\n\n: alive\n\nid: 1\nevent: output\ndata: {\"a\":1}\n\nevent: done\ndata: {}\n\n";
        let mut buffer = Buffer::default();
        let mut events = Vec::new();
        for byte in text.bytes() {
            buffer.bytes.push(byte);
            events.extend(buffer.take());
        }
        let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names, ["output", "done"]);
        assert_eq!(events[0].data, "{\"a\":1}");
    }
}
