//! The kept output as bytes, exactly as written; a part of it where the client asks for a range.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyprbox_protocol::Stream;

use crate::http::ApiError;
use crate::store::job::Job;
use crate::store::{StoreError, Tx, output};

/// Bytes read from the store at a time.
const WINDOW_BYTES: u64 = 1024 * 1024;

/// Which output is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selection {
    One(Stream),
    /// Both, in the order in which the agent read them.
    Both,
}

impl Selection {
    pub(super) fn parse(name: Option<&str>) -> Option<Self> {
        match name {
            None | Some("both") => Some(Self::Both),
            Some("stdout") => Some(Self::One(Stream::Stdout)),
            Some("stderr") => Some(Self::One(Stream::Stderr)),
            Some(_) => None,
        }
    }

    fn has(self, stream: Stream) -> bool {
        match self {
            Selection::One(one) => one == stream,
            Selection::Both => true,
        }
    }
}

/// The kept bytes of what is selected.
pub(super) fn kept(
    tx: &mut dyn Tx,
    job: &Job,
    selection: Selection,
) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    let mut position = 0;
    loop {
        let chunks = output::window(tx, &job.id, position, WINDOW_BYTES)?;
        let Some(last) = chunks.last() else {
            return Ok(bytes);
        };
        position = last.position + 1;
        for chunk in chunks.iter().filter(|chunk| selection.has(chunk.stream)) {
            let start = match chunk.stream {
                Stream::Stdout => job.stdout.start,
                Stream::Stderr => job.stderr.start,
            };
            // The chunk at the tail's edge is kept whole; its head has fallen off.
            let fallen =
                usize::try_from(start.saturating_sub(chunk.start_offset)).unwrap_or(usize::MAX);
            bytes.extend_from_slice(chunk.data.get(fallen..).unwrap_or_default());
        }
    }
}

/// What a `Range` header asks of `length` bytes.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// No range, or one that may be ignored (another unit, several ranges, nonsense).
    Whole,
    /// From, to (inclusive).
    Part(usize, usize),
    /// A range of which there is nothing.
    Nothing,
}

fn asked(range: Option<&str>, length: usize) -> Asked {
    let Some((from, to)) =
        range.and_then(|range| range.trim().strip_prefix("bytes=")?.split_once('-'))
    else {
        return Asked::Whole;
    };
    let number = |digits: &str| digits.trim().parse::<usize>();
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

/// `text/plain` of the bytes, or of the range of them that `headers` ask for.
pub(super) fn text_response(mut bytes: Vec<u8>, headers: &HeaderMap) -> Result<Response, ApiError> {
    let length = bytes.len();
    let range = headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok());
    let (status, content_range) = match asked(range, length) {
        Asked::Whole => (StatusCode::OK, None),
        Asked::Part(from, to) => {
            bytes.truncate(to + 1);
            bytes.drain(..from);
            (
                StatusCode::PARTIAL_CONTENT,
                Some(format!("bytes {from}-{to}/{length}")),
            )
        }
        Asked::Nothing => {
            let words = format!("There are {length} bytes; the range is beyond them");
            let error = ApiError::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "range_not_satisfiable",
                words,
            );
            return Ok(with_range(
                error.into_response(),
                &format!("bytes */{length}"),
            ));
        }
    };
    let mut response = (status, Body::from(bytes)).into_response();
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
        .headers_mut()
        .insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    Ok(match content_range {
        Some(range) => with_range(response, &range),
        None => response,
    })
}

fn with_range(mut response: Response, range: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(range) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    response
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
