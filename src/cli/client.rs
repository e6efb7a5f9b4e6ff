//! HTTP client of the API.

use std::time::{Duration, Instant};

use hyprbox_protocol::{ErrorBody, bad_setting};
use reqwest::header::{
    AUTHORIZATION, HeaderName, HeaderValue, IF_RANGE, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{CliError, exit, io_message, without_errno};
use super::settings::{Access, TokenSource, variable};
use crate::cli::sse::Events;

/// How long a call may take.
/// Bytes of an answer that are read into memory: a job's detail may have two streams of 1 GiB kept
/// output, which `jobs log` downloads instead.
const LONGEST_ANSWER: usize = 256 << 20;

const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Streams send a keepalive every 15 s. One that is silent for longer than this is broken.
const READ_TIMEOUT: Duration = Duration::from_secs(40);
/// How long to retry a call.
const RETRY_FOR: Duration = Duration::from_secs(30);
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(4);

/// Why a call failed.
#[derive(Debug)]
pub(super) enum CallError {
    /// No response, or an incomplete one. `connected`: the server may have received the request.
    Connection { words: String, connected: bool },
    /// A response with a status of 400 or more.
    Refused {
        status: StatusCode,
        body: ErrorBody,
        retry_after: Option<Duration>,
    },
    /// A response that isn't a HyprBox server's.
    Protocol(String),
}

impl CallError {
    /// Whether a retry may succeed.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Connection { .. } => true,
            Self::Refused { status, .. } => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            Self::Protocol(_) => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Connection { .. } | Self::Protocol(_) => None,
        }
    }
}

/// A response: its JSON, and the value parsed from it.
pub(super) struct Answer<T> {
    pub(super) json: Value,
    pub(super) value: T,
}

/// A client of one server, with one user's token.
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<(HeaderValue, TokenSource)>,
}

impl Client {
    /// A client with a token.
    pub(super) fn new(access: &Access) -> Result<Self, CliError> {
        let mut client = Self::anonymous(&access.url)?;
        client.use_token(&access.token, access.from)?;
        Ok(client)
    }

    /// A client without a token.
    pub(super) fn anonymous(url: &str) -> Result<Self, CliError> {
        Ok(Self {
            http: http_client(url)?,
            base: url.to_owned(),
            token: None,
        })
    }

