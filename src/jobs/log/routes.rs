//! `GET /api/jobs/:id/log`: the kept output as bytes, exactly as written; a part of it where the
//! client asks for a range. How it is formed on its way is `log_body.rs`'s.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyprbox_protocol::Stream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Viewer;
use crate::http::{ApiError, Meter, Path, Query};
use crate::jobs::Jobs;
use crate::jobs::log::body::Sending;
use crate::jobs::log::window::{Reading, WINDOW_BYTES, kept_bytes};
use crate::jobs::routes::{Scope, find_with};
use crate::store::job::Job;

/// Bytes that an answer takes while it is sent: the window as it was read, and as it is sent.
const ANSWER_BYTES: usize = 2 * WINDOW_BYTES as usize;

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
pub(in crate::jobs) fn wants_times(query: &Query) -> Result<bool, ApiError> {
    match query.get("times") {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(query.wrong("times", "true or false")),
    }
}

/// The kept output as it was written.
#[utoipa::path(get, path = "/api/jobs/{id}/log", tag = "jobs",
    params(("id" = String, Path), ("stream" = Option<String>, Query, pattern = "^(stdout|stderr|both)$", description = "stdout, stderr or both (the default)"),
        ("times" = Option<bool>, Query, description = "true: each line begins with the time at which it came, and a space; no ranges then"),
        ("format" = Option<String>, Query, pattern = "^(text|gzip)$", description = "text (the default) or gzip, a compressed file; no ranges then"),
        ("scope" = Option<String>, Query), ("Range" = Option<String>, Header),
        ("If-Range" = Option<String>, Header, description = "The ETag of the part that is there already: the whole comes if the log is another one by now")),
    responses((status = 200, content((String = "text/plain"), (String = "application/gzip")),
            description = "The bytes kept when the response begins. If some of them fall off the head before they are sent, the connection is closed early"),
        (status = 206, content((String = "text/plain"))),
        (status = 416)),
    security(("bearer" = []), ("cookie" = [])))]
async fn kept_log(
    State(jobs): State<Jobs>,
    Viewer(user): Viewer,
    Path(id): Path<String>,
    meter: Meter,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let scope = Scope::of(&jobs, &user, &query)?;
    let wish = Wish::of(&query)?;
    meter.hold_answer(ANSWER_BYTES)?;
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
    let body = Sending::new(jobs, reading, first, wish.times, wish.gzip).into_body();
    Ok(plan.response(wish, body))
}

pub(in crate::jobs) fn routes() -> OpenApiRouter<Jobs> {
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
}
