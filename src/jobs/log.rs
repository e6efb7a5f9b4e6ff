//! `GET /api/jobs/:id/log`: the kept output as bytes, exactly as written; a part of it where the client asks for a range.
//! On request each line begins with the time at which it came, or the whole is compressed.

use std::io::{self, Write};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyprbox_protocol::{ErrorBody, Stream};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Jobs;
use super::kept::{KeptError, Reading, joined, kept_bytes};
use super::routes::{Scope, find_with};
use crate::auth::Viewer;
use crate::http::{ApiError, Path, Query};
use crate::store::job::Job;
use crate::store::output::StoredChunk;

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wish {
    /// One stream; both, in the order in which the agent read them, where there is none.
    only: Option<Stream>,
    /// Each line is to begin with the time at which it came.
    times: bool,
    gzip: bool,
}

impl Wish {
    fn of(query: &Query) -> Result<Self, ApiError> {
        let only = match query.get("stream") {
            None | Some("both") => None,
            Some(name) => Some(
                Stream::ALL
                    .into_iter()
                    .find(|stream| stream.as_str() == name)
                    .ok_or_else(|| query.wrong("stream", "stdout, stderr or both"))?,
            ),
        };
        let gzip = match query.get("format") {
            None | Some("text") => false,
            Some("gzip") => true,
            Some(_) => return Err(query.wrong("format", "text or gzip")),
        };
        let times = wants_times(query)?;
        Ok(Self { only, times, gzip })
    }

    fn file_name(self, job_id: &str) -> String {
        let stream = self.only.map_or("both", Stream::as_str);
        let end = if self.gzip { ".gz" } else { "" };
        format!("job-{job_id}-{stream}.log{end}")
    }
}

/// Whether the client asks for the times of lines.
pub(super) fn wants_times(query: &Query) -> Result<bool, ApiError> {
    match query.get("times") {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(query.wrong("times", "true or false")),
    }
}

/// The kept output as it was written.
#[utoipa::path(get, path = "/api/jobs/{id}/log", tag = "jobs",
    params(("id" = String, Path), ("stream" = Option<String>, Query, description = "stdout, stderr or both (the default)"),
        ("times" = Option<bool>, Query, description = "true: each line begins with the time at which it came, and a space; no ranges then"),
        ("format" = Option<String>, Query, description = "text (the default) or gzip, a compressed file; no ranges then"),
        ("scope" = Option<String>, Query), ("Range" = Option<String>, Header),
        ("If-Range" = Option<String>, Header, description = "The ETag of the part that is there already: the whole comes if the log is another one by now")),
    responses((status = 200, content_type = "text/plain",
            description = "The bytes that are kept when the answer begins. Should some of them fall off the head before they are sent, the connection breaks off"),
        (status = 206, content_type = "text/plain"),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 416, body = ErrorBody)),
    security(("bearer" = []), ("cookie" = [])))]
async fn kept_log(
    State(jobs): State<Jobs>,
    Viewer(user): Viewer,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let scope = Scope::of(&user, &query)?;
    let wish = Wish::of(&query)?;
    let asked_for = headers.clone();
    // The first window is read with the row: what fits into it is of one moment.
    let read = move |tx: &mut dyn crate::store::Tx, job: &Job| {
        let plan = Plan::of(job, wish, &asked_for);
        let Some((from, length)) = plan.part else {
            return Ok((plan, None));
        };
        let mut reading = Reading::new(job, wish.only).part(from, length);
        let first = reading.read(tx)?;
        Ok((plan, Some((reading, first))))
    };
    let (_, (plan, begun)) = find_with(&jobs, &user, scope, id, "job.look", read).await?;
    let Some((reading, first)) = begun else {
        return Ok(plan.beyond());
    };
    let body = Sending::new(jobs, reading, first, wish).into_body();
    Ok(plan.response(wish, body))
}

pub(super) fn routes() -> OpenApiRouter<Jobs> {
    OpenApiRouter::new().routes(routes!(kept_log))
}

/// What a `Range` header asks of `length` bytes.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// No range, or one that may be ignored (another unit, several ranges, nonsense).
    Whole,
    /// From, to (inclusive).
    Part(u64, u64),
    /// A range of which there is nothing.
    Nothing,
}

