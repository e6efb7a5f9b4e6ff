//! The agent's calls to the server. A failed call is not repeated here: its caller decides whether
//! and when.

mod answer;
mod http;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyprbox_protocol::{HeartbeatAnswer, HeartbeatRequest};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

#[cfg(target_os = "linux")]
pub(crate) use answer::unreachable;
pub(crate) use answer::{CallError, LONGEST_ANSWER, chain, foreign, read};
pub use http::ClientError;
pub(crate) use http::{goes_direct, http};

use crate::config::Config;
use crate::trouble::Trouble;

/// How long a call may take, on top of the time for which it lets the server wait.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// The same for a call with output, because a full batch may go over a slow connection.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(60);

/// If a connection turns out to be closed within this time, it was closed while it was idle.
const STALE_WITHIN: Duration = Duration::from_secs(1);

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
    /// How many calls the server itself has answered.
    answers: AtomicU64,
    #[cfg(target_os = "linux")]
    witness: crate::ledger_witness::LedgerWitness,
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
            #[cfg(target_os = "linux")]
            witness: crate::ledger_witness::LedgerWitness::open(&config.state_dir),
            trouble: Trouble::default(),
        })
    }

    /// `POST /api/nodes/:id/heartbeat`.
    pub(crate) async fn heartbeat(&self, request: &HeartbeatRequest) -> Result<(), CallError> {
        let path = format!("/api/nodes/{}/heartbeat", self.node_id);
        #[cfg(target_os = "linux")]
        let request = &HeartbeatRequest {
            ledger_head: self.witness.head(),
            ..request.clone()
        };
        let call = Call::post(path, encode(request), CALL_TIMEOUT);
        self.call::<HeartbeatAnswer>(&call).await.map(drop)
    }

    /// Sets the process of the agent instance, to which claims are bound. Only the first call
    /// counts.
    #[cfg(target_os = "linux")]
    pub(crate) fn set_process(&self, process: &str) {
        self.process.get_or_init(|| format!("&process={process}"));
    }

    #[cfg(target_os = "linux")]
    fn process(&self) -> &str {
        self.process.get().map_or("", String::as_str)
    }

    /// `GET /api/jobs/pending`: claims a job if `capacity` allows, and receives cancels.
    #[cfg(target_os = "linux")]
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
            longest_answer: hyprbox_protocol::MAX_CLAIM_BYTES,
        };
        self.call(&call).await
    }

    /// `POST /api/jobs/:id/output`.
    #[cfg(target_os = "linux")]
    pub(crate) async fn output(
        &self,
        job_id: &str,
        instance: &str,
        body: Bytes,
    ) -> Result<hyprbox_protocol::OutputAnswer, CallError> {
        let process = self.process();
        let path = format!("/api/jobs/{job_id}/output?agent={instance}{process}");
        let call = Call {
            longest_answer: hyprbox_protocol::MAX_CLAIM_BYTES,
            ..Call::post(path, body, OUTPUT_TIMEOUT)
        };
        let mut answer: hyprbox_protocol::OutputAnswer = self.call(&call).await?;
        self.witness.keep(answer.ledger_head.take());
        Ok(answer)
    }

    /// `POST /api/jobs/:id/complete`.
    #[cfg(target_os = "linux")]
    pub(crate) async fn complete(
        &self,
        job_id: &str,
        instance: &str,
        request: &hyprbox_protocol::CompleteRequest,
    ) -> Result<(), CallError> {
        let process = self.process();
        let path = format!("/api/jobs/{job_id}/complete?agent={instance}{process}");
        let call = Call::post(path, encode(request), CALL_TIMEOUT);
        let summary: Summary = self.call(&call).await?;
        if summary.is_of(job_id) {
            self.witness.keep(summary.ledger_head);
            return Ok(());
        }
        Err(CallError::Foreign {
            status: StatusCode::OK.as_u16(),
            excerpt: "JSON that is not about this job".to_owned(),
            retry_after: None,
        })
    }

    /// How many calls of any kind the server itself has answered so far.
    #[cfg(target_os = "linux")]
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Sleeps, at most until another call reaches a server that was unreachable.
    pub(crate) async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.back_online.notified() => {}
        }
    }

    async fn call<T: DeserializeOwned>(&self, call: &Call) -> Result<T, CallError> {
        let sent_at = Instant::now();
        let mut result = self.attempt(call).await;
        // The server, or something on the path, may close an idle connection just when a call uses
        // it. Every call may arrive twice, so this one is sent again at once.
        if matches!(result, Err(AttemptError::Closed(_))) && sent_at.elapsed() < STALE_WITHIN {
            result = self.attempt(call).await;
        }
        let result = result.map_err(|error| match error {
            AttemptError::Closed(words) => CallError::Network(words),
            AttemptError::Call(error) => error,
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

    async fn attempt<T: DeserializeOwned>(&self, call: &Call) -> Result<T, AttemptError> {
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
        let response = request.send().await.map_err(|error| {
            let is_closed = !error.is_timeout() && !error.is_connect() && !error.is_builder();
            let words = chain(&error.without_url());
            if is_closed {
                AttemptError::Closed(words)
            } else {
                AttemptError::Call(CallError::Network(words))
            }
        })?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(AttemptError::Call(answer::refusal(response).await));
        }
        let body = read(response, call.longest_answer)
            .await
            .map_err(AttemptError::Call)?;
        serde_json::from_slice(&body).map_err(|_| AttemptError::Call(foreign(status, &body, None)))
    }
}

/// Why one attempt at a call failed.
enum AttemptError {
    /// The connection was closed before the answer.
    Closed(String),
    Call(CallError),
}

/// A request to the server.
struct Call {
    method: Method,
    path: String,
    body: Option<Bytes>,
    timeout: Duration,
    /// The most bytes in its answer.
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

/// The part of the answer to `complete` that the agent checks.
#[cfg(target_os = "linux")]
#[derive(serde::Deserialize)]
struct Summary {
    id: Option<String>,
    #[serde(default, rename = "ledgerHead")]
    ledger_head: Option<hyprbox_protocol::LedgerHead>,
    #[serde(flatten)]
    others: std::collections::BTreeMap<String, serde::de::IgnoredAny>,
}

#[cfg(target_os = "linux")]
impl Summary {
    /// Whether the answer is a server's, about that job. An empty object also counts: only servers
    /// send one.
    fn is_of(&self, job_id: &str) -> bool {
        match &self.id {
            Some(id) => id == job_id,
            None => self.others.is_empty(),
        }
    }
}

/// The parameters of a poll.
#[cfg(target_os = "linux")]
pub(crate) struct PollRequest<'a> {
    pub(crate) instance: Option<&'a str>,
    pub(crate) wait_seconds: u64,
    pub(crate) capacity: u8,
    pub(crate) running: &'a [String],
}

fn encode(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value)
        .expect("text and numbers always serialise")
        .into()
}
