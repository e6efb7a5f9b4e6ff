//! Servers and agents of this build, each with folders of its own, as a user runs them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::options::Options;

/// What is measured, and how thoroughly.
pub(crate) struct Bench {
    pub(crate) quick: bool,
    pub(crate) server: PathBuf,
    pub(crate) agent: PathBuf,
    /// The hard limit of open files, for this process and each that it starts.
    pub(crate) open_files: u64,
}

impl Bench {
    pub(crate) fn new(options: &Options) -> anyhow::Result<Self> {
        let program = |given: &Option<PathBuf>, name: &str| -> anyhow::Result<PathBuf> {
            let path = match given {
                Some(path) => std::path::absolute(path)?,
                None => std::env::current_exe()?.with_file_name(name),
            };
            anyhow::ensure!(
                path.exists(),
                "{} is not there: run `cargo build --release --workspace` first",
                path.display()
            );
            Ok(path)
        };
        Ok(Self {
            quick: options.quick,
            server: program(&options.server, "hyprbox")?,
            agent: program(&options.agent, "hyprbox-agent")?,
            open_files: crate::process::raise_open_files()?,
        })
    }

    /// A size: the first, or with `--quick` the second.
    pub(crate) fn size(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

/// What `flood` runs.
pub(crate) const FLOOD: &str =
    "head -c 209715200 < <(yes 'the quick brown fox jumps over the lazy dog 0123456789')";

/// A running server; killed when it is dropped.
pub(crate) struct Server {
    pub(crate) folder: TempDir,
    pub(crate) pid: u32,
    /// As in 127.0.0.1:4000.
    pub(crate) address: String,
    /// An ADMIN's.
    pub(crate) token: String,
    /// How long its start took until it was ready, in milliseconds.
    pub(crate) start_ms: f64,
    child: Child,
    http: reqwest::Client,
}

impl Server {
    /// One with a fresh database.
    pub(crate) async fn start(bench: &Bench) -> anyhow::Result<Self> {
        Self::start_in(bench, tempfile::tempdir()?).await
    }

    /// One with what lies in `folder`.
    pub(crate) async fn start_in(bench: &Bench, folder: TempDir) -> anyhow::Result<Self> {
        write_presets(folder.path())?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .build()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let address = format!("127.0.0.1:{port}");
        let start = Instant::now();
        let child = Command::new(&bench.server)
            .args(["serve", "--listen", &address, "--data-dir"])
            .arg(folder.path().join("data"))
            .arg("--presets-dir")
            .arg(folder.path())
            .env("HYPRBOX_ADMIN_EMAIL", "bench@example.org")
            .env("HYPRBOX_ADMIN_PASSWORD", "bench bench bench")
            .env("HYPRBOX_LOG", "error")
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut server = Self {
            folder,
            pid: child.id().context("it has ended")?,
            address,
            token: String::new(),
            start_ms: 0.0,
            child,
            http,
        };
        while !server.is_ready().await {
            anyhow::ensure!(
                start.elapsed() < Duration::from_secs(60),
                "the server did not get ready"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.start_ms = start.elapsed().as_secs_f64() * 1_000.0;
        server.sign_in().await?;
        Ok(server)
    }

    async fn is_ready(&self) -> bool {
        let answer = self.http.get(self.url("/readyz")).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    async fn sign_in(&mut self) -> anyhow::Result<()> {
        let login = json!({ "email": "bench@example.org", "password": "bench bench bench" });
        let signed_in = self.post("/api/auth/login", &login).await?;
        self.token = signed_in["token"].as_str().context("no token")?.to_owned();
        Ok(())
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Where its database is.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("data/hyprbox.db")
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        Ok(self.answer(path).await?.json().await?)
    }

    pub(crate) async fn answer(&self, path: &str) -> anyhow::Result<reqwest::Response> {
        let request = self.http.get(self.url(path)).bearer_auth(&self.token);
        Ok(request.send().await?.error_for_status()?)
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.post(self.url(path)).json(body);
        let request = match self.token.as_str() {
            "" => request,
            token => request.bearer_auth(token),
        };
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// Queues a job and gives its id.
    pub(crate) async fn queue(&self, preset: &str, node: &str) -> anyhow::Result<String> {
        let body = json!({ "preset": preset, "nodeId": node });
        let job = self.post("/api/jobs", &body).await?;
        job["id"].as_str().map(str::to_owned).context("no id")
    }

    /// Milliseconds since `start` to the first event `output`, if there was one, and to `done`, at
    /// a subscriber who comes now.
    pub(crate) async fn watch(
        &self,
        id: &str,
        start: Instant,
    ) -> anyhow::Result<(Option<f64>, f64)> {
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
                return Ok((first, since()));
            }
            // Only the end of what was seen can hold a word that is cut.
            seen.drain(..seen.len().saturating_sub(32));
        }
        anyhow::bail!("the stream ended without done")
    }

    /// A new node's token.
    pub(crate) async fn add_node(&self, node: &str) -> anyhow::Result<String> {
        let added = self.post("/api/nodes", &json!({ "id": node })).await?;
        let token = added["token"].as_str().context("no node token")?;
        Ok(token.to_owned())
    }

    /// An agent of that node, which waits for work when this returns.
    pub(crate) async fn start_agent(&self, bench: &Bench, node: &str) -> anyhow::Result<Agent> {
        let token = self.add_node(node).await?;
        let agent = self.spawn_agent(bench, node, &token)?;
        while self.get(&format!("/api/nodes/{node}")).await?["status"] != "ONLINE" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(agent)
    }

    /// The same, not waited for.
    pub(crate) fn spawn_agent(
        &self,
        bench: &Bench,
        node: &str,
        token: &str,
    ) -> anyhow::Result<Agent> {
        let child = Command::new(&bench.agent)
            .arg("run")
            .env("HYPRBOX_API_URL", self.url(""))
            .env("HYPRBOX_NODE_ID", node)
            .env("HYPRBOX_NODE_TOKEN", token)
            .env(
                "HYPRBOX_STATE_DIR",
                self.folder.path().join(format!("agent-{node}")),
            )
            .env("HYPRBOX_LOG", "error")
            .kill_on_drop(true)
            .spawn()?;
        Ok(Agent {
            pid: child.id().context("it has ended")?,
            _child: child,
        })
    }

    /// Ends it cleanly and gives its folder.
    pub(crate) async fn stop(mut self) -> anyhow::Result<TempDir> {
        let pid = nix::unistd::Pid::from_raw(self.pid.cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        self.child.wait().await?;
        Ok(self.folder)
    }
}

/// A running agent; killed when it is dropped.
pub(crate) struct Agent {
    pub(crate) pid: u32,
    _child: Child,
}

/// The presets that the rows use.
fn write_presets(folder: &Path) -> anyhow::Result<()> {
    let preset = |name: &str, run: &str| {
        let yaml = format!(
            "name: {name}\ntargets: [any]\nsteps:\n  - name: go\n    run: |\n      {run}\n"
        );
        std::fs::write(folder.join(format!("{name}.yaml")), yaml)
            .context("presets can't be written")
    };
    let this = std::env::current_exe()?;
    preset("true", "true")?;
    preset("stamp", "echo \"at $EPOCHREALTIME\"")?;
    preset("flood", FLOOD)?;
    for seconds in [3, 10] {
        let run = format!("exec '{}' write-lines {seconds}", this.display());
        preset(&format!("lines-{seconds}"), &run)?;
    }
    Ok(())
}
