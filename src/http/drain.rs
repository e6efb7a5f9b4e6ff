//! Reads the rest of a request's body while its answer is sent. If the server closes a connection
//! with unread bytes, the connection is reset and the client may never see why it was refused. So
//! the rest is read and discarded, within limits.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// The most bytes that are discarded; a client that sends more is cut off.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long reading the rest may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A request's body that the handler reads first, and [`DrainableBody::drain`] afterwards.
#[derive(Clone)]
pub(crate) struct DrainableBody(Arc<Mutex<Incoming>>);

impl DrainableBody {
    pub(crate) fn new(body: Incoming) -> Self {
        Self(Arc::new(Mutex::new(body)))
    }

    /// Reads and discards the bytes that the handler left.
    pub(crate) async fn drain(mut self) {
        let rest = async {
            let mut discarded = 0;
            while let Some(Ok(frame)) = self.frame().await {
                discarded += frame.data_ref().map_or(0, Bytes::len);
                if discarded > BYTES_MAX {
                    return;
                }
            }
        };
        // After the timeout the connection is closed with unread bytes.
        let _in_time = tokio::time::timeout(DRAIN_TIMEOUT, rest).await;
    }
}

impl Body for DrainableBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut body = crate::sync::lock(&self.0);
        Pin::new(&mut *body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        crate::sync::lock(&self.0).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        crate::sync::lock(&self.0).size_hint()
    }
}
