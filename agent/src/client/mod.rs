//! The agent's calls to the server. Each is one attempt; when to try again is the caller's business.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyprbox_protocol::{ErrorBody, HeartbeatAnswer, HeartbeatRequest};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use crate::config::{Config, is_loopback};
use crate::trouble::Trouble;
use crate::trust;
use crate::version::version;

/// How long a call may take beyond the time that it asked the server to wait.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// A whole batch of output may have to go over a slow line.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(60);

/// A call that fails sooner than this by a closed connection met one that had been closed while it was idle.
const STALE_WITHIN: Duration = Duration::from_secs(1);
/// How long an idle connection is kept: less than the server keeps it, and less than most proxies do.
const IDLE_CONNECTION: Duration = Duration::from_secs(50);
/// The most bytes of an answer that carries no job.
pub(crate) const LONGEST_ANSWER: usize = 64 * 1024;
/// The most bytes of an answer that may carry a job: its script as JSON, and its secrets.
#[cfg(target_os = "linux")]
const LONGEST_WITH_JOB: usize = 16 * 1024 * 1024;
/// Bytes of an answer that are held in one piece while the rest comes.
const SEGMENT: usize = 256 * 1024;
/// The most characters of an answer that an error shows.
const LONGEST_WORDS: usize = 200;

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

/// Why a call failed. Only [`CallError::Unauthorized`] and [`CallError::Status`] are the server's own words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The server's 401 or 403: the token is wrong, revoked or another node's.
    #[error("unauthorized — check HYPRBOX_NODE_TOKEN")]
    Unauthorized { status: u16 },
    /// Any other error of the server: JSON with a `code`.
    #[error("HTTP {status}: {text}")]
    Status {
        status: u16,
        text: String,
        retry_after: Option<Duration>,
    },
    /// No answer, or one that was cut.
    #[error("{0}")]
    Network(String),
    /// An answer without the server's shape: something between agent and server gave it, such as a proxy or a firewall.
    #[error("HTTP {status} from something between agent and server: {words}")]
    Foreign {
        status: u16,
        words: String,
        retry_after: Option<Duration>,
    },
}

impl CallError {
    /// The status with which the server itself refused.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            CallError::Status { status, .. } | CallError::Unauthorized { status } => Some(*status),
            CallError::Network(_) | CallError::Foreign { .. } => None,
        }
    }

    /// The status of an answer that is not the server's.
    pub(crate) fn foreign_status(&self) -> Option<u16> {
        match self {
            CallError::Foreign { status, .. } => Some(*status),
            CallError::Status { .. } | CallError::Unauthorized { .. } | CallError::Network(_) => {
                None
            }
        }
    }

    /// How long to leave the server alone, if the answer says so.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            CallError::Status { retry_after, .. } | CallError::Foreign { retry_after, .. } => {
                *retry_after
            }
            CallError::Unauthorized { .. } | CallError::Network(_) => None,
        }
    }
}

