//! A subscriber to one job's stream that costs next to nothing: a thousand of them fit beside the server.

use anyhow::Context;
use tokio::io::AsyncReadExt;

use crate::clock;
use crate::lines;
use crate::wire::{Connection, get};

/// What one viewer saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Milliseconds from the writing of each line to its arrival here.
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
    let mut stream = connection.into_stream();
    let (mut seen, mut chunks, mut events) = (Seen::default(), Chunks::default(), Vec::new());
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let read = stream.read(&mut bytes).await?;
        anyhow::ensure!(read > 0, "the stream ended without done");
        chunks.take(&bytes[..read], &mut events)?;
        let now = clock::micros();
        let mut from = 0;
        while let Some(length) = end_of_event(&events[from..]) {
            let event = &events[from..from + length];
            from += length;
            match name_of(event) {
                Some(b"done") => return Ok(seen),
                Some(b"output") => note(&mut seen, event, now)?,
                _ => {}
            }
        }
        events.drain(..from);
    }
}

fn end_of_event(bytes: &[u8]) -> Option<usize> {
    // JSON has no line ends in it, so an event's lines are few and its end is near the front or far away.
    let mut at = 0;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == b'\n')? + 1;
        if bytes.get(at) == Some(&b'\n') {
            return Some(at + 1);
        }
    }
}

/// The event's name, wherever among its lines.
fn name_of(event: &[u8]) -> Option<&[u8]> {
    let mut lines = event.split(|byte| *byte == b'\n').take(3);
    lines.find_map(|line| line.strip_prefix(b"event: "))
}

fn note(seen: &mut Seen, event: &[u8], now: u64) -> anyhow::Result<()> {
    let number = |name: &[u8]| -> anyhow::Result<u64> {
        let at = event
            .windows(name.len())
            .position(|window| window == name)
            .context("an event without its offsets")?;
        let digits = event[at + name.len()..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        Ok(digits.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
    };
    let (offset, end) = (number(b"\"offset\":")?, number(b"\"end\":")?);
    seen.skipped |= offset != seen.end;
    seen.end = end;
    let delay = |stamp: u64| now.saturating_sub(stamp) as f64 / 1_000.0;
    seen.delays.extend(lines::stamps(event).map(delay));
    Ok(())
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
    fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> anyhow::Result<()> {
        while let Some((first, rest)) = bytes.split_first().filter(|_| !self.is_over) {
            if self.left > 0 {
                let (chunk, rest) = bytes.split_at(self.left.min(bytes.len()));
                out.extend_from_slice(chunk);
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
            chunks.take(&answer[..cut], &mut out).expect("good");
            chunks.take(&answer[cut..], &mut out).expect("good");
            assert_eq!(out, b"event: done");
        }
    }

    #[test]
    fn an_event_tells_offsets_and_stamps() {
        let event = format!(
            "event: output\nid: r1\ndata: {{\"stream\":\"stdout\",\"offset\":7,\"end\":30,\"data\":\"@{:020}@xx\"}}\n\n",
            1_000
        );
        assert_eq!(end_of_event(event.as_bytes()), Some(event.len()));
        assert_eq!(name_of(event.as_bytes()), Some(&b"output"[..]));
        assert_eq!(
            name_of(b"id: r1\nevent: done\ndata: {}\n\n"),
            Some(&b"done"[..])
        );
        let mut seen = Seen {
            end: 7,
            ..Seen::default()
        };
        note(&mut seen, event.as_bytes(), 3_000).expect("good");
        assert_eq!((seen.end, seen.skipped), (30, false));
        assert_eq!(seen.delays, [2.0]);
    }
}
