//! What is left of a request's body when its answer is ready. A server that closes over unread
//! bytes resets the connection, and the client may never see why it was refused: so the rest is
//! read and thrown away, within bounds.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// Bytes that are thrown away at the most; a client that sends more is cut off.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long the rest may take in all.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request's body that two may read: the handler first, then whoever throws away the rest.
#[derive(Clone)]
pub(crate) struct Drainable(Arc<Mutex<Incoming>>);

impl Drainable {
    pub(crate) fn new(body: Incoming) -> Self {
        Self(Arc::new(Mutex::new(body)))
    }

    /// Reads what the handler left.
    pub(crate) async fn drain(mut self) {
        let rest = async {
            let mut thrown_away = 0;
            while let Some(Ok(frame)) = self.frame().await {
                thrown_away += frame.data_ref().map_or(0, Bytes::len);
                if thrown_away > BYTES_MAX {
                    return;
                }
            }
        };
        // Past the patience the connection is closed with bytes unread, as it would be without all
        // this.
        let _in_time = tokio::time::timeout(PATIENCE, rest).await;
    }
}

impl Body for Drainable {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .size_hint()
    }
}
