//! `GET /api/jobs/:id`: a job with its script and kept output.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use hyprbox_protocol::Stream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Viewer;
use crate::http::{ApiError, Path, Query};
use crate::jobs::live::cursor::cut_character;
use crate::jobs::log::window::{KeptError, Reading, joined, kept_bytes};
use crate::jobs::routes::{Scope, find_with};
use crate::jobs::{JobDetail, JobError, JobView, Jobs};
use crate::store::Tx;
use crate::store::job::{self, Job};

/// Output up to here is read at once, so that a detail is of one moment and has a length: both tails as they are by
/// default. More than that is read as it is sent.
const AT_ONCE_BYTES: u64 = 8 * 1024 * 1024;

/// The output of a detail.
enum Output {
    AtOnce { stdout: Vec<u8>, stderr: Vec<u8> },
    AsSent { stdout: Reading, stderr: Reading },
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
    query: Query,
) -> Result<Response, ApiError> {
    let scope = Scope::of(&user, &query)?;
    let read = |tx: &mut dyn Tx, job: &Job| Ok((job::script(tx, &job.id)?, output(tx, job)?));
    let (job, (script, output)) = find_with(&jobs, &user, scope, id, "job.look", read).await?;
    let job = JobView::from(job);
    Ok(match output {
        Output::AtOnce { stdout, stderr } => axum::Json(JobDetail {
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

/// The kept output: one walk that sorts it into both streams, or the beginning of a walk for each.
fn output(tx: &mut dyn Tx, job: &Job) -> Result<Output, JobError> {
    if kept_bytes(job, None) > AT_ONCE_BYTES {
        return Ok(Output::AsSent {
            stdout: Reading::new(job, Some(Stream::Stdout)),
            stderr: Reading::new(job, Some(Stream::Stderr)),
        });
    }
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut reading = Reading::new(job, None);
    loop {
        let chunks = reading.read(tx)?;
        if chunks.is_empty() {
            return Ok(Output::AtOnce { stdout, stderr });
        }
        for chunk in chunks {
            match chunk.stream {
                Stream::Stdout => stdout.extend_from_slice(&chunk.data),
                Stream::Stderr => stderr.extend_from_slice(&chunk.data),
            }
        }
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// The JSON of `empty` with the output put in as it is read. Where a byte of it has fallen off meanwhile, the connection
/// breaks off.
fn as_sent(
    jobs: Jobs,
    empty: &JobDetail,
    stdout: Reading,
    stderr: Reading,
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

/// What a reading gives, as the inside of a JSON string, window by window.
fn escaped(
    jobs: Jobs,
    reading: Reading,
) -> impl stream::Stream<Item = Result<Bytes, KeptError>> + Send {
    stream::try_unfold(Some((reading, Vec::new())), move |state| {
        let jobs = jobs.clone();
        async move {
            let Some((mut reading, mut bytes)) = state else {
                return Ok(None);
            };
            let read = jobs.store.read(move |tx| {
                let chunks = reading.read(tx)?;
                let is_last = reading.is_done();
                bytes.extend_from_slice(&joined(&chunks));
                let whole = bytes.len() - if is_last { 0 } else { cut_character(&bytes) };
                let rest = bytes.split_off(whole);
                Ok::<_, KeptError>((reading, bytes, rest, is_last))
            });
            let (reading, bytes, rest, is_last) = read.await?;
            let next = (!is_last).then_some((reading, rest));
            Ok(Some((Bytes::from(inside_of_a_string(&text(bytes))), next)))
        }
    })
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
