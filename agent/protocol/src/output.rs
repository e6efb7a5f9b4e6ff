//! Output on its way from the agent: chunks of the two streams, each at its offset.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::{ClaimedJob, CompleteRequest};

/// One of a job's two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// What the script wrote to descriptor 1.
    Stdout,
    /// What the script wrote to descriptor 2.
    Stderr,
}

impl Stream {
    /// Both streams, stdout first.
    pub const ALL: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// A piece of one stream: its bytes as text where they are UTF-8, else as base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Chunk {
    /// Which stream.
    pub stream: Stream,
    /// Bytes of that stream before this chunk, since the job began.
    #[cfg_attr(feature = "schema", schema(maximum = 9_007_199_254_740_992_i64))]
    pub offset: u64,
    /// The bytes, when they are UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The bytes in standard base64 with padding, when they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(content_encoding = "base64"))]
    pub data_base64: Option<String>,
}

/// Why a chunk has no bytes to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChunkDataError {
    /// Neither or both of `data` and `dataBase64` are there.
    NotExactlyOne,
    /// `dataBase64` is not base64.
    NotBase64,
}

impl Chunk {
    /// A chunk of `bytes`, as text where they are UTF-8.
    pub fn new(stream: Stream, offset: u64, bytes: &[u8]) -> Self {
        let (data, data_base64) = match std::str::from_utf8(bytes) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(STANDARD.encode(bytes))),
        };
        Self {
            stream,
            offset,
            data,
            data_base64,
        }
    }

    /// The chunk's bytes, whichever way they came.
    pub fn into_bytes(self) -> Result<Vec<u8>, ChunkDataError> {
        match (self.data, self.data_base64) {
            (Some(text), None) => Ok(text.into_bytes()),
            (None, Some(coded)) => STANDARD
                .decode(coded)
                .map_err(|_| ChunkDataError::NotBase64),
            (None, None) | (Some(_), Some(_)) => Err(ChunkDataError::NotExactlyOne),
        }
    }
}

/// The body of `POST /api/jobs/:id/output`: chunks at their offsets, or, as the founding document's
/// agent sends it, text that is appended as it comes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct OutputRequest {
    /// In the order in which the agent read them; an empty list asks where to go on.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::object::list"
    )]
    #[cfg_attr(feature = "schema", schema(max_items = 16_384))]
    pub chunks: Option<Vec<Chunk>>,
    /// The process of bash, for people who look at the node; the agent tells it once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How the script ended, where these chunks are its last: then the call is the job's
    /// `complete`, too, in one commit. A server that doesn't know this field takes the chunks
    /// alone, and its answer has no `ended`.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::object::optional"
    )]
    pub end: Option<CompleteRequest>,
    /// With `end`: the agent has no other job, and would take its next one with the answer. A
    /// server that doesn't know this field gives none.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub next: bool,
    /// Appended to stdout as it comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout: Option<String>,
    /// Appended to stderr as it comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr: Option<String>,
}

/// The answer to `POST /api/jobs/:id/output`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct OutputAnswer {
    /// Where stdout goes on: bytes since the job began that the server has or counts as dropped.
    pub stdout_bytes: u64,
    /// Where stderr goes on.
    pub stderr_bytes: u64,
    /// The longest that the agent may hold bytes back, in milliseconds.
    #[serde(default = "default_flush_ms")]
    pub flush_ms: u64,
    /// True when the job's cancel was asked for.
    #[serde(default)]
    pub cancel: bool,
    /// True when the call's `end` was taken, now or before; absent where the call had none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
    /// The next job, where one was asked for and waits: it is claimed by the same instance, in the
    /// commit that ended the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<ClaimedJob>,
}

fn default_flush_ms() -> u64 {
    crate::FLUSH_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_as_they_went_in() {
        for bytes in [&b"plain\n"[..], b"", b"\xff\x00\xc3", "h\u{e9}".as_bytes()] {
            let sent =
                serde_json::to_string(&Chunk::new(Stream::Stderr, 7, bytes)).expect("serialises");
            let got: Chunk = serde_json::from_str(&sent).expect("parses");
            assert_eq!(got.offset, 7);
            assert_eq!(got.into_bytes().expect("one kind of data"), bytes);
        }
    }

    #[test]
    fn a_chunk_has_exactly_one_kind_of_data() {
        let chunk = |json: &str| {
            serde_json::from_str::<Chunk>(json)
                .expect("parses")
                .into_bytes()
        };
        assert_eq!(
            chunk(r#"{"stream":"stdout","offset":0}"#),
            Err(ChunkDataError::NotExactlyOne)
        );
        assert_eq!(
            chunk(r#"{"stream":"stdout","offset":0,"data":"a","dataBase64":"YQ=="}"#),
            Err(ChunkDataError::NotExactlyOne)
        );
        assert_eq!(
            chunk(r#"{"stream":"stdout","offset":0,"dataBase64":"%"}"#),
            Err(ChunkDataError::NotBase64)
        );
    }
}