fn asked(range: Option<&str>, length: u64) -> Asked {
    let Some((from, to)) =
        range.and_then(|range| range.trim().strip_prefix("bytes=")?.split_once('-'))
    else {
        return Asked::Whole;
    };
    let number = |digits: &str| digits.trim().parse::<u64>();
    let (from, to) = match (from.trim(), to.trim()) {
        ("", "") => return Asked::Whole,
        ("", suffix) => match number(suffix) {
            Ok(0) => return Asked::Nothing,
            Ok(count) => (length.saturating_sub(count), length.saturating_sub(1)),
            Err(_) => return Asked::Whole,
        },
        (from, "") => match number(from) {
            Ok(from) => (from, length.saturating_sub(1)),
            Err(_) => return Asked::Whole,
        },
        (from, to) => match (number(from), number(to)) {
            (Ok(from), Ok(to)) if from <= to => (from, to.min(length.saturating_sub(1))),
            _ => return Asked::Whole,
        },
    };
    if from >= length {
        Asked::Nothing
    } else {
        Asked::Part(from, to)
    }
}

/// What is sent of which bytes.
struct Plan {
    job_id: String,
    /// Bytes in all.
    length: u64,
    etag: String,
    status: StatusCode,
    /// From, length; none where the range is beyond the end.
    part: Option<(u64, u64)>,
}

