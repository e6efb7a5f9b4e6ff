//! The agent's calls to the server. Each is one attempt; when to try again is the caller's business.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyprbox_protocol::{ErrorBody, HeartbeatRequest};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode};
use tokio::sync::Notify;

use crate::config::{Config, is_loopback};
use crate::trust;
use crate::version::version;

/// How long a call may take beyond the time that it asked the server to wait.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// A whole batch of output may have to go over a slow line.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(60);

/// The client can't be made from the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file of certificate authorities can't be read any more.
    #[error("HYPRBOX_CA_FILE: {0}")]
    CaFile(String),
    /// The TLS library refuses to start, mostly for want of the system's root certificates.
    #[error("no TLS to be had: {0}; install ca-certificates, or set HYPRBOX_CA_FILE")]
    Tls(String),
}

/// Why a call didn't do what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// 401 or 403: the token is wrong, revoked or another node's.
    #[error("unauthorized — check HYPRBOX_NODE_TOKEN")]
    Unauthorized { status: u16 },
    /// Any other answer that is no success.
    #[error("HTTP {status}: {text}")]
    Status {
        status: u16,
        text: String,
        retry_after: Option<Duration>,
    },
    /// No answer, or one that was cut.
    #[error("{0}")]
    Network(String),
    /// An answer of 200 that isn't what the server says; something else answers in its place.
    #[error("the answer is not the server's: {0}")]
    Answer(String),
}

impl CallError {
    /// The status of an answer that came.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            CallError::Status { status, .. } | CallError::Unauthorized { status } => Some(*status),
            CallError::Network(_) | CallError::Answer(_) => None,
        }
    }

    /// How long the server wants to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            CallError::Status { retry_after, .. } => *retry_after,
            CallError::Unauthorized { .. } | CallError::Network(_) | CallError::Answer(_) => None,
        }
    }
}

/// One node's way to the server.
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    node_id: String,
    authorization: HeaderValue,
    offline: AtomicBool,
    back_online: Notify,
}

impl Client {
    pub(crate) fn new(config: &Config) -> Result<Self, ClientError> {
        let tls = |e: &dyn std::error::Error| ClientError::Tls(chain(e));
        let mut authorization =
            HeaderValue::from_str(&format!("Bearer {}", config.node_token)).map_err(|e| tls(&e))?;
        authorization.set_sensitive(true);
        Ok(Self {
            http: http(&config.api_url, config.ca_file.as_deref())?,
            base: config.api_url.clone(),
            node_id: config.node_id.clone(),
            authorization,
            offline: AtomicBool::new(false),
            back_online: Notify::new(),
        })
    }

    /// `POST /api/nodes/:id/heartbeat`.
    pub(crate) async fn heartbeat(&self, request: &HeartbeatRequest) -> Result<(), CallError> {
        let path = format!("/api/nodes/{}/heartbeat", self.node_id);
        let body = encode(request)?;
        self.call(Method::POST, &path, Some(body), CALL_TIMEOUT)
            .await
            .map(drop)
    }

    #[cfg(target_os = "linux")]
    /// `GET /api/jobs/pending`: claims a job if `capacity` allows, and hears of cancels.
    pub(crate) async fn pending(
        &self,
        poll: &PollRequest<'_>,
    ) -> Result<hyprbox_protocol::PendingAnswer, CallError> {
        let mut path = format!(
            "/api/jobs/pending?nodeId={}&wait={}&capacity={}",
            self.node_id, poll.wait_seconds, poll.capacity
        );
        if let Some(instance) = poll.instance {
            path.push_str("&agent=");
            path.push_str(instance);
        }
        if !poll.running.is_empty() {
            path.push_str("&running=");
            path.push_str(&poll.running.join(","));
        }
        let timeout = CALL_TIMEOUT + Duration::from_secs(poll.wait_seconds);
        let answer = self.call(Method::GET, &path, None, timeout).await?;
        decode(&answer)
    }

    #[cfg(target_os = "linux")]
    /// `POST /api/jobs/:id/output` with a body that is made already.
    pub(crate) async fn output(
        &self,
        job_id: &str,
        instance: &str,
        body: bytes::Bytes,
    ) -> Result<hyprbox_protocol::OutputAnswer, CallError> {
        let path = format!("/api/jobs/{job_id}/output?agent={instance}");
        let answer = self
            .call(Method::POST, &path, Some(body), OUTPUT_TIMEOUT)
            .await?;
        decode(&answer)
    }

