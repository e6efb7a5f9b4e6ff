//! `GET /api/jobs/:id/export`: everything about a job in one file, for somebody who has no access
//! to the server.

mod escape;
mod html;
mod json;
mod output;
mod routes;
mod signatures;

pub(in crate::jobs) use routes::routes;

use hyprbox_protocol::PerStream;

use self::signatures::SignedText;
use super::log::steps::Step;
use super::view::JobView;
use crate::clock::Timestamp;
use crate::store::output::StoredChunk;

/// Bytes of output that the file has; the rest is in its hashes.
const OUTPUT_MAX: u64 = 10 << 20;

/// What the file shows before the output.
struct Export {
    job: JobView,
    script: String,
    steps: Vec<Step>,
    /// SHA-256 of each stream as the agent reported it.
    reported: PerStream<Option<String>>,
    signed: Vec<SignedText>,
    exported_at: Timestamp,
    /// The email of the person who asked for the file.
    exported_by: String,
}

/// What the file shows after the output.
struct Totals {
    /// Bytes of output that the file does not have.
    omitted: u64,
    /// SHA-256 of each stream's kept bytes.
    kept: PerStream<String>,
}

/// Writes the parts of a file, in this order.
trait Writer: Send {
    fn head(&mut self, export: &Export) -> String;
    fn output(&mut self, chunk: &StoredChunk) -> String;
    fn tail(&mut self, export: &Export, totals: &Totals) -> String;
}
