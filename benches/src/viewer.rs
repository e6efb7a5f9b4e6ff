//! A subscriber to a job's stream that needs little processor time: a thousand of them, with 1 GB
//! per second in total, run next to the server. Bytes are parsed where they were read and not
//! copied.

use std::cell::RefCell;
use std::io;

use anyhow::Context;

use crate::clock;
use crate::lines::{self, STAMP_BYTES};
use crate::stage::Viewer;
use crate::wire::{Connection, get_from};

/// Bytes per read.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of an event's line that are kept: the field's name, and the offsets of output.
const KEPT_BYTES: usize = 128;

thread_local! {
    // One buffer for all viewers of a thread stays in the processor's cache.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// What one viewer received.
#[derive(Debug, Default)]
pub(crate) struct Reception {
    /// Milliseconds from the writing of each line to the arrival of its complete event.
    pub(crate) delays: Vec<f64>,
    /// The end offset of stdout.
    pub(crate) end: u64,
    /// Whether bytes were missing.
    pub(crate) has_gap: bool,
}

/// Watches a job until it ends.
pub(crate) async fn watch(server: &str, viewer: &Viewer, id: &str) -> anyhow::Result<Reception> {
    let mut connection = Connection::open(server).await?;
    let path = format!("/api/jobs/{id}/stream?scope=all");
    connection
        .send(&get_from(&viewer.address, &path, &viewer.token))
        .await?;
    let stream = connection.into_stream();
    let (mut chunks, mut events) = (Chunks::default(), Events::default());
    while !events.is_done {
        stream.readable().await?;
        BUFFER.with_borrow_mut(|buffer| -> anyhow::Result<()> {
            match stream.try_read(buffer) {
                Ok(0) => anyhow::bail!("the stream ended without done"),
                Ok(read) => {
                    let now = clock::micros();
                    chunks.take(&buffer[..read], |bytes| events.take(bytes, now))
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                Err(error) => Err(error.into()),
            }
        })?;
    }
    Ok(events.reception)
}

/// Parses events from pieces of any size.
#[derive(Debug, Default)]
struct Events {
    reception: Reception,
    is_done: bool,
    /// The first bytes of the current line.
    line: Vec<u8>,
    /// The first bytes of an incomplete time stamp.
    stamp: Vec<u8>,
    event: Event,
}

/// The current event.
#[derive(Debug, Default)]
struct Event {
    name: Vec<u8>,
    /// Start and end offset of the output.
    range: Option<(u64, u64)>,
    /// When the lines in the event were written.
    stamps: Vec<u64>,
}

impl Events {
    fn take(&mut self, mut bytes: &[u8], now: u64) -> anyhow::Result<()> {
        while !bytes.is_empty() {
            if !self.stamp.is_empty() {
                bytes = self.continue_stamp(bytes);
                continue;
            }
            let Some(at) = memchr::memchr2(b'\n', b'@', bytes) else {
                self.keep(bytes);
                return Ok(());
            };
            let (before, from) = bytes.split_at(at);
            self.keep(before);
            if from[0] == b'@' {
                // In the output of `write-lines`, only time stamps contain this character.
                self.stamp.push(b'@');
            } else {
                self.end_line(now)?;
            }
            bytes = &from[1..];
        }
        Ok(())
    }

    /// Reads more of a time stamp and returns the bytes after it. A stamp that the event's end cuts
    /// does not count.
    fn continue_stamp<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let belongs = |byte: &u8| byte.is_ascii_digit() || *byte == b'@';
        let most = bytes.len().min(STAMP_BYTES - self.stamp.len());
        let length = bytes[..most]
            .iter()
            .take_while(|byte| belongs(byte))
            .count();
        let (rest, after) = bytes.split_at(length);
        self.stamp.extend_from_slice(rest);
        self.keep(rest);
        if self.stamp.len() == STAMP_BYTES || !after.is_empty() {
            self.event.stamps.extend(lines::stamp(&self.stamp));
            self.stamp.clear();
        }
        after
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = KEPT_BYTES.saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..room.min(bytes.len())]);
    }

    fn end_line(&mut self, now: u64) -> anyhow::Result<()> {
        if let Some(name) = self.line.strip_prefix(b"event: ") {
            self.event.name = name.to_vec();
        } else if self.line.starts_with(b"data: {\"stream\":\"stdout\"") {
            self.event.range = Some((
                number(&self.line, b"\"offset\":")?,
                number(&self.line, b"\"end\":")?,
            ));
        } else if self.line.is_empty() {
            self.end_event(now)?;
        }
        self.line.clear();
        Ok(())
    }

    fn end_event(&mut self, now: u64) -> anyhow::Result<()> {
        let event = std::mem::take(&mut self.event);
        match &event.name[..] {
            b"done" => self.is_done = true,
            b"output" => {
                let (offset, end) = event.range.context("output without its offsets")?;
                self.reception.has_gap |= offset != self.reception.end;
                self.reception.end = end;
                let delay = |stamp: u64| now.saturating_sub(stamp) as f64 / 1_000.0;
                self.reception
                    .delays
                    .extend(event.stamps.into_iter().map(delay));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Returns the number after `name` in an event's data.
fn number(line: &[u8], name: &[u8]) -> anyhow::Result<u64> {
    let at = line
        .windows(name.len())
        .position(|window| window == name)
        .context("an event without its offsets")?;
    let digits = line[at + name.len()..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    Ok(digits.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Decodes `Transfer-Encoding: chunked` and skips the head of the response.
#[derive(Debug, Default)]
struct Chunks {
    head_is_over: bool,
    /// The bytes of the head, or of a chunk's first line, received so far.
    line: Vec<u8>,
    left: usize,
    /// Bytes of the line end after a chunk.
    after: usize,
    /// The last chunk, which has no bytes, has arrived.
    is_over: bool,
}

impl Chunks {
    fn take(
        &mut self,
        mut bytes: &[u8],
        mut sink: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        while let Some((first, rest)) = bytes.split_first().filter(|_| !self.is_over) {
            if self.left > 0 {
                let (chunk, rest) = bytes.split_at(self.left.min(bytes.len()));
                sink(chunk)?;
                self.left -= chunk.len();
                self.after = if self.left == 0 { 2 } else { 0 };
                bytes = rest;
                continue;
            }
            bytes = rest;
            if self.after > 0 {
                self.after -= 1;
                continue;
            }
            self.line.push(*first);
            if !self.head_is_over {
                self.head_is_over = self.line.ends_with(b"\r\n\r\n");
                if self.head_is_over {
                    anyhow::ensure!(
                        self.line.starts_with(b"HTTP/1.1 200 "),
                        "the server sent no stream: {}",
                        String::from_utf8_lossy(&self.line)
                    );
                    self.line.clear();
                }
            } else if self.line.ends_with(b"\r\n") {
                let digits = std::str::from_utf8(&self.line)?.trim();
                self.left = usize::from_str_radix(digits, 16)?;
                self.is_over = self.left == 0;
                self.line.clear();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined_wherever_they_are_cut() {
        let answer = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n5\r\nevent\r\n6\r\n: done\r\n0\r\n\r\n";
        for cut in 0..answer.len() {
            let (mut chunks, mut out) = (Chunks::default(), Vec::new());
            for part in [&answer[..cut], &answer[cut..]] {
                let take = |bytes: &[u8]| {
                    out.extend_from_slice(bytes);
                    Ok(())
                };
                chunks.take(part, take).expect("good");
            }
            assert_eq!(out, b"event: done");
        }
    }

    #[test]
    fn events_are_read_wherever_they_are_cut() {
        let output = |offset: u64, end: u64, stamp: u64| {
            format!(
                "id: r1\nevent: output\ndata: {{\"stream\":\"stdout\",\"offset\":{offset},\"end\":{end},\"data\":\"@{stamp:020}@xx\\n\"}}\n\n"
            )
        };
        let (first, second) = (output(0, 7, 1_000), output(7, 30, 2_000));
        let cut = output(30, 40, 4_000).replace("4000@xx", "");
        let text =
            format!("retry: 1000\n\n{first}: alive\n\n{second}{cut}event: done\ndata: {{}}\n\n");
        for cut in 0..text.len() {
            let mut events = Events::default();
            for part in [&text[..cut], &text[cut..]] {
                assert!(!events.is_done);
                events.take(part.as_bytes(), 3_000).expect("good");
            }
            assert!(events.is_done, "cut at {cut}");
            assert_eq!(
                (events.reception.end, events.reception.has_gap),
                (40, false)
            );
            assert_eq!(events.reception.delays, [2.0, 1.0], "cut at {cut}");
        }
        let mut events = Events::default();
        events.take(second.as_bytes(), 3_000).expect("good");
        assert!(
            events.reception.has_gap,
            "the first seven bytes are missing"
        );
    }
}