    pub(super) fn use_token(&mut self, token: &str, from: TokenSource) -> Result<(), CliError> {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
            CliError::new(
                exit::REFUSED,
                "the token (not shown) is malformed: it must be one word, such as hbu_…",
            )
        })?;
        value.set_sensitive(true);
        self.token = Some((value, from));
        Ok(())
    }

    pub(super) fn url(&self) -> &str {
        &self.base
    }

    /// The source of the token, if there is one.
    pub(super) fn token_source(&self) -> Option<TokenSource> {
        self.token.as_ref().map(|(_, from)| *from)
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some((value, _)) => request.header(AUTHORIZATION, value.clone()),
            None => request,
        }
    }

    /// Sends a GET. Retries for a while if the server is busy.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, CliError> {
        let call = || self.request(Method::GET, path).timeout(CALL_TIMEOUT);
        self.read(self.send_patiently(call, None, |_| {}).await)
            .await
    }

    /// Reads a list: the field `name` of the response.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        name: &str,
    ) -> Result<Answer<Vec<T>>, CliError> {
        let Answer { json, .. } = self.get::<Value>(path).await?;
        let value = Vec::deserialize(&json[name])
            .map_err(|error| self.explain(CallError::Protocol(error.to_string())))?;
        Ok(Answer { json, value })
    }

    /// Sends a request that changes something, without retries.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer<T>, CliError> {
        let mut request = self.request(method, path).timeout(CALL_TIMEOUT);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.read(send(request).await).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<Answer<T>, CliError> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// A call that takes effect only if a condition holds: `If-Match` or `If-None-Match`.
    pub(super) async fn call_if<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        condition: &(HeaderName, String),
        body: Option<&Value>,
    ) -> Result<Answer<T>, CliError> {
        let request = self.request(method, path).timeout(CALL_TIMEOUT);
        let mut request = request.header(&condition.0, &condition.1);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.read(send(request).await).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<(), CliError> {
        let request = self.request(Method::DELETE, path).timeout(CALL_TIMEOUT);
        send(request).await.map_err(|error| self.explain(error))?;
        Ok(())
    }

    /// Posts with an `Idempotency-Key`: the request takes effect once, however often it is retried.
    /// `on_retry` is called before each retry.
    pub(super) async fn post_once<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        on_retry: impl FnMut(&CallError),
    ) -> Result<Answer<T>, CliError> {
        let key = uuid::Uuid::now_v7().to_string();
        let name = HeaderName::from_static("idempotency-key");
        let call = || {
            let request = self.request(Method::POST, path).timeout(CALL_TIMEOUT);
            request.header(name.clone(), &key).json(body)
        };
        self.read(self.send_patiently(call, Some(false), on_retry).await)
            .await
    }

    /// A GET whose body is not JSON.
    pub(super) async fn bytes(&self, path: &str) -> Result<Response, CliError> {
        let call = || self.request(Method::GET, path);
        self.send_patiently(call, None, |_| {})
            .await
            .map_err(|error| self.explain(error))
    }

    /// Resumes a download that broke off at the byte `from`; `None` if the content has changed.
    pub(super) async fn resume_download(
        &self,
        path: &str,
        tag: &HeaderValue,
        from: u64,
    ) -> Option<Response> {
        let call = || {
            let request = self.request(Method::GET, path).header(IF_RANGE, tag);
            request.header(RANGE, format!("bytes={from}-"))
        };
        let answer = self.send_patiently(call, Some(true), |_| {}).await.ok()?;
        (answer.status() == StatusCode::PARTIAL_CONTENT).then_some(answer)
    }

    /// Opens an event stream, after the event `last_id` if given.
    pub(super) async fn events(
        &self,
        path: &str,
        last_id: Option<&str>,
    ) -> Result<Events, CallError> {
        let mut request = self.request(Method::GET, path);
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let answer = send(request).await?;
        let kind = answer.headers().get(reqwest::header::CONTENT_TYPE);
        if kind.is_none_or(|kind| !kind.as_bytes().starts_with(b"text/event-stream")) {
            return Err(CallError::Protocol(
                "the response is not an event stream".to_owned(),
            ));
        }
        Ok(Events::new(answer))
    }

    /// Sends a request, with retries while they may help. After a lost connection it retries only
    /// if `maybe_received` is given and an earlier request may have reached the server; a server
    /// that was never reached is given up at once.
    async fn send_patiently(
        &self,
        call: impl Fn() -> RequestBuilder,
        maybe_received: Option<bool>,
        mut on_retry: impl FnMut(&CallError),
    ) -> Result<Response, CallError> {
        let began = Instant::now();
        let mut pause = RETRY_FIRST;
        let (after_loss, mut maybe_received) =
            (maybe_received.is_some(), maybe_received.unwrap_or(false));
        loop {
            let error = match send(call()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let again = match &error {
                CallError::Connection { connected, .. } => {
                    maybe_received |= connected;
                    after_loss && maybe_received
                }
                CallError::Refused { .. } | CallError::Protocol(_) => error.is_transient(),
            };
            let wait = error.retry_after().unwrap_or(pause);
            if !again || began.elapsed() + wait > RETRY_FOR {
                return Err(error);
            }
            on_retry(&error);
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    async fn read<T: DeserializeOwned>(
        &self,
        answer: Result<Response, CallError>,
    ) -> Result<Answer<T>, CliError> {
        let answer = answer.map_err(|error| self.explain(error))?;
        let body = whole(answer).await.map_err(|error| self.explain(error))?;
        let foreign =
            |error: serde_json::Error| self.explain(CallError::Protocol(error.to_string()));
        // A 204 has no body.
        let json: Value = match body.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&body).map_err(foreign)?,
        };
        let value = T::deserialize(&json).map_err(foreign)?;
        Ok(Answer { json, value })
    }
}

