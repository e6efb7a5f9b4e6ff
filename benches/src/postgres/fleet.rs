//! Servers over one database, and calls of users and agents.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::sql::Sql;

/// A preset whose script is never run.
const PRESET: &str = "name: hello\ntargets: [any]\nsteps:\n  - name: go\n    run: echo hi\n";

pub(crate) struct Fleet {
    _folder: TempDir,
    pub(crate) servers: Vec<Child>,
    pub(crate) urls: Vec<String>,
    pub(crate) http: reqwest::Client,
    token: String,
}

fn program() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("hyprbox");
    anyhow::ensure!(
        path.exists(),
        "{} does not exist: run `cargo build --release --features postgres` first",
        path.display()
    );
    Ok(path)
}

impl Fleet {
    pub(crate) async fn over_postgres(sql: &Sql, count: usize) -> anyhow::Result<Self> {
        Self::start(&sql.url, count).await
    }

    pub(crate) async fn over_sqlite() -> anyhow::Result<Self> {
        Self::start("", 1).await
    }

    async fn start(database: &str, count: usize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let presets = folder.path().join("presets");
        std::fs::create_dir(&presets)?;
        std::fs::write(presets.join("hello.yaml"), PRESET)?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .build()?;
        let (mut servers, mut urls) = (Vec::new(), Vec::new());
        for number in 0..count {
            let port = std::net::TcpListener::bind("127.0.0.1:0")?
                .local_addr()?
                .port();
            servers.push(spawn(folder.path(), database, number, port)?);
            let url = format!("http://127.0.0.1:{port}");
            ready(&http, &url).await?;
            urls.push(url);
        }
        let login = json!({"email": "bench@example.org", "password": "bench bench bench"});
        let session: Value = http
            .post(format!("{}/api/auth/login", urls[0]))
            .json(&login)
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        let token = text(&session, "token")?;
        Ok(Self {
            _folder: folder,
            servers,
            urls,
            http,
            token,
        })
    }

    /// A user's call to one of the servers.
    pub(crate) fn person(
        &self,
        server: usize,
        method: &str,
        path: &str,
    ) -> reqwest::RequestBuilder {
        self.call(server, method, path, &self.token)
    }

    pub(crate) fn call(
        &self,
        server: usize,
        method: &str,
        path: &str,
        token: &str,
    ) -> reqwest::RequestBuilder {
        let method = method.parse().unwrap_or(reqwest::Method::GET);
        let url = format!("{}{path}", self.urls[server % self.urls.len()]);
        self.http.request(method, url).bearer_auth(token)
    }

    /// Adds a node and returns its token.
    pub(crate) async fn node(&self, id: &str) -> anyhow::Result<String> {
        let call = self
            .person(0, "POST", "/api/nodes")
            .json(&json!({"id": id}));
        let made: Value = call.send().await?.error_for_status()?.json().await?;
        text(&made, "token")
    }

    /// Queues a job and returns its id.
    pub(crate) async fn queue(&self, server: usize, node_id: &str) -> anyhow::Result<String> {
        let body = json!({"preset": "hello", "nodeId": node_id});
        let call = self.person(server, "POST", "/api/jobs").json(&body);
        let job: Value = call.send().await?.error_for_status()?.json().await?;
        text(&job, "id")
    }

    /// Queues many jobs, 32 at a time, at all servers.
    pub(crate) async fn queue_many(
        self: &Arc<Self>,
        node_id: &str,
        jobs: usize,
    ) -> anyhow::Result<()> {
        let mut tasks = tokio::task::JoinSet::new();
        for first in 0..32 {
            let (fleet, node_id) = (Arc::clone(self), node_id.to_owned());
            tasks.spawn(async move {
                for number in (first..jobs).step_by(32) {
                    fleet.queue(number, &node_id).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    }

    /// Claims a job without an agent instance and returns its id.
    pub(crate) async fn claim(
        &self,
        server: usize,
        node_id: &str,
        token: &str,
    ) -> anyhow::Result<Option<String>> {
        let path = format!("/api/jobs/pending?nodeId={node_id}");
        let call = self.call(server, "GET", &path, token);
        let answer: Value = call.send().await?.error_for_status()?.json().await?;
        Ok(answer["job"]["id"].as_str().map(str::to_owned))
    }
}

pub(crate) fn text(value: &Value, name: &str) -> anyhow::Result<String> {
    let text = value[name].as_str().with_context(|| format!("no {name}"))?;
    Ok(text.to_owned())
}

fn spawn(folder: &Path, database: &str, number: usize, port: u16) -> anyhow::Result<Child> {
    let server = Command::new(program()?)
        .args(["serve", "--listen", &format!("127.0.0.1:{port}")])
        .env("HYPRBOX_DATA_DIR", folder.join(format!("data{number}")))
        .env("HYPRBOX_DATABASE_URL", database)
        .env("HYPRBOX_SECRET_KEY_FILE", folder.join("key"))
        .env("HYPRBOX_PRESETS_DIR", folder.join("presets"))
        .env("HYPRBOX_ADMIN_EMAIL", "bench@example.org")
        .env("HYPRBOX_ADMIN_PASSWORD", "bench bench bench")
        .env("HYPRBOX_LOG", "error")
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    Ok(server)
}

async fn ready(http: &reqwest::Client, url: &str) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let answer = http.get(format!("{url}/readyz")).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        anyhow::ensure!(
            start.elapsed() < Duration::from_secs(30),
            "{url} is not ready"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
