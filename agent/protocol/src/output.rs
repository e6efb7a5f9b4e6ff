//! Output as the agent sends it: chunks of the two streams, each with its offset.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::{ClaimedJob, CompleteRequest, LedgerHead};

/// One of a job's two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// File descriptor 1 of the script.
    Stdout,
    /// File descriptor 2 of the script.
    Stderr,
}

impl Stream {
    /// Both streams, stdout first.
    pub const ALL: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

    /// The name in JSON and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// A piece of one stream: text if its bytes are UTF-8, otherwise base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Chunk {
    /// The stream that the bytes belong to.
    pub stream: Stream,
    /// How many bytes of the stream come before this chunk.
    #[cfg_attr(feature = "schema", schema(maximum = 9_007_199_254_740_992_i64))]
    pub offset: u64,
    /// The bytes, if they are UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The bytes in standard base64 with padding, if they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(content_encoding = "base64"))]
    pub data_base64: Option<String>,
}

/// Why a chunk's data is not valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChunkDataError {
    /// Either both `data` and `dataBase64` are present, or neither.
    NotExactlyOne,
    /// `dataBase64` is not base64.
    NotBase64,
}

impl Chunk {
    /// A chunk with these bytes.
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

    /// The chunk's bytes, from either field.
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

/// The body of `POST /api/jobs/:id/output`: chunks with offsets or, from the founding document's
/// agent, text that is appended as it arrives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct OutputRequest {
    /// In the order in which the agent read them. An empty list asks where to continue.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::object::list"
    )]
    #[cfg_attr(feature = "schema", schema(max_items = 16_384))]
    pub chunks: Option<Vec<Chunk>>,
    /// The pid of bash on the node, shown to users. The agent sends it once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// When the steps began that these chunks announce, by the node's clock. A server that does not
    /// know this field times steps by the arrival of their output.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::object::optional"
    )]
    pub step_times: Option<StepTimes>,
    /// The job waits for a confirmation. The agent sends this until a call of the job is answered.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::object::optional"
    )]
    pub confirm_wait: Option<ConfirmWait>,
    /// How the script ended, if these chunks are its last. The call then also completes the job, in
    /// the same commit. A server that does not know this field takes only the chunks, and its
    /// answer has no `ended`.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::object::optional"
    )]
    pub end: Option<CompleteRequest>,
    /// With `end`: the agent has no other job, and the answer may bring the next one. A server that
    /// does not know this field sends none.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub next: bool,
    /// Appended to stdout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout: Option<String>,
    /// Appended to stderr.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr: Option<String>,
}

/// A job's wait for a confirmation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ConfirmWait {
    /// When the wait ends by the node's clock: RFC 3339, UTC, milliseconds.
    pub confirm_by: String,
    /// How long the wait is, in seconds.
    #[cfg_attr(feature = "schema", schema(maximum = 3_600))]
    pub seconds: u64,
}

/// Times by the node's own clock, in milliseconds since bash began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct StepTimes {
    /// The time of this call.
    pub elapsed_ms: u64,
    /// The lines on stdout that announce a step and end within this call's chunks.
    #[serde(default, deserialize_with = "stamps")]
    #[cfg_attr(feature = "schema", schema(max_items = 999))]
    pub stamps: Vec<StepStamp>,
}

/// When a line that announces a step was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct StepStamp {
    /// The offset in stdout after the line.
    pub line_end: u64,
    /// Milliseconds since bash began.
    pub ms: u64,
}

fn stamps<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<StepStamp>, D::Error> {
    Ok(crate::object::list(deserializer)?.unwrap_or_default())
}

/// The answer to `POST /api/jobs/:id/output`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct OutputAnswer {
    /// Where stdout continues: how many bytes of it the server has or counts as dropped.
    pub stdout_bytes: u64,
    /// Where stderr continues.
    pub stderr_bytes: u64,
    /// How long the agent may hold bytes back, in milliseconds.
    #[serde(default = "default_flush_ms")]
    pub flush_ms: u64,
    /// True if somebody has requested the job's cancel.
    #[serde(default)]
    pub cancel: bool,
    /// True if somebody has confirmed the waiting job.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub confirm: bool,
    /// True if the server has accepted the call's `end`, now or earlier; absent without an `end`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
    /// The next job, if the call asked for one and one is queued. It was claimed for the same agent
    /// instance, in the commit that completed the last job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<ClaimedJob>,
    /// With `ended`: the newest entry of the server's ledger. The agent keeps it and sends it with
    /// its heartbeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger_head: Option<LedgerHead>,
}

fn default_flush_ms() -> u64 {
    crate::FLUSH_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_keeps_its_bytes() {
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
