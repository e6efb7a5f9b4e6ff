//! Server-sent events: their encoding, and the response that carries them.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Interval of the comments that keep proxies from closing a silent stream.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Events queued for a slow client. When the queue is full, only the client's own task waits.
pub(in crate::jobs) const CLIENT_QUEUE: usize = 2;

/// The first bytes of every stream: how soon a client reconnects.
pub(in crate::jobs) const OPENING: Bytes = Bytes::from_static(b"retry: 1000\n\n");
/// The comment that a silent stream sends.
const ALIVE: Bytes = Bytes::from_static(b": alive\n\n");

/// The client has disconnected, or its stream is complete.
pub(in crate::jobs) struct StreamClosed;

/// Encodes one event.
pub(in crate::jobs) fn encode(event: &str, id: &str, data: &impl Serialize) -> Bytes {
    let json = serde_json::to_vec(data).expect("events are plain structs");
    let mut bytes = BytesMut::with_capacity(json.len() + event.len() + id.len() + 32);
    for part in [
        b"id: ",
        id.as_bytes(),
        b"\nevent: ",
        event.as_bytes(),
        b"\ndata: ",
        &json,
        b"\n\n",
    ] {
        bytes.extend_from_slice(part);
    }
    bytes.freeze()
}

/// A response that streams the events from `receiver`.
pub(in crate::jobs) fn event_stream(receiver: mpsc::Receiver<Bytes>) -> Response {
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver
            .recv()
            .await
            .map(|bytes| (Ok::<_, std::convert::Infallible>(bytes), receiver))
    });
    let mut response = Response::new(Body::from_stream(stream));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store"),
    );
    // Keeps nginx from buffering events.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The id of the last event that a reconnecting client received.
pub(in crate::jobs) fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
}

/// Sends keepalive comments until the client disconnects.
pub(in crate::jobs) async fn keep_alive(client: &mpsc::Sender<Bytes>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(KEEPALIVE) => {}
            () = client.closed() => return,
        }
        // With a full queue the stream is not silent, so that the comment may be dropped.
        if let Err(TrySendError::Closed(_)) = client.try_send(ALIVE) {
            return;
        }
    }
}
