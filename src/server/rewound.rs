//! A stream that gives again what was read from it before, and knows whether all that was written
//! to it is out. It lets nothing out before a request has come: that could only be what hyper
//! itself says to bytes that are none, without our errors' shape.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long a client may leave an answer unread in all, and the rate of reading that earns it more
/// time.
const UNREAD_GRACE: Duration = Duration::from_secs(30);
const LEAST_BYTES_A_SECOND: u64 = 4 * 1024;

/// First `before`, then what comes from the stream itself.
pub(super) struct Rewound<S> {
    before: Bytes,
    stream: S,
    state: Arc<State>,
    /// Made when a write waits for the first time.
    unread: Option<Box<Unread>>,
}

/// What the connection knows of its stream, and the stream of it.
pub(super) struct State {
    is_flushed: AtomicBool,
    /// Requests that have come.
    asked: AtomicU64,
}

impl State {
    /// True while nothing that was written still waits.
    pub(super) fn is_flushed(&self) -> bool {
        self.is_flushed.load(Ordering::Relaxed)
    }

    /// Whether a request has come.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > 0
    }

    /// A request has come.
    pub(super) fn note_asked(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }
}

impl<S> Rewound<S> {
    pub(super) fn new(before: Bytes, stream: S) -> Self {
        Self {
            before,
            stream,
            state: Arc::new(State {
                is_flushed: AtomicBool::new(true),
                asked: AtomicU64::new(0),
            }),
            unread: None,
        }
    }

    pub(super) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state)
    }

    /// Ends a write that waits for a client which does not read its answer.
    fn with_patience<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        match (&written, &mut self.unread) {
            (Poll::Pending, unread) => {
                let answer = self.state.asked.load(Ordering::Relaxed);
                unread
                    .get_or_insert_with(|| Box::new(Unread::new(answer)))
                    .poll(context, answer)
                    .map(Err)
            }
            (Poll::Ready(Ok(done)), Some(unread)) => {
                unread.note_written(bytes(done));
                written
            }
            (Poll::Ready(_), _) => written,
        }
    }

    /// What was not read again yet, and the stream.
    pub(super) fn into_parts(self) -> (Bytes, S) {
        (self.before, self.stream)
    }
}

/// How long an answer has waited for its client to read on, in all: the answer as a whole has a
/// deadline, however it is cut into writes.
struct Unread {
    /// Which answer of the connection this is about.
    answer: u64,
    /// Since when a write waits, or until when the last one did.
    since: Instant,
    is_waiting: bool,
    /// How long earlier writes waited.
    before: Duration,
    /// Bytes that were written since the first wait.
    written: u64,
    sleep: Pin<Box<Sleep>>,
}

impl Unread {
    fn new(answer: u64) -> Self {
        let now = Instant::now();
        Self {
            answer,
            since: now,
            is_waiting: false,
            before: Duration::ZERO,
            written: 0,
            sleep: Box::pin(tokio::time::sleep_until(now + UNREAD_GRACE)),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>, answer: u64) -> Poll<io::Error> {
        let now = Instant::now();
        // An event stream lives for days: what it waited long ago does not count.
        let is_other = self.answer != answer;
        if is_other || (!self.is_waiting && now - self.since > UNREAD_GRACE) {
            (self.answer, self.before, self.written) = (answer, Duration::ZERO, 0);
            self.is_waiting &= !is_other;
        }
        if !self.is_waiting {
            (self.is_waiting, self.since) = (true, now);
        }
        let earned = Duration::from_secs(self.written / LEAST_BYTES_A_SECOND);
        let deadline = self.since + (UNREAD_GRACE + earned).saturating_sub(self.before);
        if self.sleep.deadline() != deadline {
            self.sleep.as_mut().reset(deadline);
        }
        self.sleep.as_mut().poll(context).map(|()| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                "the client does not read its answer",
            )
        })
    }

    fn note_written(&mut self, bytes: usize) {
        self.written += bytes as u64;
        if self.is_waiting {
            let now = Instant::now();
            self.before += now - self.since;
            (self.is_waiting, self.since) = (false, now);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.before.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.before.len().min(buffer.remaining());
        buffer.put_slice(&self.before[..length]);
        self.before.advance(length);
        if self.before.is_empty() {
            // What it is a part of is not held any longer.
            self.before = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.state.is_asked() {
            return Poll::Ready(Ok(bytes.len()));
        }
        self.state.is_flushed.store(false, Ordering::Relaxed);
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.with_patience(context, written, |count| *count)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.state.is_asked() {
            return Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()));
        }
        self.state.is_flushed.store(false, Ordering::Relaxed);
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.with_patience(context, written, |count| *count)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // It is called once nothing is left to write.
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        ready!(self.with_patience(context, flushed, |()| 0))?;
        self.state.is_flushed.store(true, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.state.is_asked() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_was_read_before_comes_first() {
        let (near, mut far) = tokio::io::duplex(64);
        far.write_all(b"and more").await.expect("writes");
        drop(far);
        let mut rewound = Rewound::new(Bytes::from_static(b"before "), near);
        let mut first = [0; 3];
        rewound.read_exact(&mut first).await.expect("reads");
        assert_eq!(&first, b"bef");
        let mut rest = String::new();
        rewound.read_to_string(&mut rest).await.expect("reads");
        assert_eq!(rest, "ore and more");
    }

    #[tokio::test]
    async fn what_still_waits_to_be_written_is_known() {
        let (near, mut far) = tokio::io::duplex(4);
        let mut rewound = Rewound::new(Bytes::new(), near);
        let state = rewound.state();
        state.note_asked();
        assert!(state.is_flushed());
        assert_eq!(rewound.write(b"123456").await.expect("writes"), 4);
        assert!(!state.is_flushed());
        let write = std::future::poll_fn(|context| {
            Poll::Ready(
                Pin::new(&mut rewound)
                    .poll_write(context, b"56")
                    .is_pending(),
            )
        });
        assert!(write.await, "there is no room");
        assert!(!state.is_flushed());
        far.read_exact(&mut [0; 4]).await.expect("reads");
        rewound.write_all(b"56").await.expect("writes");
        rewound.flush().await.expect("flushes");
        assert!(state.is_flushed());
    }
}