/// One node's connection to the server.
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    node_id: String,
    authorization: HeaderValue,
    /// `&process=…`, once the state folder is open.
    #[cfg(target_os = "linux")]
    process: std::sync::OnceLock<String>,
    offline: AtomicBool,
    back_online: Notify,
    /// How many answers of the server itself have come.
    answers: AtomicU64,
    pub(crate) trouble: Trouble,
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
            #[cfg(target_os = "linux")]
            process: std::sync::OnceLock::new(),
            offline: AtomicBool::new(false),
            back_online: Notify::new(),
            answers: AtomicU64::new(0),
            trouble: Trouble::default(),
        })
    }

    /// `POST /api/nodes/:id/heartbeat`.
    pub(crate) async fn heartbeat(&self, request: &HeartbeatRequest) -> Result<(), CallError> {
        let path = format!("/api/nodes/{}/heartbeat", self.node_id);
        let call = Call::post(path, encode(request), CALL_TIMEOUT);
        self.call::<HeartbeatAnswer>(&call).await.map(drop)
    }

    /// Names the process of the agent instance, which claims are bound to. The first name stays.
    #[cfg(target_os = "linux")]
    pub(crate) fn set_process(&self, process: &str) {
        self.process.get_or_init(|| format!("&process={process}"));
    }

    #[cfg(target_os = "linux")]
    fn process(&self) -> &str {
        self.process.get().map_or("", String::as_str)
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
            path.push_str(self.process());
        }
        if !poll.running.is_empty() {
            path.push_str("&running=");
            path.push_str(&poll.running.join(","));
        }
        let call = Call {
            method: Method::GET,
            path,
            body: None,
            timeout: CALL_TIMEOUT + Duration::from_secs(poll.wait_seconds),
            longest_answer: LONGEST_WITH_JOB,
        };
        self.call(&call).await
    }

    #[cfg(target_os = "linux")]
    /// `POST /api/jobs/:id/output` with a body that is made already.
    pub(crate) async fn output(
        &self,
        job_id: &str,
        instance: &str,
        body: Bytes,
    ) -> Result<hyprbox_protocol::OutputAnswer, CallError> {
        let process = self.process();
        let path = format!("/api/jobs/{job_id}/output?agent={instance}{process}");
        let call = Call {
            longest_answer: LONGEST_WITH_JOB,
            ..Call::post(path, body, OUTPUT_TIMEOUT)
        };
        self.call(&call).await
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
        let call = Call::post(path, encode(request), CALL_TIMEOUT);
        let summary: Summary = self.call(&call).await?;
        if summary.is_of(job_id) {
            return Ok(());
        }
        Err(CallError::Foreign {
            status: StatusCode::OK.as_u16(),
            words: "JSON that is not about this job".to_owned(),
            retry_after: None,
        })
    }

    /// How many answers of the server itself have come so far, to calls of any kind.
    #[cfg(target_os = "linux")]
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Sleeps, but not on once another call has found the server back.
    pub(crate) async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.back_online.notified() => {}
        }
    }

    async fn call<T: DeserializeOwned>(&self, call: &Call) -> Result<T, CallError> {
        let sent_at = Instant::now();
        let mut result = self.attempt(call).await;
        // The server, or something on the path, may close an idle connection just as a call goes out on it. Every call may
        // come twice, so it is sent again at once.
        if matches!(result, Err(Failed::Closed(_))) && sent_at.elapsed() < STALE_WITHIN {
            result = self.attempt(call).await;
        }
        let result = result.map_err(|failed| match failed {
            Failed::Closed(words) => CallError::Network(words),
            Failed::Call(error) => error,
        });
        match &result {
            Err(CallError::Network(_) | CallError::Foreign { .. }) => {
                self.offline.store(true, Ordering::Relaxed);
            }
            Ok(_) | Err(CallError::Unauthorized { .. } | CallError::Status { .. }) => {
                self.answers.fetch_add(1, Ordering::Relaxed);
                if self.offline.swap(false, Ordering::Relaxed) {
                    self.back_online.notify_waiters();
                }
            }
        }
        result
    }

    async fn attempt<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Failed> {
        let mut request = self
            .http
            .request(call.method.clone(), format!("{}{}", self.base, call.path))
            .header(AUTHORIZATION, self.authorization.clone())
            .timeout(call.timeout);
        if let Some(body) = &call.body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        let answer = request.send().await.map_err(|error| {
            let is_closed = !error.is_timeout() && !error.is_connect() && !error.is_builder();
            let words = chain(&error.without_url());
            if is_closed {
                Failed::Closed(words)
            } else {
                Failed::Call(CallError::Network(words))
            }
        })?;
        let status = answer.status();
        if status != StatusCode::OK {
            return Err(Failed::Call(refusal(answer).await));
        }
        let body = read(answer, call.longest_answer)
            .await
            .map_err(Failed::Call)?;
        serde_json::from_slice(&body).map_err(|_| Failed::Call(foreign(status, &body, None)))
    }
}

/// Why one attempt of a call failed.
enum Failed {
    /// The connection was closed before an answer came.
    Closed(String),
    Call(CallError),
}

/// A request to the server.
struct Call {
    method: Method,
    path: String,
    body: Option<Bytes>,
    timeout: Duration,
    /// The most bytes that its answer may have.
    longest_answer: usize,
}

impl Call {
    fn post(path: String, body: Bytes, timeout: Duration) -> Self {
        Self {
            method: Method::POST,
            path,
            body: Some(body),
            timeout,
            longest_answer: LONGEST_ANSWER,
        }
    }
}

