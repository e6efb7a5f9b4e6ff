//! One connection. While its request is suspended, the connection keeps only the stream, the
//! request's head and the wait: no buffer, no parser and nothing of the router. After the wait the
//! head is parsed again, as if it had just arrived. See decision 0012.

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

use super::connection_state::ConnectionState;
use super::head_timer::HeadTimer;
use super::replay_stream::ReplayStream;
use super::responder::Responder;
use super::{refusal, stopped};
use crate::auth::PeerAddress;
use crate::http::{ApiError, ResumedCall, Wait};

/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes of a request's head, and of what is read ahead.
const BUFFER_BYTES: usize = 16 * 1024;

/// A connection whose request is suspended.
struct SuspendedConnection<S> {
    stream: S,
    /// The request's head and the bytes after it.
    bytes: Bytes,
    wait: Wait,
}

/// How a suspension ended.
enum WaitEnd {
    /// The request must be handled again.
    Wake,
    /// The client sent another byte.
    ClientSent(u8),
    ClientGone,
}

/// Serves one connection to its end.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: SocketAddr,
    responder: Responder,
    stopping: watch::Receiver<bool>,
) {
    let mut next_stream = ReplayStream::new(Bytes::new(), stream);
    let mut state = ConnectionState::new(None, true);
    loop {
        // Boxed, so that the future of a suspended connection holds only what the connection keeps.
        let serving = serve_until_suspended(
            next_stream,
            state,
            peer,
            responder.clone(),
            stopping.clone(),
        );
        let Some(mut suspended) = Box::pin(serving).await else {
            return;
        };
        let wait_end = suspended.wait().await;
        let resumed = Some(ResumedCall {
            deadline: suspended.wait.deadline,
        });
        (next_stream, state) = match wait_end {
            WaitEnd::Wake => (
                ReplayStream::new(suspended.bytes, suspended.stream),
                ConnectionState::new(resumed, true),
            ),
            WaitEnd::ClientSent(byte) => {
                let bytes = [&suspended.bytes, &[byte][..]].concat();
                // Another request may follow, so this one waits in its handler.
                (
                    ReplayStream::new(bytes.into(), suspended.stream),
                    ConnectionState::new(resumed, false),
                )
            }
            WaitEnd::ClientGone => return,
        };
    }
}

impl<S: AsyncRead + Unpin> SuspendedConnection<S> {
    async fn wait(&mut self) -> WaitEnd {
        std::future::poll_fn(|context| {
            if self.wait.wake.as_mut().poll(context).is_ready() {
                return Poll::Ready(WaitEnd::Wake);
            }
            let mut byte = [0];
            let mut buffer = ReadBuf::new(&mut byte);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(())) => Poll::Ready(match buffer.filled() {
                    [byte, ..] => WaitEnd::ClientSent(*byte),
                    [] => WaitEnd::ClientGone,
                }),
                Poll::Ready(Err(_)) => Poll::Ready(WaitEnd::ClientGone),
            }
        })
        .await
    }
}

/// Serves requests until one is suspended. `None` if the connection has ended.
async fn serve_until_suspended<S: AsyncRead + AsyncWrite + Unpin>(
    stream: ReplayStream<S>,
    connection_state: ConnectionState,
    peer: SocketAddr,
    responder: Responder,
    stopping: watch::Receiver<bool>,
) -> Option<SuspendedConnection<S>> {
    let stream_state = stream.state();
    let service_stream_state = Arc::clone(&stream_state);
    let connection_state = Arc::new(connection_state);
    let service_state = Arc::clone(&connection_state);
    let service = service_fn(move |mut request: Request<Incoming>| {
        service_stream_state.record_request();
        request.extensions_mut().insert(PeerAddress(peer));
        let response = responder
            .clone()
            .respond(Arc::clone(&service_state), request);
        async { Ok::<_, Infallible>(response.await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(HeadTimer::new(Arc::clone(&stream_state)))
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES);
    let mut connection = http.serve_connection(TokioIo::new(stream), service);
    let mut stop = std::pin::pin!(stopped(stopping));
    let mut is_stopping = false;
    let ended = std::future::poll_fn(|context| {
        loop {
            // Polled before the stop, because requests that arrived earlier must be answered.
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll(context) {
                return Poll::Ready(Some(ended));
            }
            // Not before hyper has written everything, which would be lost otherwise.
            if connection_state.is_suspended() && stream_state.is_flushed() {
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
        Some(Ok(())) if stream_state.has_request() => None,
        Some(ended) => {
            if let Err(error) = &ended {
                // Logged at debug level only: clients disconnect all the time.
                tracing::debug!(%error, %peer, "connection failed");
            }
            if !stream_state.has_request() {
                let (_, mut stream) = connection.into_parts().io.into_inner().into_parts();
                end_without_request(&mut stream, ended.err()).await;
            }
            None
        }
        None => {
            let parts = connection.into_parts();
            let (unread, stream) = parts.io.into_inner().into_parts();
            let (head, wait) = connection_state.take_suspended()?;
            let bytes = if parts.read_buf.is_empty() && unread.is_empty() {
                head
            } else {
                [head, parts.read_buf, unread].concat().into()
            };
            Some(SuspendedConnection {
                stream,
                bytes,
                wait,
            })
        }
    }
}

/// Ends a connection on which no request arrived. If its bytes were no valid request, the client
/// receives the API's error.
async fn end_without_request<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    error: Option<hyper::Error>,
) {
    let ended = match error {
        Some(error) if error.is_parse_too_large() => refusal::send(
            stream,
            ApiError::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head_too_large",
                "The request's URL and headers are too large; the limit is 16 KiB and 100 headers",
            ),
        )
        .await,
        Some(error) if error.is_parse() => {
            refusal::send(
                stream,
                ApiError::bad_request(
                    "bad_request",
                    "This is not a valid HTTP/1.1 request; check its first line and its headers",
                ),
            )
            .await
        }
        Some(_) | None => stream.shutdown().await,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "the client disconnected before it was answered");
    }
}