fn http_client(url: &str) -> Result<reqwest::Client, CliError> {
    let wrong = |error: &dyn std::error::Error| {
        CliError::failed(format!("TLS can't be set up: {}", chain(error)))
            .hint("install ca-certificates, or set HYPRBOX_CA_FILE")
    };
    // reqwest needs a provider even for plain http. An earlier install of the same one is fine.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("hyprbox/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(READ_TIMEOUT)
        .tcp_nodelay(true)
        .http1_only();
    let parsed = reqwest::Url::parse(url).map_err(|error| wrong(&error))?;
    if hyprbox_agent::config::is_loopback(&parsed) {
        // A proxy from the environment can't reach this machine's loopback.
        builder = builder.no_proxy();
    }
    if let Some(path) = variable("HYPRBOX_CA_FILE") {
        let bad = |words: String| {
            let allowed = format!("a readable file of PEM certificates ({words})");
            CliError::failed(bad_setting("HYPRBOX_CA_FILE", Some(&path), &allowed))
        };
        let pem = std::fs::read(&path).map_err(|error| bad(io_message(&error)))?;
        let trusting = hyprbox_agent::trust::only(&pem).map_err(bad)?;
        builder = builder.tls_backend_preconfigured(trusting);
    } else if parsed.scheme() == "http" {
        // Loading the system's roots takes longer than a whole call on loopback.
        let empty = rustls::ClientConfig::builder()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        builder = builder.tls_backend_preconfigured(empty);
    }
    builder.build().map_err(|error| wrong(&error))
}

/// Sends a request once.
async fn send(request: RequestBuilder) -> Result<Response, CallError> {
    let answer = request
        .send()
        .await
        .map_err(|error| connection_error(&error))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    if status.is_redirection() {
        let to = answer.headers().get(LOCATION);
        let to = to.and_then(|to| to.to_str().ok()).unwrap_or("nowhere");
        return Err(CallError::Protocol(format!(
            "it redirects to {to}, and redirects are never followed"
        )));
    }
    let retry_after = answer
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let body = whole(answer).await.unwrap_or_default();
    // A proxy's own error page is not JSON.
    let body = serde_json::from_slice(&body).unwrap_or_else(|_| ErrorBody {
        error: String::new(),
        code: String::new(),
        fields: Default::default(),
    });
    Err(CallError::Refused {
        status,
        body,
        retry_after,
    })
}

pub(super) fn connection_error(error: &reqwest::Error) -> CallError {
    CallError::Connection {
        connected: !error.is_connect(),
        words: if error.is_timeout() {
            "no response in time".to_owned()
        } else if error.is_body() || error.is_decode() {
            "the response was cut short".to_owned()
        } else {
            innermost(error)
        },
    }
}

/// The message of an error's root cause, such as `Connection refused`.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    without_errno(error.to_string())
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// Escapes a path segment.
pub(super) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    // One or two dots would be resolved to another path.
    match out.as_str() {
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        _ => out,
    }
}

/// The answer's body, unless it is longer than any answer of the server.
async fn whole(mut answer: Response) -> Result<Vec<u8>, CallError> {
    let mut body = Vec::new();
    while let Some(part) = answer
        .chunk()
        .await
        .map_err(|error| connection_error(&error))?
    {
        if body.len() + part.len() > LONGEST_ANSWER {
            return Err(CallError::Protocol(format!(
                "the answer has more than {LONGEST_ANSWER} bytes"
            )));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_stays_one() {
        assert_eq!(segment("prod-eu-1"), "prod-eu-1");
        assert_eq!(segment("../a?b#c d\u{e9}"), "..%2Fa%3Fb%23c%20d%C3%A9");
        assert_eq!(segment(".."), "%2E%2E");
    }
}
