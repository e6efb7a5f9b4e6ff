//! A request's body, bounded in size (also after decompression) and in patience.

use std::io::Read;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyprbox_protocol::MAX_BODY_BYTES;

use super::ApiError;

/// A body that stands still for this long is given up: a slow client holds a connection, never the server.
const STALLED: Duration = Duration::from_secs(30);

/// Reads the whole body, unpacked when it is gzip.
///
/// 413 past [`MAX_BODY_BYTES`], 415 for another encoding, 400 where it breaks off or is not what it says.
pub(crate) async fn read_body(headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    if declared.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        return Err(ApiError::too_large());
    }
    let gzip = is_gzip(headers)?;
    let raw = collect(body).await?;
    if gzip {
        tokio::task::spawn_blocking(move || unpack(&raw))
            .await
            .map_err(ApiError::internal)?
    } else {
        Ok(raw)
    }
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, ApiError> {
    match headers
        .get(header::CONTENT_ENCODING)
        .map(|value| value.as_bytes())
    {
        None => Ok(false),
        Some(value) if value.eq_ignore_ascii_case(b"identity") => Ok(false),
        Some(value) if value.eq_ignore_ascii_case(b"gzip") => Ok(true),
        Some(_) => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_encoding",
            "Content-Encoding must be gzip, or absent",
        )),
    }
}

async fn collect(mut body: Body) -> Result<Bytes, ApiError> {
    let broken = |what: &str| ApiError::bad_request("bad_body", format!("The body {what}"));
    let mut whole = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(STALLED, body.frame())
            .await
            .map_err(|_| {
                ApiError::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "body_stalled",
                    "The body stopped coming for 30 s",
                )
            })?;
        let Some(frame) = frame else {
            return Ok(whole.freeze());
        };
        let Ok(data) = frame.map_err(|_| broken("broke off"))?.into_data() else {
            continue;
        };
        if whole.len() + data.len() > MAX_BODY_BYTES {
            return Err(ApiError::too_large());
        }
        whole.extend_from_slice(&data);
    }
}

fn unpack(raw: &[u8]) -> Result<Bytes, ApiError> {
    let mut whole = Vec::new();
    let mut unpacking = flate2::read::MultiGzDecoder::new(raw).take(MAX_BODY_BYTES as u64 + 1);
    unpacking.read_to_end(&mut whole).map_err(|_| {
        ApiError::bad_request(
            "bad_body",
            "The body is not the gzip that Content-Encoding says",
        )
    })?;
    if whole.len() > MAX_BODY_BYTES {
        return Err(ApiError::too_large());
    }
    Ok(whole.into())
}
