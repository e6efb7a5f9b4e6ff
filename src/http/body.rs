//! Reads a request's body within limits of size (also after decompression), time and the memory
//! budget.

use std::io::Read;
use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyprbox_protocol::MAX_BODY_BYTES;

use super::{ApiError, Meter};

/// The most bytes of a body before sign-in.
const MAX_STRANGER_BYTES: usize = 64 * 1024;
/// How long a body may take, and the rate that extends this time: a slow client occupies a
/// connection only while it sends.
const GRACE: Duration = Duration::from_secs(30);
const LEAST_BYTES_A_SECOND: u64 = 16 * 1024;
/// Bytes that are decompressed between two checks of the budget.
const STEP_BYTES: u64 = 64 * 1024;

/// Reads the whole body and decompresses gzip. Clients that are not signed in may send only small,
/// uncompressed bodies.
///
/// Fails with 413 past the limit, 415 for another encoding, 408 after the time limit, 400 for an
/// incomplete or invalid body, and 429 or 503 if the memory budget is used up.
pub(crate) async fn read_body(parts: &Parts, body: Body) -> Result<Bytes, ApiError> {
    let meter = &Meter::of(&parts.extensions);
    let is_signed_in = meter.is_signed_in();
    let limit = if is_signed_in {
        MAX_BODY_BYTES
    } else {
        MAX_STRANGER_BYTES
    };
    let gzip = is_gzip(&parts.headers, is_signed_in)?;
    let declared = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    let raw = collect(body, limit, meter).await?;
    if gzip {
        let meter = meter.clone();
        tokio::task::spawn_blocking(move || unpack(&raw, &meter))
            .await
            .map_err(ApiError::internal)?
    } else {
        Ok(raw)
    }
}

fn too_large(limit: usize) -> ApiError {
    if limit == MAX_BODY_BYTES {
        return ApiError::too_large();
    }
    let mut error = ApiError::too_large();
    error.message = "The body is larger than 64 KiB, the limit before sign-in".to_owned();
    error
}

fn is_gzip(headers: &HeaderMap, is_signed_in: bool) -> Result<bool, ApiError> {
    let unsupported = |message| {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Err(ApiError::new(status, "unsupported_encoding", message))
    };
    match headers
        .get(header::CONTENT_ENCODING)
        .map(|value| value.as_bytes())
    {
        None => Ok(false),
        Some(value) if value.eq_ignore_ascii_case(b"identity") => Ok(false),
        Some(_) if !is_signed_in => unsupported("Content-Encoding is not allowed before sign-in"),
        Some(value) if value.eq_ignore_ascii_case(b"gzip") => Ok(true),
        Some(_) => unsupported("Content-Encoding must be gzip or absent"),
    }
}

async fn collect(mut body: Body, limit: usize, meter: &Meter) -> Result<Bytes, ApiError> {
    let began = tokio::time::Instant::now();
    let mut whole = BytesMut::new();
    loop {
        let more = Duration::from_secs(whole.len() as u64 / LEAST_BYTES_A_SECOND);
        let frame = tokio::time::timeout_at(began + GRACE + more, body.frame())
            .await
            .map_err(|_| {
                ApiError::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "body_stalled",
                    "The body took too long; it must arrive within 30 s or at 16 KiB per second",
                )
            })?;
        let Some(frame) = frame else {
            return Ok(whole.freeze());
        };
        let Ok(data) = frame
            .map_err(|_| ApiError::bad_request("bad_body", "The body is incomplete"))?
            .into_data()
        else {
            continue;
        };
        if whole.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        meter.hold_body(data.len())?;
        whole.extend_from_slice(&data);
    }
}

fn unpack(raw: &[u8], meter: &Meter) -> Result<Bytes, ApiError> {
    let mut whole = Vec::new();
    let mut unpacking = flate2::read::MultiGzDecoder::new(raw);
    loop {
        let read = unpacking
            .by_ref()
            .take(STEP_BYTES)
            .read_to_end(&mut whole)
            .map_err(|_| {
                ApiError::bad_request(
                    "bad_body",
                    "The body is not valid gzip, although its Content-Encoding is gzip",
                )
            })?;
        if whole.len() > MAX_BODY_BYTES {
            return Err(ApiError::too_large());
        }
        meter.hold_body(read)?;
        if read == 0 {
            return Ok(whole.into());
        }
    }
}
