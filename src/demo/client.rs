//! The API calls of the demo.

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::sse::{Event, Events};

/// How the demo's job ended.
#[derive(Debug)]
pub(super) struct JobEnd {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) exit_code: u8,
    pub(super) queued_to_claimed_ms: Option<i64>,
}

/// The fields of a job that the demo reads.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Job {
    id: String,
    status: String,
    exit_code: Option<u8>,
    created_at: String,
    started_at: Option<String>,
}

/// A client with the demo user's session.
pub(super) struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Client {
    pub(super) fn new(url: &str, token: String) -> anyhow::Result<Self> {
        // reqwest needs a provider even for plain http. An earlier install of the same one is fine.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .build()
            .context("no HTTP client")?;
        Ok(Self {
            http,
            url: url.to_owned(),
            token,
        })
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
        let answer = request.bearer_auth(&self.token).send().await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body: Value = answer.json().await.unwrap_or_default();
        anyhow::bail!(
            "the server responded with {status}: {}",
            body["error"].as_str().unwrap_or("no reason given")
        )
    }

    async fn get(&self, path: &str) -> anyhow::Result<reqwest::Response> {
        self.send(self.http.get(format!("{}{path}", self.url)))
            .await
    }

    async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        let answer = self
            .send(self.http.post(format!("{}{path}", self.url)).json(&body))
            .await?;
        answer.json().await.context("the response is not JSON")
    }

    /// Adds a node and returns its token.
    pub(super) async fn add_node(&self, id: &str) -> anyhow::Result<String> {
        let added = self.post("/api/nodes", json!({ "id": id })).await?;
        added["token"]
            .as_str()
            .map(str::to_owned)
            .context("no token in the response")
    }

    pub(super) async fn is_online(&self, id: &str) -> anyhow::Result<bool> {
        let node: Value = self.get(&format!("/api/nodes/{id}")).await?.json().await?;
        Ok(node["status"] == "ONLINE")
    }

    /// Queues a job and returns its id.
    pub(super) async fn queue(
        &self,
        preset: &str,
        node: &str,
        pace: u64,
    ) -> anyhow::Result<String> {
        let job = self
            .post(
                "/api/jobs",
                json!({ "preset": preset, "nodeId": node, "params": { "pace": pace } }),
            )
            .await?;
        job["id"]
            .as_str()
            .map(str::to_owned)
            .context("no id in the response")
    }

    /// Follows a job to its end; `on_output` receives its output.
    pub(super) async fn follow(
        &self,
        id: &str,
        mut on_output: impl FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<JobEnd> {
        let mut events = Events::new(self.get(&format!("/api/jobs/{id}/stream")).await?);
        while let Some(Event { name, data, .. }) = events.next().await? {
            match name.as_str() {
                "output" => {
                    let output: Value = serde_json::from_str(&data)?;
                    on_output(output["data"].as_str().unwrap_or_default())?;
                }
                "done" => break,
                _ => {}
            }
        }
        let job: Job = self.get(&format!("/api/jobs/{id}")).await?.json().await?;
        let at = |text: &str| text.parse::<crate::clock::Timestamp>().ok();
        let claimed = job
            .started_at
            .as_deref()
            .and_then(at)
            .zip(at(&job.created_at));
        Ok(JobEnd {
            id: job.id,
            status: job.status,
            // A job that ended without an exit code failed.
            exit_code: job.exit_code.unwrap_or(1),
            queued_to_claimed_ms: claimed
                .map(|(started, created)| started.millis_since(created).max(0)),
        })
    }
}
