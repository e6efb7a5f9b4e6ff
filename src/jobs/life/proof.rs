//! Whether the kept output is what the script wrote. The agent's supervisor hashes each whole
//! stream and reports the hashes with the job's end. The server hashes what arrives and compares.
//! Its state is in the job's row, so that a job's output may arrive at several servers.

use hyprbox_protocol::{PerStream, Stream, to_hex};

use crate::crypto::{StoredSha256, sha256};
use crate::store::job::{Job, StreamCounts};

/// Number of digits of a SHA-256 in hex.
const DIGITS: usize = 64;

/// Whether `text` is a SHA-256 in lower-case hex.
pub(super) fn is_sha256(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == DIGITS && text.bytes().all(is_digit)
}

/// Continues the server's hash of a stream with bytes that have arrived after `gap` missing ones. A
/// stream with a gap can't be verified. The job's counts do not include the bytes yet.
pub(super) fn follow(job: &mut Job, stream: Stream, gap: u64, bytes: &[u8]) {
    let is_first = job.counts()[stream].bytes == 0;
    let state = &mut job.proof.states[stream];
    let hash = match state {
        _ if gap > 0 => None,
        Some(state) => StoredSha256::from_state(state),
        None if is_first => Some(StoredSha256::default()),
        None => None,
    };
    *state = hash.map(|mut hash| {
        hash.update(bytes);
        hash.state()
    });
}

/// Whether every byte of both streams is kept and the hashes that the agent reports fit. `None` if
/// bytes are missing or a hash is unknown. `counts` are those of the job's end.
pub(super) fn verdict(
    job: &Job,
    counts: PerStream<StreamCounts>,
    reported: &PerStream<Option<String>>,
) -> Option<bool> {
    if counts.iter().any(|(_, counts)| counts.dropped > 0) {
        return None;
    }
    let fits = Stream::ALL.map(|stream| {
        let reported = reported[stream].as_deref()?;
        let arrived = match &job.proof.states[stream] {
            Some(state) => StoredSha256::from_state(state)?.finish(),
            None if counts[stream].bytes == 0 => sha256(b""),
            None => return None,
        };
        Some(reported == to_hex(arrived))
    });
    match fits {
        [Some(stdout), Some(stderr)] => Some(stdout && stderr),
        [Some(false), None] | [None, Some(false)] => Some(false),
        [Some(true) | None, None] | [None, Some(true)] => None,
    }
}
