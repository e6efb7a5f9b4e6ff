//! The body of an `output` call.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyprbox_protocol::{CompleteRequest, ConfirmWait, StepTimes, Stream};
use serde::Serialize;

use crate::spool::Batch;

/// [`hyprbox_protocol::OutputRequest`], borrowing the bytes.
#[derive(Serialize)]
struct Body<'a> {
    chunks: Vec<ChunkRef<'a>>,
    #[serde(flatten)]
    more: More<'a>,
}

/// What a call says in addition to its chunks.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct More<'a> {
    /// Bash's pid, if the server does not know it yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<u32>,
    /// When the steps began that the chunks announce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) step_times: Option<StepTimes>,
    /// The job waits for a confirmation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) confirm_wait: Option<ConfirmWait>,
    /// What the call with the job's last output adds.
    #[serde(flatten)]
    pub(crate) last: Option<LastPart<'a>>,
}

/// What the call with a job's last output adds.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct LastPart<'a> {
    /// How the job ended.
    pub(crate) end: &'a CompleteRequest,
    /// Whether the answer may bring the next job.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) next: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChunkRef<'a> {
    stream: Stream,
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

/// The batch as JSON, all of it in base64 if `in_base64`. An empty batch asks the server where to
/// continue.
pub(crate) fn body(batch: &Batch, more: More<'_>, in_base64: bool) -> bytes::Bytes {
    let chunks = batch.pieces.iter().map(|piece| {
        let bytes = &batch.bytes[piece.range.clone()];
        let text = std::str::from_utf8(bytes).ok().filter(|_| !in_base64);
        ChunkRef {
            stream: piece.stream,
            offset: piece.offset,
            data: text,
            data_base64: text.is_none().then(|| STANDARD.encode(bytes)),
        }
    });
    let body = Body {
        chunks: chunks.collect(),
        more,
    };
    let mut json = Vec::with_capacity(batch.bytes.len() + batch.bytes.len() / 8 + 128);
    serde_json::to_writer(&mut json, &body).expect("text and numbers always serialise");
    json.into()
}

#[cfg(test)]
mod tests {
    use hyprbox_protocol::{MAX_BODY_BYTES, OutputRequest, StepStamp};

    use super::*;
    use crate::spool::{BATCH_BYTES, BatchPiece, MAX_PIECES};

    fn batch(parts: &[(Stream, u64, &[u8])]) -> Batch {
        let mut batch = Batch::default();
        for (stream, offset, bytes) in parts {
            let from = batch.bytes.len();
            batch.bytes.extend_from_slice(bytes);
            batch.pieces.push(BatchPiece {
                stream: *stream,
                offset: *offset,
                range: from..batch.bytes.len(),
            });
        }
        batch
    }

    #[test]
    fn a_body_is_what_the_protocol_says() {
        let times = StepTimes {
            elapsed_ms: 1_500,
            stamps: vec![StepStamp {
                line_end: 7,
                ms: 1_003,
            }],
        };
        let more = More {
            pid: Some(4711),
            step_times: Some(times.clone()),
            ..More::default()
        };
        let made = batch(&[(Stream::Stdout, 3, b"a\"b\n"), (Stream::Stderr, 0, b"\xff")]);
        let read: OutputRequest =
            serde_json::from_slice(&body(&made, more, false)).expect("parses");
        assert_eq!(read.pid, Some(4711));
        assert_eq!(read.step_times, Some(times));
        let chunks = read.chunks.expect("chunks are there");
        assert_eq!(chunks[0].offset, 3);
        assert_eq!(chunks[0].data.as_deref(), Some("a\"b\n"));
        assert_eq!(chunks[1].stream, Stream::Stderr);
        assert_eq!(chunks[1].data_base64.as_deref(), Some("/w=="));
        assert_eq!(
            &body(&Batch::default(), More::default(), false)[..],
            br#"{"chunks":[]}"#
        );
    }

    #[test]
    fn the_worst_batch_stays_under_the_servers_limit() {
        let worst = vec![1; BATCH_BYTES];
        for in_base64 in [false, true] {
            let made = batch(&[(Stream::Stdout, 0, &worst)]);
            assert!(body(&made, More::default(), in_base64).len() < MAX_BODY_BYTES);
        }
        // One byte a read, of both streams in turn: mostly names and offsets.
        let mut turns = Batch::default();
        for i in 0..MAX_PIECES {
            turns.bytes.push(1);
            turns.pieces.push(BatchPiece {
                stream: Stream::ALL[i % 2],
                offset: 1 << 52,
                range: i..i + 1,
            });
        }
        assert!(body(&turns, More::default(), true).len() < MAX_BODY_BYTES);
    }
}
