//! A subscriber to one job's stream that costs next to nothing: a thousand of them, with 1 GB a
//! second for all, fit beside the server. What comes is looked at where it was read, and copied
//! nowhere.

use std::cell::RefCell;
use std::io;

use anyhow::Context;

use crate::clock;
use crate::lines::{self, STAMP_BYTES};
use crate::wire::{Connection, get};

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of an event's line that are kept: its field, and of output the offsets.
const KEPT_BYTES: usize = 128;

thread_local! {
    // One for all viewers of a thread: it stays in the processor's cache, which a thousand would
    // not.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// What one viewer saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Milliseconds from the writing of each line to the arrival of its whole event here.
    pub(crate) delays: Vec<f64>,
    /// How far stdout was told without a hole.
    pub(crate) end: u64,
    /// Whether there was a hole.
    pub(crate) skipped: bool,
}

/// Watches a job to its end.
pub(crate) async fn watch(address: &str, token: &str, id: &str) -> anyhow::Result<Seen> {
    let mut connection = Connection::open(address).await?;
    connection
        .send(&get(&format!("/api/jobs/{id}/stream"), token))
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
    Ok(events.seen)
}

/// Reads events, wherever they are cut.
#[derive(Debug, Default)]
struct Events {
    seen: Seen,
    is_done: bool,
    /// The first bytes of the line that is being read.
    line: Vec<u8>,
    /// A stamp's first bytes, while the rest has not come.
    stamp: Vec<u8>,
    event: Event,
}

/// The event that is being read.
#[derive(Debug, Default)]
struct Event {
    name: Vec<u8>,
    /// Where its output begins and ends.
    range: Option<(u64, u64)>,
    /// When the lines in it were written.
    stamps: Vec<u64>,
}

impl Events {
    fn take(&mut self, mut bytes: &[u8], now: u64) -> anyhow::Result<()> {
        while !bytes.is_empty() {
            if !self.stamp.is_empty() {
                bytes = self.go_on_with_stamp(bytes);
                continue;
            }
            let Some(at) = memchr::memchr2(b'\n', b'@', bytes) else {
                self.keep(bytes);
                return Ok(());
            };
            let (before, from) = bytes.split_at(at);
            self.keep(before);
            if from[0] == b'@' {
                // Stamps alone have one, in what `write-lines` writes.
                self.stamp.push(b'@');
            } else {
                self.end_line(now)?;
            }
            bytes = &from[1..];
        }
        Ok(())
    }

    /// Reads a stamp on, and gives what follows it. One that is cut by its event's end is none.
    fn go_on_with_stamp<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
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
                self.seen.skipped |= offset != self.seen.end;
                self.seen.end = end;
                let delay = |stamp: u64| now.saturating_sub(stamp) as f64 / 1_000.0;
                self.seen.delays.extend(event.stamps.into_iter().map(delay));
            }
            _ => {}
        }
        Ok(())
    }
}

/// The number that follows `name` in an event's data.
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

/// Undoes `Transfer-Encoding: chunked`, and passes over the head of the answer.
#[derive(Debug, Default)]
struct Chunks {
    head_is_over: bool,
    /// The bytes of the head, or of a chunk's first line, as far as they came.
    line: Vec<u8>,
    left: usize,
    /// Bytes of the line end after a chunk.
    after: usize,
    /// The chunk without bytes has come, which is the last.
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
                    anyhow::ensure!(self.line.starts_with(b"HTTP/1.1 200 "), "no stream came");
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
            assert_eq!((events.seen.end, events.seen.skipped), (40, false));
            assert_eq!(events.seen.delays, [2.0, 1.0], "cut at {cut}");
        }
        let mut events = Events::default();
        events.take(second.as_bytes(), 3_000).expect("good");
        assert!(events.seen.skipped, "the first seven bytes are not there");
    }
}
