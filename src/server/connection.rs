//! One connection. While its request is set aside nothing is kept of it but the stream, the
//! request's head and the wait: no buffer, no parser, nothing of the router. After the wait the
//! head is read once more, as if it had just come.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;

use super::answer::Inside;
use super::head_timer::HeadTimer;
use super::line::Line;
use super::rewound::Rewound;
use super::{refusal, stopped};
use crate::auth::PeerAddress;
use crate::http::{ApiError, AskedAgain, Wait};

/// How long a client may take over a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request's head at the most, and of what is read ahead.
const BUFFER_BYTES: usize = 16 * 1024;

/// A connection whose request is set aside.
struct Aside<S> {
    stream: S,
    /// The request's head, and whatever came after it.
    bytes: Bytes,
    wait: Wait,
}

/// How a wait ended.
enum Over {
    /// It is time to ask again.
    AskAgain,
    /// The client sent something more.
    Spoke(u8),
    Gone,
}

/// Serves one connection to its end.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: SocketAddr,
    inside: Inside,
    stopping: watch::Receiver<bool>,
) {
    let mut served = Rewound::new(Bytes::new(), stream);
    let mut line = Line::new(None, true);
    loop {
        // Apart, so that a connection that waits is no larger than what it keeps.
        let serving = serve_until_set_aside(served, line, peer, inside.clone(), stopping.clone());
        let Some(mut aside) = Box::pin(serving).await else {
            return;
        };
        let over = aside.over().await;
        let again = Some(AskedAgain(aside.wait.deadline));
        (served, line) = match over {
            Over::AskAgain => (
                Rewound::new(aside.bytes, aside.stream),
                Line::new(again, true),
            ),
            Over::Spoke(byte) => {
                let bytes = [&aside.bytes, &[byte][..]].concat();
                // It waits as any request does on which others follow.
                (
                    Rewound::new(bytes.into(), aside.stream),
                    Line::new(again, false),
                )
            }
            Over::Gone => return,
        };
    }
}

impl<S: AsyncRead + Unpin> Aside<S> {
    async fn over(&mut self) -> Over {
        std::future::poll_fn(|context| {
            if self.wait.wake.as_mut().poll(context).is_ready() {
                return Poll::Ready(Over::AskAgain);
            }
            let mut byte = [0];
            let mut buffer = ReadBuf::new(&mut byte);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(())) => Poll::Ready(match buffer.filled() {
                    [byte, ..] => Over::Spoke(*byte),
                    [] => Over::Gone,
                }),
                Poll::Ready(Err(_)) => Poll::Ready(Over::Gone),
            }
        })
        .await
    }
}

/// `None`: the connection has ended.
async fn serve_until_set_aside<S: AsyncRead + AsyncWrite + Unpin>(
    stream: Rewound<S>,
    line: Line,
    peer: SocketAddr,
    inside: Inside,
    stopping: watch::Receiver<bool>,
) -> Option<Aside<S>> {
    let state = stream.state();
    let of_stream = Arc::clone(&state);
    let line = Arc::new(line);
    let of_service = Arc::clone(&line);
    let service = service_fn(move |mut request: Request<Incoming>| {
        of_stream.note_asked();
        request.extensions_mut().insert(PeerAddress(peer));
        let answer = inside.clone().answer(Arc::clone(&of_service), request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(HeadTimer::new(Arc::clone(&state)))
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES);
    let mut connection = http.serve_connection(TokioIo::new(stream), service);
    let mut stop = std::pin::pin!(stopped(stopping));
    let mut is_stopping = false;
    let ended = std::future::poll_fn(|context| {
        loop {
            // First, as what was asked before the stop is to be answered.
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll(context) {
                return Poll::Ready(Some(ended));
            }
            // What hyper still has to write would be lost with it.
            if line.is_set_aside() && state.is_flushed() {
                return Poll::Ready(None);
            }
            if is_stopping || stop.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            is_stopping = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
    });
    match ended.await {
        Some(Ok(())) if state.is_asked() => None,
        Some(ended) => {
            if let Err(error) = &ended {
                // Clients break off all the time.
                tracing::debug!(%error, %peer, "a connection ended badly");
            }
            if !state.is_asked() {
                let (_, mut stream) = connection.into_parts().io.into_inner().into_parts();
                end_unasked(&mut stream, ended.err()).await;
            }
            None
        }
        None => {
            let parts = connection.into_parts();
            let (unread, stream) = parts.io.into_inner().into_parts();
            let (head, wait) = line.take_set_aside()?;
            let bytes = if parts.read_buf.is_empty() && unread.is_empty() {
                head
            } else {
                [head, parts.read_buf, unread].concat().into()
            };
            Some(Aside {
                stream,
                bytes,
                wait,
            })
        }
    }
}

/// Ends a connection on which no request came; where that is as nothing could be read as one, the
/// client is told so.
async fn end_unasked<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    error: Option<hyper::Error>,
) {
    let ended = match error {
        Some(error) if error.is_parse_too_large() => {
            refusal::send(stream, ApiError::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head_too_large",
                "The address and the headers of this request are too long; the limit is 16 KiB and 100 headers",
            ))
            .await
        }
        Some(error) if error.is_parse() => {
            refusal::send(stream, ApiError::bad_request(
                "bad_request",
                "This is no HTTP/1.1 request that could be read; look at its first line and its headers",
            ))
            .await
        }
        Some(_) | None => stream.shutdown().await,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a client was gone before it could be answered");
    }
}