    #[cfg(target_os = "linux")]
    /// `POST /api/jobs/:id/complete`.
    pub(crate) async fn complete(
        &self,
        job_id: &str,
        instance: &str,
        request: &hyprbox_protocol::CompleteRequest,
    ) -> Result<(), CallError> {
        let path = format!("/api/jobs/{job_id}/complete?agent={instance}");
        let body = encode(request)?;
        self.call(Method::POST, &path, Some(body), CALL_TIMEOUT)
            .await
            .map(drop)
    }

    /// Sleeps, but not on once another call has found the server back.
    pub(crate) async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.back_online.notified() => {}
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<bytes::Bytes>,
        timeout: Duration,
    ) -> Result<bytes::Bytes, CallError> {
        let result = self.attempt(method, path, body, timeout).await;
        match &result {
            Err(CallError::Network(_)) => self.offline.store(true, Ordering::Relaxed),
            _ if self.offline.swap(false, Ordering::Relaxed) => self.back_online.notify_waiters(),
            _ => {}
        }
        result
    }

    async fn attempt(
        &self,
        method: Method,
        path: &str,
        body: Option<bytes::Bytes>,
        timeout: Duration,
    ) -> Result<bytes::Bytes, CallError> {
        let network = |e: reqwest::Error| CallError::Network(chain(&e.without_url()));
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .header(AUTHORIZATION, self.authorization.clone())
            .timeout(timeout);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let answer = request.send().await.map_err(network)?;
        if answer.status() == StatusCode::OK {
            return answer.bytes().await.map_err(network);
        }
        Err(refusal(answer).await)
    }
}

/// Connections to the server at `api_url`, which trust the system's roots, or those of `ca_file` alone.
pub(crate) fn http(api_url: &str, ca_file: Option<&Path>) -> Result<reqwest::Client, ClientError> {
    let tls = |e: &dyn std::error::Error| ClientError::Tls(chain(e));
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that somebody was quicker, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let mut builder = reqwest::Client::builder()
        .user_agent(format!("hyprbox-agent/{}", version()))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(15))
        .pool_idle_timeout(Duration::from_secs(50))
        .http1_only();
    let url = reqwest::Url::parse(api_url).map_err(|e| tls(&e))?;
    if is_loopback(&url) {
        // A proxy of the environment can't reach this machine's loopback.
        builder = builder.no_proxy();
    }
    builder = if let Some(path) = ca_file {
        let pem = std::fs::read(path).map_err(|e| ClientError::CaFile(e.to_string()))?;
        let trusting = trust::only(&pem).map_err(ClientError::CaFile)?;
        builder.tls_backend_preconfigured(trusting)
    } else if url.scheme() == "http" {
        // No store of roots is read where none is needed: it would be half of the idle memory.
        let roots = rustls::RootCertStore::empty();
        let empty = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        builder.tls_backend_preconfigured(empty)
    } else {
        builder
    };
    builder.build().map_err(|e| tls(&e))
}

/// One poll's question.
#[cfg(target_os = "linux")]
pub(crate) struct PollRequest<'a> {
    pub(crate) instance: Option<&'a str>,
    pub(crate) wait_seconds: u64,
    pub(crate) capacity: u8,
    pub(crate) running: &'a [String],
}

/// What an answer other than 200 says.
async fn refusal(answer: Response) -> CallError {
    let status = answer.status();
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        return CallError::Unauthorized {
            status: status.as_u16(),
        };
    }
    let retry_after = answer
        .headers()
        .get(RETRY_AFTER)
        .and_then(|v| v.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let text = if status.is_redirection() {
        "a redirect, which is never followed; check HYPRBOX_API_URL".to_owned()
    } else {
        let body = answer.bytes().await.unwrap_or_default();
        serde_json::from_slice::<ErrorBody>(&body).map_or_else(
            |_| {
                status
                    .canonical_reason()
                    .unwrap_or("no reason given")
                    .to_owned()
            },
            // One line, whatever came.
            |e| {
                e.error
                    .chars()
                    .map(|c| if c.is_control() { ' ' } else { c })
                    .take(300)
                    .collect()
            },
        )
    };
    CallError::Status {
        status: status.as_u16(),
        text,
        retry_after,
    }
}

fn encode(value: &impl serde::Serialize) -> Result<bytes::Bytes, CallError> {
    serde_json::to_vec(value)
        .map(bytes::Bytes::from)
        .map_err(|e| CallError::Answer(e.to_string()))
}

#[cfg(target_os = "linux")]
fn decode<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, CallError> {
    serde_json::from_slice(body).map_err(|e| CallError::Answer(e.to_string()))
}

/// That nobody answers at `url`, and why.
#[cfg(target_os = "linux")]
pub(crate) fn unreachable(url: &str, error: reqwest::Error) -> String {
    format!("{url} can't be reached: {}", chain(&error.without_url()))
}

/// An error and what caused it, in one line, without saying anything twice.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}
