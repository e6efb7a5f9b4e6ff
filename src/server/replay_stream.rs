//! A stream that replays bytes that were read from it before, and tracks whether everything written
//! to it has been sent. It discards writes before the first request: they can only be hyper's own
//! reply to bytes that are not HTTP, which is not in the shape of the API's errors.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long a client may leave an answer unread in total, and the rate of reading that extends this
/// time.
const UNREAD_GRACE: Duration = Duration::from_secs(30);
const LEAST_BYTES_A_SECOND: u64 = 4 * 1024;

/// Reads `replay` first, then the stream itself.
pub(super) struct ReplayStream<S> {
    replay: Bytes,
    stream: S,
    state: Arc<StreamState>,
    /// Created when a write waits for the first time.
    unread: Option<Box<Unread>>,
}

/// The state that the stream shares with its connection.
pub(super) struct StreamState {
    is_flushed: AtomicBool,
    /// The number of requests that have arrived.
    requests: AtomicU64,
}

impl StreamState {
    /// Whether everything written has been sent.
    pub(super) fn is_flushed(&self) -> bool {
        self.is_flushed.load(Ordering::Relaxed)
    }

    /// Whether a request has arrived.
    pub(super) fn has_request(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    /// Records that a request has arrived.
    pub(super) fn record_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }
}

impl<S> ReplayStream<S> {
    pub(super) fn new(replay: Bytes, stream: S) -> Self {
        Self {
            replay,
            stream,
            state: Arc::new(StreamState {
                is_flushed: AtomicBool::new(true),
                requests: AtomicU64::new(0),
            }),
            unread: None,
        }
    }

    pub(super) fn state(&self) -> Arc<StreamState> {
        Arc::clone(&self.state)
    }

    /// Fails a write that has waited too long for a client that does not read its answer.
    fn limit_wait<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        match (&written, &mut self.unread) {
            (Poll::Pending, unread) => {
                let answer = self.state.requests.load(Ordering::Relaxed);
                unread
                    .get_or_insert_with(|| Box::new(Unread::new(answer)))
                    .poll(context, answer)
                    .map(Err)
            }
            (Poll::Ready(Ok(done)), Some(unread)) => {
                unread.record_written(bytes(done));
                written
            }
            (Poll::Ready(_), _) => written,
        }
    }

    /// The bytes not replayed yet, and the stream.
    pub(super) fn into_parts(self) -> (Bytes, S) {
        (self.replay, self.stream)
    }
}

/// How long an answer has waited for its client to read. The deadline applies to the whole answer,
/// however many writes it takes.
struct Unread {
    /// The number of the answer on the connection.
    answer: u64,
    /// When the current write began to wait, or when the last one stopped waiting.
    since: Instant,
    is_waiting: bool,
    /// How long earlier writes waited.
    before: Duration,
    /// Bytes written since the first wait.
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
        // An event stream lives for days, so waits of long ago do not count.
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

    fn record_written(&mut self, bytes: usize) {
        self.written += bytes as u64;
        if self.is_waiting {
            let now = Instant::now();
            self.before += now - self.since;
            (self.is_waiting, self.since) = (false, now);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReplayStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.replay.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.replay.len().min(buffer.remaining());
        buffer.put_slice(&self.replay[..length]);
        self.replay.advance(length);
        if self.replay.is_empty() {
            // Releases the buffer that the empty part still refers to.
            self.replay = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReplayStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.state.has_request() {
            return Poll::Ready(Ok(bytes.len()));
        }
        self.state.is_flushed.store(false, Ordering::Relaxed);
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.limit_wait(context, written, |count| *count)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.state.has_request() {
            return Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()));
        }
        self.state.is_flushed.store(false, Ordering::Relaxed);
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.limit_wait(context, written, |count| *count)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes when it has nothing left to write.
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        ready!(self.limit_wait(context, flushed, |()| 0))?;
        self.state.is_flushed.store(true, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.state.has_request() {
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
    async fn replayed_bytes_come_first() {
        let (near, mut far) = tokio::io::duplex(64);
        far.write_all(b"and more").await.expect("writes");
        drop(far);
        let mut stream = ReplayStream::new(Bytes::from_static(b"before "), near);
        let mut first = [0; 3];
        stream.read_exact(&mut first).await.expect("reads");
        assert_eq!(&first, b"bef");
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.expect("reads");
        assert_eq!(rest, "ore and more");
    }

    #[tokio::test]
    async fn unsent_bytes_are_tracked() {
        let (near, mut far) = tokio::io::duplex(4);
        let mut stream = ReplayStream::new(Bytes::new(), near);
        let state = stream.state();
        state.record_request();
        assert!(state.is_flushed());
        assert_eq!(stream.write(b"123456").await.expect("writes"), 4);
        assert!(!state.is_flushed());
        let write = std::future::poll_fn(|context| {
            Poll::Ready(
                Pin::new(&mut stream)
                    .poll_write(context, b"56")
                    .is_pending(),
            )
        });
        assert!(write.await, "there is no room");
        assert!(!state.is_flushed());
        far.read_exact(&mut [0; 4]).await.expect("reads");
        stream.write_all(b"56").await.expect("writes");
        stream.flush().await.expect("flushes");
        assert!(state.is_flushed());
    }
}
