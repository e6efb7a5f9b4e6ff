//! A minimal HTTP/1.1 client that needs little processor time, so that the server is measured.

use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection that is kept open between requests.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A response with a `Content-Length`.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Connection {
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        // With ten thousand connections at the same time the backlog may be full, so try again.
        let mut tries = 0;
        let stream = loop {
            match TcpStream::connect(address).await {
                Ok(stream) => break stream,
                Err(_) if tries < 50 => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    /// Sends a request and reads the response.
    pub(crate) async fn call(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        self.send(request).await?;
        self.answer().await
    }

    pub(crate) async fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(request).await?)
    }

    pub(crate) async fn answer(&mut self) -> anyhow::Result<Answer<'_>> {
        self.buffer.clear();
        let (status, body_at, length) = loop {
            self.read_more().await?;
            if let Some(head) = head_of(&self.buffer)? {
                break head;
            }
        };
        while self.buffer.len() < body_at + length {
            self.read_more().await?;
        }
        Ok(Answer {
            status,
            body: &self.buffer[body_at..body_at + length],
        })
    }

    async fn read_more(&mut self) -> anyhow::Result<()> {
        // Small, since ten thousand waiting polls have a buffer each.
        self.buffer.reserve(1024);
        let read = self.stream.read_buf(&mut self.buffer).await?;
        anyhow::ensure!(read > 0, "the server closed the connection");
        Ok(())
    }

    /// Returns the stream, for responses without a `Content-Length`.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }
}

/// Returns the status, the start of the body and its length; `None` while the head is incomplete.
fn head_of(bytes: &[u8]) -> anyhow::Result<Option<(u16, usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end])?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .context("no status")?;
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Ok(0), |(_, value)| value.trim().parse())?;
    Ok(Some((status, end + 4, length)))
}

/// Builds a GET request.
pub(crate) fn get(path: &str, token: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n").into()
}

/// Builds a GET request of a client behind a trusted proxy.
pub(crate) fn get_from(address: &str, path: &str, token: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: bench\r\nX-Forwarded-For: {address}\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    )
    .into()
}

/// Builds a POST request with a JSON body.
pub(crate) fn post(path: &str, token: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// Returns the id of the job in a poll's response, if there is one.
pub(crate) fn job_id(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once(r#""job":{"id":""#)?;
    Some(rest.split('"').next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_complete() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\n{}";
        assert_eq!(head_of(answer).expect("good"), Some((200, 44, 2)));
        assert_eq!(head_of(&answer[..30]).expect("good"), None);
        assert!(head_of(b"what\r\n\r\n").is_err());
    }

    #[test]
    fn a_claimed_job_is_found_in_the_answer() {
        let with = br#"{"job":{"id":"0190-a","preset":"true"},"cancel":[]}"#;
        assert_eq!(job_id(with).as_deref(), Some("0190-a"));
        assert_eq!(job_id(br#"{"job":null,"cancel":[]}"#), None);
    }
}
