//! `GET /api/jobs/:id`: a job with its script and kept output.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use hyprbox_protocol::{PerStream, Stream, last_character_boundary};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::{ApiError, Meter, Path};
use crate::jobs::access::{ScopedViewer, read_visible};
use crate::jobs::log::window::{WINDOW_BYTES, WindowReader, joined, kept_bytes};
use crate::jobs::{JobDetail, JobError, JobView, Jobs};
use crate::store::Tx;
use crate::store::job::{self, Job};

/// Output of at most this size is sent as one piece, with its length.
const WHOLE_BYTES: u64 = 128 * 1024;
/// Output of at most this size is read in one transaction if the job has not ended, so that it
/// matches the job's state; both tails fit at their default size. Larger output, and that of a job
/// that has ended, is read as it is sent.
const AT_ONCE_BYTES: u64 = 8 * 1024 * 1024;
/// Memory of a response while it is sent: a window as it was read, and as JSON.
const RESPONSE_BYTES: u64 = 2 * WINDOW_BYTES;

/// The output of a job's detail.
enum Output {
    /// Sent as one piece.
    Whole(PerStream<Vec<u8>>),
    /// Sent piece by piece.
    Streamed { stdout: Source, stderr: Source },
}

/// One stream that is sent piece by piece.
enum Source {
    Memory(Bytes),
    Store(WindowReader),
}

/// A job with its script and output.
#[utoipa::path(get, path = "/api/jobs/{id}", tag = "jobs",
    params(("id" = String, Path), ("scope" = Option<String>, Query)),
    responses((status = 200, body = JobDetail)),
    security(("bearer" = []), ("cookie" = [])))]
async fn detail(
    State(jobs): State<Jobs>,
    ScopedViewer { user, scope }: ScopedViewer,
    Path(id): Path<String>,
    meter: Meter,
) -> Result<Response, ApiError> {
    let read = move |tx: &mut dyn Tx, job: &Job| {
        let script = job::script(tx, &job.id)?;
        let bytes = script.len() as u64 + bytes_held(job);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        // Without memory for the output, none of it is read.
        Ok(match meter.hold_answer(bytes) {
            Ok(()) => Ok((script, output(tx, job)?)),
            Err(refused) => Err(refused),
        })
    };
    let (job, read) = read_visible(&jobs, &user, scope, id, "job.look", read).await?;
    let (script, output) = read?;
    let job = JobView::from(job);
    Ok(match output {
        Output::Whole(mut output) => {
            let [stdout, stderr] =
                Stream::ALL.map(|stream| lossy_text(std::mem::take(&mut output[stream])));
            axum::Json(JobDetail {
                job,
                script,
                stdout,
                stderr,
            })
            .into_response()
        }
        Output::Streamed { stdout, stderr } => {
            let empty = JobDetail {
                job,
                script,
                stdout: String::new(),
                stderr: String::new(),
            };
            streamed(jobs, &empty, stdout, stderr)?
        }
    })
}

pub(in crate::jobs) fn routes() -> OpenApiRouter<Jobs> {
    OpenApiRouter::new().routes(routes!(detail))
}

fn is_read_while_sent(job: &Job) -> bool {
    let bytes = kept_bytes(job, None);
    bytes > AT_ONCE_BYTES || (bytes > WHOLE_BYTES && job.status.is_terminal())
}

/// Memory of the output while the response is made and sent.
fn bytes_held(job: &Job) -> u64 {
    if is_read_while_sent(job) {
        RESPONSE_BYTES
    } else {
        kept_bytes(job, None) + RESPONSE_BYTES
    }
}

/// Reads the kept output, or prepares to read it as it is sent.
fn output(tx: &mut dyn Tx, job: &Job) -> Result<Output, JobError> {
    if is_read_while_sent(job) {
        let [stdout, stderr] =
            Stream::ALL.map(|stream| Source::Store(WindowReader::new(job, Some(stream))));
        return Ok(Output::Streamed { stdout, stderr });
    }
    let mut output = PerStream::<Vec<u8>>::default();
    let mut reader = WindowReader::new(job, None);
    while !reader.is_done() {
        for chunk in reader.read(tx)? {
            output[chunk.stream].extend_from_slice(&chunk.data);
        }
    }
    if kept_bytes(job, None) <= WHOLE_BYTES {
        return Ok(Output::Whole(output));
    }
    let [stdout, stderr] =
        Stream::ALL.map(|stream| Source::Memory(std::mem::take(&mut output[stream]).into()));
    Ok(Output::Streamed { stdout, stderr })
}

fn lossy_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// The JSON of `empty` with the output inserted as it is read. The connection is closed early if a
/// byte is dropped from the kept tail before it was read.
fn streamed(
    jobs: Jobs,
    empty: &JobDetail,
    stdout: Source,
    stderr: Source,
) -> Result<Response, ApiError> {
    const TAIL: &str = r#""stdout":"","stderr":""}"#;
    let json = serde_json::to_string(empty)
        .ok()
        .and_then(|json| Some(json.strip_suffix(TAIL)?.to_owned()))
        .ok_or_else(|| ApiError::internal("a job's JSON does not end with its output"))?;
    let piece = |text: String| stream::once(async move { Ok(Bytes::from(text)) });
    let body = piece(json + r#""stdout":""#)
        .chain(escaped(jobs.clone(), stdout))
        .chain(piece(r#"","stderr":""#.to_owned()))
        .chain(escaped(jobs, stderr))
        .chain(piece(r#""}"#.to_owned()));
    let mut response = Body::from_stream(body).into_response();
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// A stream's output as the content of a JSON string, window by window.
fn escaped(
    jobs: Jobs,
    source: Source,
) -> impl stream::Stream<Item = Result<Bytes, JobError>> + Send {
    stream::try_unfold(Some((source, Vec::new())), move |state| {
        let jobs = jobs.clone();
        async move {
            let Some((source, begun)) = state else {
                return Ok(None);
            };
            let (source, window, is_last) = next_window(&jobs, source).await?;
            let mut bytes = begun;
            bytes.extend_from_slice(&window);
            let whole = if is_last {
                bytes.len()
            } else {
                last_character_boundary(&bytes)
            };
            let rest = bytes.split_off(whole);
            let next = (!is_last).then_some((source, rest));
            Ok(Some((
                Bytes::from(json_string_content(&lossy_text(bytes))),
                next,
            )))
        }
    })
}

/// The next bytes of a source, and whether they are the last.
async fn next_window(jobs: &Jobs, source: Source) -> Result<(Source, Vec<u8>, bool), JobError> {
    match source {
        Source::Memory(mut bytes) => {
            let size = bytes.len().min(WINDOW_BYTES as usize);
            let window = bytes.split_to(size).to_vec();
            let is_last = bytes.is_empty();
            Ok((Source::Memory(bytes), window, is_last))
        }
        Source::Store(mut reader) => {
            let read = jobs.store.read(move |tx| {
                let chunks = reader.read(tx)?;
                let is_last = reader.is_done();
                Ok::<_, JobError>((Source::Store(reader), joined(&chunks), is_last))
            });
            read.await
        }
    }
}

fn json_string_content(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_of_a_string_is_json() {
        let text = "a\"b\\c\n\u{1b}\u{7f}\u{2028}é";
        let json = format!("\"{}\"", json_string_content(text));
        assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), text);
    }
}