/// What the agent checks of the job's summary that answers `complete`.
#[cfg(target_os = "linux")]
#[derive(serde::Deserialize)]
struct Summary {
    id: Option<String>,
    #[serde(flatten)]
    others: std::collections::BTreeMap<String, serde::de::IgnoredAny>,
}

#[cfg(target_os = "linux")]
impl Summary {
    /// Whether a server gave this answer for that job. An empty object also counts: nothing else answers so.
    fn is_of(&self, job_id: &str) -> bool {
        match &self.id {
            Some(id) => id == job_id,
            None => self.others.is_empty(),
        }
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
        .pool_idle_timeout(IDLE_CONNECTION)
        .http1_only();
    let url = reqwest::Url::parse(api_url).map_err(|e| tls(&e))?;
    if goes_direct(&url) {
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

/// Whether no proxy of the environment is used for that address: it can't reach this machine's loopback, and `NO_PROXY=*`
/// excludes every address, which the HTTP library only honours for names.
pub(crate) fn goes_direct(url: &reqwest::Url) -> bool {
    let excluded = ["NO_PROXY", "no_proxy"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    let excludes_all = |list: String| list.split(',').any(|entry| entry.trim() == "*");
    is_loopback(url) || excluded.is_some_and(excludes_all)
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
    let retry_after = answer
        .headers()
        .get(RETRY_AFTER)
        .and_then(|v| v.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    if status.is_redirection() {
        return CallError::Foreign {
            status: status.as_u16(),
            words: "a redirect, which is never followed; check HYPRBOX_API_URL".to_owned(),
            retry_after,
        };
    }
    let body = match read(answer, LONGEST_ANSWER).await {
        Ok(body) => body,
        // What can't be read whole has no shape; the status is all that is known.
        Err(CallError::Network(_)) => Vec::new(),
        Err(error) => return error,
    };
    match serde_json::from_slice::<ErrorBody>(&body) {
        Ok(_) if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            CallError::Unauthorized {
                status: status.as_u16(),
            }
        }
        Ok(said) => CallError::Status {
            status: status.as_u16(),
            text: first_words(&said.error),
            retry_after,
        },
        Err(_) => foreign(status, &body, retry_after),
    }
}

/// An answer without the server's shape, by its first words.
pub(crate) fn foreign(status: StatusCode, body: &[u8], retry_after: Option<Duration>) -> CallError {
    let start = &body[..body.len().min(LONGEST_WORDS * 4)];
    let mut words = first_words(&String::from_utf8_lossy(start));
    if words.is_empty() {
        words = status
            .canonical_reason()
            .unwrap_or("an empty answer")
            .to_owned();
    }
    CallError::Foreign {
        status: status.as_u16(),
        words,
        retry_after,
    }
}

/// The start of a text, as one line.
fn first_words(text: &str) -> String {
    let printable = text.replace(|c: char| c.is_control() || c.is_whitespace(), " ");
    let words: Vec<&str> = printable
        .split(' ')
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").chars().take(LONGEST_WORDS).collect()
}

/// Reads an answer of at most `longest` bytes. A longer one is not the server's.
pub(crate) async fn read(mut answer: Response, longest: usize) -> Result<Vec<u8>, CallError> {
    let status = answer.status();
    // In segments, as a buffer that grows to the bound would be copied, and held twice, again and again.
    let (mut full, mut segment) = (Vec::new(), Vec::new());
    let mut length = 0;
    loop {
        let part = answer.chunk().await;
        let part = part.map_err(|error| CallError::Network(chain(&error.without_url())))?;
        let Some(part) = part else { break };
        length += part.len();
        if length > longest {
            return Err(CallError::Foreign {
                status: status.as_u16(),
                words: format!("an answer of more than {longest} bytes"),
                retry_after: None,
            });
        }
        segment.extend_from_slice(&part);
        if segment.len() >= SEGMENT {
            full.push(std::mem::take(&mut segment));
        }
    }
    if full.is_empty() {
        return Ok(segment);
    }
    full.push(segment);
    Ok(full.concat())
}

fn encode(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value)
        .expect("text and numbers always serialise")
        .into()
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
