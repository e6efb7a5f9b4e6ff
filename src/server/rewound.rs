//! A stream that gives again what was read from it before, and knows whether all that was written to it is out. It lets nothing
//! out before a request has come: that could only be what hyper itself says to bytes that are none, without our errors' shape.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// First `before`, then what comes from the stream itself.
pub(super) struct Rewound<S> {
    before: Bytes,
    stream: S,
    state: Arc<State>,
}

/// What the connection knows of its stream, and the stream of it.
pub(super) struct State {
    is_flushed: AtomicBool,
    is_asked: AtomicBool,
}

impl State {
    /// True while nothing that was written still waits.
    pub(super) fn is_flushed(&self) -> bool {
        self.is_flushed.load(Ordering::Relaxed)
    }

    /// Whether a request has come.
    pub(super) fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed)
    }

    /// A request has come.
    pub(super) fn note_asked(&self) {
        self.is_asked.store(true, Ordering::Relaxed);
    }
}

impl<S> Rewound<S> {
    pub(super) fn new(before: Bytes, stream: S) -> Self {
        Self {
            before,
            stream,
            state: Arc::new(State {
                is_flushed: AtomicBool::new(true),
                is_asked: AtomicBool::new(false),
            }),
        }
    }

    pub(super) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state)
    }

    /// What was not read again yet, and the stream.
    pub(super) fn into_parts(self) -> (Bytes, S) {
        (self.before, self.stream)
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
        Pin::new(&mut self.stream).poll_write(context, bytes)
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
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // It is called once nothing is left to write.
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
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
