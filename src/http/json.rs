//! JSON bodies. Unknown fields are refused in people's requests and ignored in agents' requests.

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::{ApiError, FieldErrors, Meter, read_body};

/// A person's JSON body. Unknown fields lead to a 400 that names them.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

/// A [`JsonBody`] with its JSON value, which identifies repeated requests. The value is absent if
/// it has more parts than any valid request, because then only the errors matter.
#[derive(Debug)]
pub struct JsonWithValue<T>(pub T, pub Option<serde_json::Value>);

/// A [`JsonBody`] that may be absent.
#[derive(Debug)]
pub struct OptionalJson<T>(pub Option<T>);

/// The most values of a body that are kept as JSON, more than a request with
/// [`super::named_values::NAMES_MAX`] names, or for a run on 5,000 nodes, has.
const VALUES_MAX: usize = 10 * super::named_values::NAMES_MAX;

/// An agent's JSON body. Unknown fields are ignored.
#[derive(Debug)]
pub struct AgentJson<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parse_strictly(&json_bytes(request).await?)?))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        // Some clients send the type without a body.
        if axum::body::HttpBody::is_end_stream(request.body()) {
            return Ok(Self(None));
        }
        let JsonBody(value) = JsonBody::from_request(request, state).await?;
        Ok(Self(Some(value)))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonWithValue<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Self::Rejection> {
        let bytes = json_bytes(request).await?;
        let value = parse_strictly(&bytes)?;
        let json = (values_of(&bytes) <= VALUES_MAX)
            .then(|| serde_json::from_slice(&bytes).map_err(|error| wrong_json(&error, ".")));
        Ok(Self(value, json.transpose()?))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for AgentJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Self::Rejection> {
        let bytes = json_bytes(request).await?;
        Ok(Self(parse(&bytes, &mut |_| {})?))
    }
}

async fn json_bytes(request: Request) -> Result<Bytes, ApiError> {
    let (parts, body) = request.into_parts();
    if !is_json(&parts.headers) {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "Content-Type must be application/json",
        ));
    }
    let bytes = read_body(&parts, body).await?;
    // The parsed value takes about as much memory again.
    Meter::of(&parts.extensions).hold_body(bytes.len())?;
    Ok(bytes)
}

/// An upper bound of the number of values in the JSON.
fn values_of(json: &[u8]) -> usize {
    1 + memchr::memchr3_iter(b',', b'[', b'{', json).count()
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers
        .get(header::CONTENT_TYPE)
        .map(|value| value.to_str())
    else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

fn parse_strictly<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut unknown = FieldErrors::default();
    let value = parse(bytes, &mut |path| {
        unknown.add_with(|| {
            (
                // An optional parent appears as `plan.?`.
                path.to_string().replace(".?", ""),
                "is not a field of this request".to_owned(),
            )
        });
    })?;
    unknown.into_result()?;
    Ok(value)
}

fn parse<T: DeserializeOwned>(
    bytes: &[u8],
    unknown: &mut dyn FnMut(&serde_ignored::Path<'_>),
) -> Result<T, ApiError> {
    // serde would also accept a list of the field's values as a struct.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        let message = "The body has the wrong shape: it must be a JSON object";
        return Err(ApiError::bad_request("bad_input", message));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let value = serde_ignored::deserialize(tracked, |path| unknown(&path))
        .map_err(|error| wrong_json(&error, &track.path().to_string()))?;
    json.end().map_err(|error| wrong_json(&error, "."))?;
    Ok(value)
}

fn wrong_json(error: &serde_json::Error, path: &str) -> ApiError {
    let message = error.to_string();
    // serde's message ends with a position in the text, which is useless to a user of a form.
    let reason = message.split(" at line ").next().unwrap_or(&message);
    if !error.is_data() {
        return ApiError::bad_request("bad_json", format!("The body is not valid JSON: {message}"));
    }
    let missing = reason
        .strip_prefix("missing field `")
        .and_then(|rest| rest.strip_suffix('`'));
    let reason = plain(reason);
    match (missing, path) {
        (Some(name), ".") => field_error(name, "is required"),
        (Some(name), parent) => field_error(&format!("{parent}.{name}"), "is required"),
        (None, ".") => ApiError::bad_request(
            "bad_input",
            format!("The body has the wrong shape: it {reason}"),
        ),
        (None, path) => field_error(path, &reason),
    }
}

/// serde's error about a value, in words for people who don't write Rust.
fn plain(reason: &str) -> String {
    if let Some((_, wanted)) = reason.split_once(", expected ") {
        if let Some(names) = wanted.strip_prefix("one of ") {
            return format!("must be one of {}", names.replace('`', ""));
        }
        let wanted = match wanted {
            "i64" | "i32" => "a whole number",
            "u64" | "u32" | "u16" | "usize" => "a whole number, 0 or more",
            "f64" => "a number",
            "a boolean" => "true or false",
            "a map" => "a JSON object",
            "a sequence" => "a list",
            other if other.starts_with("struct ") => "a JSON object",
            other => other,
        };
        return format!("must be {wanted}");
    }
    match reason.strip_prefix("duplicate field ") {
        Some(name) => format!("has {} twice", name.replace('`', "")),
        None => reason.to_owned(),
    }
}

fn field_error(field: &str, message: &str) -> ApiError {
    ApiError::bad_request("bad_input", format!("{field}: {message}")).with_field(field, message)
}
