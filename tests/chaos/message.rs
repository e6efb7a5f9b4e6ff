//! The part of HTTP/1.1 that the proxy needs: where a message ends, and which call it is.

use std::io::Read;

/// Larger than any message between agent and server.
const MAX_BYTES: usize = 16 << 20;

/// Returns where the first message in `bytes` ends; `None` if it is incomplete.
pub(crate) fn end_of(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    assert!(
        !text.contains("transfer-encoding"),
        "the proxy does not support chunked bodies: {text}"
    );
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(0, |length| length.trim().parse().expect("a length"));
    let end = head + length;
    assert!(end < MAX_BYTES, "{end} bytes are too many for a call");
    (bytes.len() >= end).then_some(end)
}

/// Reads one message. Returns `None` if the other side has closed the connection.
pub(crate) fn read(from: &mut impl Read) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 64 * 1024];
    loop {
        let got = from.read(&mut buffer).ok().filter(|got| *got > 0)?;
        bytes.extend_from_slice(&buffer[..got]);
        if let Some(end) = end_of(&bytes) {
            assert_eq!(end, bytes.len(), "one call at a time");
            return Some(bytes);
        }
    }
}

/// Returns the kind of call: `pending`, `output`, `complete` or `heartbeat`.
pub(crate) fn kind(request: &[u8]) -> String {
    let line = request
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let path = line.split([' ', '?']).nth(1).unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

#[test]
fn complete_messages_are_recognised() {
    let message = b"POST /api/jobs/j1/output?agent=a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
    for cut in 0..message.len() {
        assert_eq!(end_of(&message[..cut]), None, "{cut}");
    }
    assert_eq!(end_of(message), Some(message.len()));
    assert_eq!(kind(message), "output");
    let poll = b"GET /api/jobs/pending?nodeId=n1 HTTP/1.1\r\n\r\n";
    assert_eq!(end_of(poll), Some(poll.len()));
    assert_eq!(kind(poll), "pending");
    assert_eq!(read(&mut &message[..20]), None);
    assert_eq!(read(&mut &message[..]).as_deref(), Some(&message[..]));
}
