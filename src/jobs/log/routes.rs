//! `GET /api/jobs/:id/log`: the kept output as bytes, exactly as written, or the range that the
//! client asks for.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyprbox_protocol::Stream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::{ApiError, Meter, Path, Query};
use crate::jobs::Jobs;
use crate::jobs::access::{ScopedViewer, read_visible};
use crate::jobs::log::body::LogBody;
use crate::jobs::log::window::{WINDOW_BYTES, WindowReader, kept_bytes};
use crate::store::job::Job;

/// Memory of a response while it is sent: a window as it was read, and as it is sent.
const RESPONSE_BYTES: usize = 2 * WINDOW_BYTES as usize;

/// The query of a log request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LogQuery {
    /// One stream, or both in the order in which the agent read them.
    only: Option<Stream>,
    /// Whether each line begins with its time of arrival.
    times: bool,
    gzip: bool,
}

impl LogQuery {
    fn parse(query: &Query) -> Result<Self, ApiError> {
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
        let suffix = if self.gzip { ".gz" } else { "" };
        format!("job-{job_id}-{stream}.log{suffix}")
    }
}

/// Parses the query parameter `times`.
pub(in crate::jobs) fn wants_times(query: &Query) -> Result<bool, ApiError> {
    match query.get("times") {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(query.wrong("times", "true or false")),
    }
}

/// The kept output, exactly as written.
#[utoipa::path(get, path = "/api/jobs/{id}/log", tag = "jobs",
    params(("id" = String, Path), ("stream" = Option<String>, Query, pattern = "^(stdout|stderr|both)$", description = "stdout, stderr or both (the default)"),
        ("times" = Option<bool>, Query, description = "true: each line begins with its time of arrival and a space; ranges are ignored"),
        ("format" = Option<String>, Query, pattern = "^(text|gzip)$", description = "text (the default) or gzip, a compressed file; ranges are ignored"),
        ("scope" = Option<String>, Query), ("Range" = Option<String>, Header),
        ("If-Range" = Option<String>, Header, description = "The ETag of the part that the client has: if the log has changed, the response is the whole log")),
    responses((status = 200, content((String = "text/plain"), (String = "application/gzip")),
            description = "The bytes that are kept when the response begins. If some of them are dropped from the head of the tail before they are sent, the connection is closed early"),
        (status = 206, content((String = "text/plain"))),
        (status = 416)),
    security(("bearer" = []), ("cookie" = [])))]
async fn kept_log(
    State(jobs): State<Jobs>,
    ScopedViewer { user, scope }: ScopedViewer,
    Path(id): Path<String>,
    meter: Meter,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let wanted = LogQuery::parse(&query)?;
    meter.hold_answer(RESPONSE_BYTES)?;
    // The first window is read with the row, so that a short log is of one moment.
    let read = move |tx: &mut dyn crate::store::Tx, job: &Job| {
        let plan = Plan::new(job, wanted, &headers);
        let Some((from, length)) = plan.part else {
            return Ok((plan, None));
        };
        let mut reader = WindowReader::new(job, wanted.only).range(from, length);
        let first = reader.read(tx)?;
        Ok((plan, Some((reader, first))))
    };
    let (_, (plan, begun)) = read_visible(&jobs, &user, scope, id, "job.look", read).await?;
    let Some((reader, first)) = begun else {
        return Ok(plan.unsatisfiable());
    };
    let body = LogBody::new(jobs, reader, first, wanted.times, wanted.gzip).into_body();
    Ok(plan.response(wanted, body))
}

pub(in crate::jobs) fn routes() -> OpenApiRouter<Jobs> {
    OpenApiRouter::new().routes(routes!(kept_log))
}

/// The bytes that a `Range` header selects.
#[derive(Debug, PartialEq, Eq)]
enum ByteRange {
    /// No range, or one that may be ignored (another unit, several ranges, invalid syntax).
    Whole,
    /// From, to (inclusive).
    Part(u64, u64),
    /// A range without any bytes.
    Unsatisfiable,
}