impl Plan {
    fn of(job: &Job, wish: Wish, headers: &HeaderMap) -> Self {
        let length = kept_bytes(job, wish.only);
        let (out, err) = (job.stdout, job.stderr);
        // The same bytes have the same tag: nothing is changed but the ends of the tail.
        let etag = format!(
            "\"{}-{}-{}-{}\"",
            out.start, out.bytes, err.start, err.bytes
        );
        let value = |name| {
            headers
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        let is_same = value(header::IF_RANGE).is_none_or(|tag| tag == etag);
        let range = value(header::RANGE).filter(|_| is_same && !wish.times && !wish.gzip);
        let (status, part) = match asked(range, length) {
            Asked::Whole => (StatusCode::OK, Some((0, length))),
            Asked::Part(from, to) => (StatusCode::PARTIAL_CONTENT, Some((from, to + 1 - from))),
            Asked::Nothing => (StatusCode::RANGE_NOT_SATISFIABLE, None),
        };
        Self {
            job_id: job.id.clone(),
            length,
            etag,
            status,
            part,
        }
    }

    fn beyond(&self) -> Response {
        let length = self.length;
        let words = format!("There are {length} bytes; the range is beyond them");
        let mut response =
            ApiError::new(self.status, "range_not_satisfiable", words).into_response();
        set(
            &mut response,
            header::CONTENT_RANGE,
            &format!("bytes */{length}"),
        );
        response
    }

    fn response(&self, wish: Wish, body: Body) -> Response {
        let mut response = (self.status, body).into_response();
        let kind = if wish.gzip {
            "application/gzip"
        } else {
            "text/plain; charset=utf-8"
        };
        set(&mut response, header::CONTENT_TYPE, kind);
        if wish.gzip || wish.times {
            let name = wish.file_name(&self.job_id);
            let disposition = format!("attachment; filename=\"{name}\"");
            set(&mut response, header::CONTENT_DISPOSITION, &disposition);
            return response;
        }
        set(&mut response, header::ACCEPT_RANGES, "bytes");
        set(&mut response, header::ETAG, &self.etag);
        let (from, length) = self.part.unwrap_or_default();
        set(&mut response, header::CONTENT_LENGTH, &length.to_string());
        if self.status == StatusCode::PARTIAL_CONTENT {
            let range = format!("bytes {from}-{}/{}", from + length - 1, self.length);
            set(&mut response, header::CONTENT_RANGE, &range);
        }
        response
    }
}

fn set(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// A log on its way to a client: a window is read when the client has taken the one before.
struct Sending {
    jobs: Jobs,
    reading: Reading,
    /// Read and not sent yet.
    window: Option<Vec<StoredChunk>>,
    form: Form,
}

impl Sending {
    fn new(jobs: Jobs, reading: Reading, first: Vec<StoredChunk>, wish: Wish) -> Self {
        let packer = || GzEncoder::new(Vec::new(), Compression::default());
        Self {
            jobs,
            reading,
            window: Some(first),
            form: Form {
                line_begins: wish.times.then_some(true),
                packer: wish.gzip.then(packer),
            },
        }
    }

    /// A body that breaks off where a promised byte is not there any more.
    fn into_body(self) -> Body {
        let windows = futures_util::stream::try_unfold(Some(self), |sending| async move {
            let Some(sending) = sending else {
                return Ok(None);
            };
            sending.next().await.map(Some).inspect_err(|error| {
                tracing::info!(%error, "a download of a log broke off");
            })
        });
        Body::from_stream(windows)
    }

    /// The next bytes, and the rest if there is more.
    async fn next(mut self) -> Result<(Bytes, Option<Self>), KeptError> {
        let chunks = match self.window.take() {
            Some(first) => first,
            None => {
                let mut reading = self.reading;
                let read = self.jobs.store.read(move |tx| {
                    let chunks = reading.read(tx)?;
                    Ok::<_, KeptError>((reading, chunks))
                });
                let (reading, chunks) = read.await?;
                self.reading = reading;
                chunks
            }
        };
        let is_last = self.reading.is_done();
        let mut form = self.form;
        let formed = tokio::task::spawn_blocking(move || {
            let bytes = form.bytes(chunks, is_last);
            (form, bytes)
        });
        let (form, bytes) = formed
            .await
            .map_err(|_| KeptError::Store(crate::store::StoreError::Stopping))?;
        self.form = form;
        Ok((bytes.into(), (!is_last).then_some(self)))
    }
}

/// What is made of the bytes on their way.
struct Form {
    /// Where lines get their times: whether the next byte begins one.
    line_begins: Option<bool>,
    packer: Option<GzEncoder<Vec<u8>>>,
}

impl Form {
    /// The bytes of a window.
    fn bytes(&mut self, chunks: Vec<StoredChunk>, is_last: bool) -> Vec<u8> {
        let plain = self.with_times(chunks);
        let Some(packer) = &mut self.packer else {
            return plain;
        };
        let packed = packer.write_all(&plain).and_then(|()| {
            if is_last {
                packer.try_finish()?;
            }
            io::Result::Ok(std::mem::take(packer.get_mut()))
        });
        packed.expect("memory takes every write")
    }

    fn with_times(&mut self, chunks: Vec<StoredChunk>) -> Vec<u8> {
        let Some(begins) = &mut self.line_begins else {
            return joined(&chunks);
        };
        let mut bytes = Vec::new();
        for chunk in chunks {
            let stamp = format!("{} ", chunk.arrived_at);
            for line in chunk.data.split_inclusive(|byte| *byte == b'\n') {
                if *begins {
                    bytes.extend_from_slice(stamp.as_bytes());
                }
                bytes.extend_from_slice(line);
                *begins = line.ends_with(b"\n");
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (range, expected) in [
            (None, Asked::Whole),
            (Some("bytes=0-3"), Asked::Part(0, 3)),
            (Some("bytes=4-"), Asked::Part(4, 9)),
            (Some("bytes=-3"), Asked::Part(7, 9)),
            (Some("bytes=-99"), Asked::Part(0, 9)),
            (Some("bytes=5-99"), Asked::Part(5, 9)),
            (Some("bytes=10-"), Asked::Nothing),
            (Some("bytes=-0"), Asked::Nothing),
            (Some("bytes=3-1"), Asked::Whole),
            (Some("bytes=0-1,3-4"), Asked::Whole),
            (Some("lines=0-1"), Asked::Whole),
            (Some("bytes=-"), Asked::Whole),
        ] {
            assert_eq!(asked(range, 10), expected, "{range:?}");
        }
        assert_eq!(asked(Some("bytes=0-"), 0), Asked::Nothing);
    }

    #[test]
    fn lines_get_their_times_once_and_across_chunks() {
        let chunk = |millis, data: &[u8]| StoredChunk {
            stream: Stream::Stdout,
            start_offset: 0,
            position: 0,
            arrived_at: crate::clock::Timestamp::from_millis(millis),
            line: None,
            data: data.to_vec(),
        };
        let mut form = Form {
            line_begins: Some(true),
            packer: None,
        };
        let first = form.bytes(vec![chunk(0, b"a\nb"), chunk(1_000, b"c\n\nd")], false);
        let rest = form.bytes(vec![chunk(2_000, b"\n")], true);
        let text = String::from_utf8([first, rest].concat()).expect("text");
        let at = |second: u32| format!("1970-01-01T00:00:0{second}.000Z ");
        let wanted = format!("{}a\n{}bc\n{}\n{}d\n", at(0), at(0), at(1), at(1));
        assert_eq!(text, wanted);
    }
}
