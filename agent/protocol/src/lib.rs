//! What server and agent share: the JSON types of their HTTP calls, and a few rules that both
//! apply. No I/O.
//!
//! Both sides ignore unknown fields, so that an old server works with a newer agent and vice versa.
//! An optional field may be `null` or absent in what a side receives; what it sends has `null`.

#![warn(missing_docs)]

mod duration;
mod environment;
mod error;
mod facts;
mod failure;
mod hex;
mod job;
mod ledger;
mod node;
mod object;
mod output;
mod per_stream;
mod refusal;
mod script_marks;
mod secrets;
mod setting;
mod shipped;
mod size;
mod slug;
mod step_line;
mod step_scanner;
mod utf8;
mod version;

pub use duration::TimeRange;
pub use environment::parse_environment;
pub use error::ErrorBody;
pub use facts::{DiskFacts, FactsJson, MAX_FACTS_BYTES, MachineFacts};
pub use failure::FailureReason;
pub use hex::to_hex;
pub use job::{ClaimedJob, CompleteRequest, PendingAnswer, SignKeyChange};
pub use ledger::LedgerHead;
pub use node::{HeartbeatAnswer, HeartbeatRequest, OsInfo};
pub use output::{
    Chunk, ChunkDataError, ConfirmWait, OutputAnswer, OutputRequest, StepStamp, StepTimes, Stream,
};
pub use per_stream::PerStream;
pub use refusal::Refusal;
pub use script_marks::{CONFIRM_SECONDS_MAX, SCRIPT_HEAD_BYTES, ScriptMarks};
pub use secrets::Secrets;
pub use setting::bad_setting;
pub use shipped::{ShippedAgent, ShippedFile};
pub use size::{SizeRange, size_text};
pub use slug::is_slug;
pub use step_line::{
    CheckState, STEP_DONE, STEP_LINE_MAX, STEP_LINE_PREFIX, STEP_VERIFY_FAILED, StepLine,
    StepOrder, UNDO_LINE_PREFIX, failed_verify, parse_step_line,
};
pub use step_scanner::StepScanner;
pub use utf8::last_character_boundary;
pub use version::{AGENT_VERSION_MARK, Version, is_older};

/// The most bytes in a request body, after decompression.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// The most bytes of an answer that an agent reads: a job's script as JSON, and its secrets.
pub const MAX_CLAIM_BYTES: usize = 16 * 1024 * 1024;

/// The most characters of an agent's `errorMsg` that the server keeps; the rest is cut.
pub const MAX_ERROR_MSG_CHARS: usize = 4096;

/// The largest byte count that JSON carries exactly: 2^53.
pub const MAX_BYTE_COUNT: u64 = 1 << 53;

/// The most steps of a job: their numbers have at most three digits.
pub const MAX_STEPS: usize = 999;

/// How long an agent may hold output back while nobody watches the job, in milliseconds.
pub const FLUSH_MS: u64 = 1500;

/// How long an agent may hold output back while somebody watches the job, in milliseconds.
pub const FLUSH_MS_WATCHED: u64 = 50;
