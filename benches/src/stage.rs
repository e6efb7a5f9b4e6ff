//! A server and an agent of this build, with a node, a user and the presets that the rows need.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// The node that everything runs on.
pub(crate) const NODE: &str = "bench";

/// Bytes that the preset `flood` writes.
pub(crate) const FLOOD_BYTES: u64 = 200 * 1024 * 1024;
/// What `flood` runs.
pub(crate) const FLOOD: &str =
    "head -c 209715200 < <(yes 'the quick brown fox jumps over the lazy dog 0123456789')";

/// Everything that runs.
pub(crate) struct Stage {
    _folder: TempDir,
    server: Child,
    agent: Child,
    http: reqwest::Client,
    url: String,
    token: String,
}

/// The binary of that name, beside this one.
pub(crate) fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    anyhow::ensure!(
        path.exists(),
        "{} is not there: run `cargo build --release` first",
        path.display()
    );
    Ok(path)
}

/// A server on a port of its own; ready when this returns. Also how long that took, in milliseconds.
pub(crate) async fn start_server(folder: &Path) -> anyhow::Result<(Child, String, f64)> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port();
    let url = format!("http://127.0.0.1:{port}");
    let start = Instant::now();
    let server = Command::new(binary("hyprbox")?)
        .args([
            "serve",
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--data-dir",
        ])
        .arg(folder.join("data"))
        .arg("--presets-dir")
        .arg(folder)
        .env("HYPRBOX_ADMIN_EMAIL", "bench@example.org")
        .env("HYPRBOX_ADMIN_PASSWORD", "bench bench bench")
        .env("HYPRBOX_LOG", "warn")
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    while !ready(&http, &url).await {
        anyhow::ensure!(
            start.elapsed() < Duration::from_secs(10),
            "the server did not get ready"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok((server, url, start.elapsed().as_secs_f64() * 1_000.0))
}

async fn ready(http: &reqwest::Client, url: &str) -> bool {
    let answer = http.get(format!("{url}/readyz")).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

/// The presets that the rows use.
pub(crate) fn write_presets(folder: &Path) -> anyhow::Result<()> {
    let preset = |name: &str, run: &str| {
        let yaml = format!(
            "name: {name}\ntargets: [any]\nsteps:\n  - name: go\n    run: |\n      {run}\n"
        );
        std::fs::write(folder.join(format!("{name}.yaml")), yaml)
            .context("presets can't be written")
    };
    preset("hello", "echo hi")?;
    preset("flood", FLOOD)
}

impl Stage {
    pub(crate) async fn set() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        write_presets(folder.path())?;
        let (server, url, _) = start_server(folder.path()).await?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .build()?;
        let login = json!({ "email": "bench@example.org", "password": "bench bench bench" });
        let signed_in: Value = http
            .post(format!("{url}/api/auth/login"))
            .json(&login)
            .send()
            .await?
            .json()
            .await?;
        let token = signed_in["token"].as_str().context("no token")?.to_owned();
        let added = http
            .post(format!("{url}/api/nodes"))
            .bearer_auth(&token)
            .json(&json!({ "id": NODE }));
        let added: Value = added.send().await?.json().await?;
        let agent = Command::new(binary("hyprbox-agent")?)
            .arg("run")
            .env("HYPRBOX_API_URL", &url)
            .env("HYPRBOX_NODE_ID", NODE)
            .env(
                "HYPRBOX_NODE_TOKEN",
                added["token"].as_str().context("no node token")?,
            )
            .env("HYPRBOX_STATE_DIR", folder.path().join("agent"))
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let stage = Self {
            _folder: folder,
            server,
            agent,
            http,
            url,
            token,
        };
        while stage.get(&format!("/api/nodes/{NODE}")).await?["status"] != "ONLINE" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(stage)
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        Ok(self.answer(path).await?.json().await?)
    }

    pub(crate) async fn answer(&self, path: &str) -> anyhow::Result<reqwest::Response> {
        let answer = self
            .http
            .get(format!("{}{path}", self.url))
            .bearer_auth(&self.token)
            .send()
            .await?;
        Ok(answer.error_for_status()?)
    }

    pub(crate) async fn queue(&self, preset: &str) -> anyhow::Result<String> {
        let body = json!({ "preset": preset, "nodeId": NODE });
        let answer = self
            .http
            .post(format!("{}/api/jobs", self.url))
            .bearer_auth(&self.token)
            .json(&body)
            .send()
            .await?;
        let job: Value = answer.error_for_status()?.json().await?;
        job["id"].as_str().map(str::to_owned).context("no id")
    }

    /// Milliseconds from here to the first event `output`, and to `done`, of a job that was just queued.
    pub(crate) async fn watch(&self, id: &str, start: Instant) -> anyhow::Result<(f64, f64)> {
        let mut answer = self.answer(&format!("/api/jobs/{id}/stream")).await?;
        let (mut seen, mut first) = (Vec::new(), None);
        let since = || start.elapsed().as_secs_f64() * 1_000.0;
        while let Some(bytes) = answer.chunk().await? {
            seen.extend_from_slice(&bytes);
            let has = |what: &[u8]| seen.windows(what.len()).any(|window| window == what);
            if first.is_none() && has(b"event: output") {
                first = Some(since());
            }
            if has(b"event: done") {
                return Ok((first.context("no output")?, since()));
            }
            // Only the end of what was seen can hold a word that is cut.
            seen.drain(..seen.len().saturating_sub(32));
        }
        anyhow::bail!("the stream ended without done")
    }

    /// Kilobytes of resident memory of the server and of its agent: now, and at the most so far.
    pub(crate) fn memory(&self) -> anyhow::Result<[(u64, u64); 2]> {
        Ok([memory_of(&self.server)?, memory_of(&self.agent)?])
    }

    pub(crate) async fn strike(mut self) -> anyhow::Result<()> {
        self.agent.kill().await?;
        self.server.kill().await?;
        Ok(())
    }
}

fn memory_of(child: &Child) -> anyhow::Result<(u64, u64)> {
    let pid = child.id().context("it has ended")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> anyhow::Result<u64> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .context("no such field")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}
