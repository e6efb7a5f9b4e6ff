//! Answers bytes that are not a valid request with an API error, and ends the connection.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use axum::body::to_bytes;
use axum::response::IntoResponse;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::http::{ApiError, RequestId, finish};

/// How long, and how much, is still read from the client after the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 1024 * 1024;

/// Answers with `error` and ends the connection.
pub(super) async fn send<S>(stream: &mut S, error: ApiError) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut response = error.into_response();
    finish(response.headers_mut(), &RequestId::new(), true);
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.map_err(io::Error::other)?;
    let mut head = format!("HTTP/1.1 {}\r\n", parts.status);
    for (name, value) in &parts.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let _ = write!(
        head,
        "content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).await?;
    stream.shutdown().await?;
    // Closing a socket with unread bytes resets the connection, and the answer would be lost.
    let (mut rest, mut sink) = (stream.take(LINGER_BYTES), tokio::io::sink());
    let read = tokio::io::copy(&mut rest, &mut sink);
    match tokio::time::timeout(LINGER, read).await {
        Ok(read) => read.map(|_| ()),
        Err(_) => Ok(()),
    }
}
