//! `GET /api/jobs/:id`: a job with its script and kept output.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use hyprbox_protocol::{Stream, last_character_boundary};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Viewer;
use crate::http::{ApiError, Meter, Path, Query};
use crate::jobs::log::window::{KeptError, Reading, WINDOW_BYTES, joined, kept_bytes};
use crate::jobs::routes::{Scope, find_with};
use crate::jobs::{JobDetail, JobError, JobView, Jobs};
use crate::store::Tx;
use crate::store::job::{self, Job};

/// Output up to here is sent with its length, as one piece.
const WHOLE_BYTES: u64 = 128 * 1024;
/// Output of a job that goes on, up to here, is read at once, so that a detail is of one moment:
/// both tails as they are by default. More than that, and that of a job which has ended, is read as
/// it is sent.
const AT_ONCE_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes that an answer takes while it is sent: a window as it was read, and as JSON.
const WINDOW_ANSWER_BYTES: u64 = 2 * WINDOW_BYTES;

/// Where the output of a detail comes from.
enum Output {
    Whole { stdout: Vec<u8>, stderr: Vec<u8> },
    AsSent { stdout: Source, stderr: Source },
}

/// One stream of a detail that is sent piece by piece.
enum Source {
    Read(Bytes),
    Reading(Reading),
}

/// A job with its script and output.
#[utoipa::path(get, path = "/api/jobs/{id}", tag = "jobs",
    params(("id" = String, Path), ("scope" = Option<String>, Query)),
    responses((status = 200, body = JobDetail)),
    security(("bearer" = []), ("cookie" = [])))]
async fn detail(
    State(jobs): State<Jobs>,
    Viewer(user): Viewer,
    Path(id): Path<String>,
    meter: Meter,
    query: Query,
) -> Result<Response, ApiError> {
    let scope = Scope::of(&jobs, &user, &query)?;
    let read = move |tx: &mut dyn Tx, job: &Job| {
        let script = job::script(tx, &job.id)?;
        let bytes = script.len() as u64 + bytes_held(job);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        // Nothing is read of what there is no memory for.
        Ok(match meter.hold_answer(bytes) {
            Ok(()) => Ok((script, output(tx, job)?)),
            Err(refused) => Err(refused),
        })
    };
    let (job, read) = find_with(&jobs, &user, scope, id, "job.look", read).await?;
    let (script, output) = read?;
    let job = JobView::from(job);
    Ok(match output {
        Output::Whole { stdout, stderr } => axum::Json(JobDetail {
            job,
            script,
            stdout: text(stdout),
            stderr: text(stderr),
        })
        .into_response(),
        Output::AsSent { stdout, stderr } => {
            let empty = JobDetail {
                job,
                script,
                stdout: String::new(),
                stderr: String::new(),
            };
            as_sent(jobs, &empty, stdout, stderr)?
        }
    })
}

pub(in crate::jobs) fn routes() -> OpenApiRouter<Jobs> {
    OpenApiRouter::new().routes(routes!(detail))
}

fn is_read_as_sent(job: &Job) -> bool {
    let bytes = kept_bytes(job, None);
    bytes > AT_ONCE_BYTES || (bytes > WHOLE_BYTES && job.status.is_terminal())
}

/// What the output takes while the answer is made and sent.
fn bytes_held(job: &Job) -> u64 {
    if is_read_as_sent(job) {
        WINDOW_ANSWER_BYTES
    } else {
        kept_bytes(job, None) + WINDOW_ANSWER_BYTES
    }
}

/// The kept output: one walk that sorts it into both streams, or the beginning of a walk for each.
fn output(tx: &mut dyn Tx, job: &Job) -> Result<Output, JobError> {
    if is_read_as_sent(job) {
        return Ok(Output::AsSent {
            stdout: Source::Reading(Reading::new(job, Some(Stream::Stdout))),
            stderr: Source::Reading(Reading::new(job, Some(Stream::Stderr))),
        });
    }
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut reading = Reading::new(job, None);
    loop {
        let chunks = reading.read(tx)?;
        if chunks.is_empty() {
            break;
        }
        for chunk in chunks {
            match chunk.stream {
                Stream::Stdout => stdout.extend_from_slice(&chunk.data),
                Stream::Stderr => stderr.extend_from_slice(&chunk.data),
            }
        }
    }
    Ok(if kept_bytes(job, None) <= WHOLE_BYTES {
        Output::Whole { stdout, stderr }
    } else {
        Output::AsSent {
            stdout: Source::Read(stdout.into()),
            stderr: Source::Read(stderr.into()),
        }
    })
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// The JSON of `empty` with the output put in as it is read. Where a byte of it has fallen off
/// meanwhile, the connection breaks off.
fn as_sent(
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

/// A stream's output as the inside of a JSON string, window by window.
fn escaped(
    jobs: Jobs,
    source: Source,
) -> impl stream::Stream<Item = Result<Bytes, KeptError>> + Send {
    stream::try_unfold(Some((source, Vec::new())), move |state| {
        let jobs = jobs.clone();
        async move {
            let Some((source, begun)) = state else {
                return Ok(None);
            };
            let (source, window, is_last) = next_window(&jobs, source).await?;
            let mut bytes = begun;
            bytes.extend_from_slice(&window);
            let whole = match is_last {
                true => bytes.len(),
                false => last_character_boundary(&bytes),
            };
            let rest = bytes.split_off(whole);
            let next = (!is_last).then_some((source, rest));
            Ok(Some((Bytes::from(inside_of_a_string(&text(bytes))), next)))
        }
    })
}

/// The next bytes of a source, and whether they are the last ones.
async fn next_window(jobs: &Jobs, source: Source) -> Result<(Source, Vec<u8>, bool), KeptError> {
    match source {
        Source::Read(mut bytes) => {
            let size = bytes.len().min(WINDOW_BYTES as usize);
            let window = bytes.split_to(size).to_vec();
            let is_last = bytes.is_empty();
            Ok((Source::Read(bytes), window, is_last))
        }
        Source::Reading(mut reading) => {
            let read = jobs.store.read(move |tx| {
                let chunks = reading.read(tx)?;
                let is_last = reading.is_done();
                Ok::<_, KeptError>((Source::Reading(reading), joined(&chunks), is_last))
            });
            read.await
        }
    }
}

fn inside_of_a_string(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inside_of_a_string_is_json() {
        let text = "a\"b\\c\n\u{1b}\u{7f}\u{2028}é";
        let json = format!("\"{}\"", inside_of_a_string(text));
        assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), text);
    }
}