fn parse_range(range: Option<&str>, length: u64) -> ByteRange {
    let Some((from, to)) =
        range.and_then(|range| range.trim().strip_prefix("bytes=")?.split_once('-'))
    else {
        return ByteRange::Whole;
    };
    let number = |digits: &str| digits.trim().parse::<u64>();
    let (from, to) = match (from.trim(), to.trim()) {
        ("", "") => return ByteRange::Whole,
        ("", suffix) => match number(suffix) {
            Ok(0) => return ByteRange::Unsatisfiable,
            Ok(count) => (length.saturating_sub(count), length.saturating_sub(1)),
            Err(_) => return ByteRange::Whole,
        },
        (from, "") => match number(from) {
            Ok(from) => (from, length.saturating_sub(1)),
            Err(_) => return ByteRange::Whole,
        },
        (from, to) => match (number(from), number(to)) {
            (Ok(from), Ok(to)) if from <= to => (from, to.min(length.saturating_sub(1))),
            _ => return ByteRange::Whole,
        },
    };
    if from >= length {
        ByteRange::Unsatisfiable
    } else {
        ByteRange::Part(from, to)
    }
}

/// Which bytes are sent, and how.
struct Plan {
    job_id: String,
    /// Number of kept bytes.
    length: u64,
    etag: String,
    status: StatusCode,
    /// From, length; `None` if the range is beyond the end.
    part: Option<(u64, u64)>,
}

impl Plan {
    fn new(job: &Job, wanted: LogQuery, headers: &HeaderMap) -> Self {
        let length = kept_bytes(job, wanted.only);
        let (out, err) = (job.stdout, job.stderr);
        // Kept bytes never change, only the ends of the tail do: they identify the content.
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
        let range = value(header::RANGE).filter(|_| is_same && !wanted.times && !wanted.gzip);
        let (status, part) = match parse_range(range, length) {
            ByteRange::Whole => (StatusCode::OK, Some((0, length))),
            ByteRange::Part(from, to) => (StatusCode::PARTIAL_CONTENT, Some((from, to + 1 - from))),
            ByteRange::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, None),
        };
        Self {
            job_id: job.id.clone(),
            length,
            etag,
            status,
            part,
        }
    }

    fn unsatisfiable(&self) -> Response {
        let length = self.length;
        let message = format!("The range starts past the end of the log, which has {length} bytes");
        let mut response =
            ApiError::new(self.status, "range_not_satisfiable", message).into_response();
        set(
            &mut response,
            header::CONTENT_RANGE,
            &format!("bytes */{length}"),
        );
        response
    }

    fn response(&self, wanted: LogQuery, body: Body) -> Response {
        let mut response = (self.status, body).into_response();
        let kind = if wanted.gzip {
            "application/gzip"
        } else {
            "text/plain; charset=utf-8"
        };
        set(&mut response, header::CONTENT_TYPE, kind);
        if wanted.gzip || wanted.times {
            let name = wanted.file_name(&self.job_id);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_headers_are_parsed() {
        for (range, expected) in [
            (None, ByteRange::Whole),
            (Some("bytes=0-3"), ByteRange::Part(0, 3)),
            (Some("bytes=4-"), ByteRange::Part(4, 9)),
            (Some("bytes=-3"), ByteRange::Part(7, 9)),
            (Some("bytes=-99"), ByteRange::Part(0, 9)),
            (Some("bytes=5-99"), ByteRange::Part(5, 9)),
            (Some("bytes=10-"), ByteRange::Unsatisfiable),
            (Some("bytes=-0"), ByteRange::Unsatisfiable),
            (Some("bytes=3-1"), ByteRange::Whole),
            (Some("bytes=0-1,3-4"), ByteRange::Whole),
            (Some("lines=0-1"), ByteRange::Whole),
            (Some("bytes=-"), ByteRange::Whole),
        ] {
            assert_eq!(parse_range(range, 10), expected, "{range:?}");
        }
        assert_eq!(parse_range(Some("bytes=0-"), 0), ByteRange::Unsatisfiable);
    }
}
