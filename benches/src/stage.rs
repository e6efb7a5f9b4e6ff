//! Servers and agents of this build, each with its own directories, as a user runs them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::options::Options;

/// The programs to measure and the sizes of the measurements.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) quick: bool,
    pub(crate) server: PathBuf,
    pub(crate) agent: PathBuf,
    /// Another build of the server, to compare with.
    pub(crate) against: Option<PathBuf>,
    /// The limit of open files for this process and its children.
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
                "{} does not exist: run `cargo build --release --workspace` first",
                path.display()
            );
            Ok(path)
        };
        Ok(Self {
            quick: options.quick,
            server: program(&options.server, "hyprbox")?,
            agent: program(&options.agent, "hyprbox-agent")?,
            against: options
                .against
                .as_ref()
                .map(std::path::absolute)
                .transpose()?,
            open_files: crate::process::raise_open_files()?,
        })
    }

    /// Returns the first size, or with `--quick` the second.
    pub(crate) fn size(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

/// The password of every user.
const PASSWORD: &str = "bench bench bench";

/// The script of the preset `flood`.
pub(crate) const FLOOD: &str =
    "head -c 209715200 < <(yes 'the quick brown fox jumps over the lazy dog 0123456789')";

/// Event streams that the server allows per person and per client address; one more is a 429.
const STREAMS_PER_PERSON: usize = 64;
const STREAMS_PER_ADDRESS: usize = 512;

/// A signed-in user at a client address.
#[derive(Clone)]
pub(crate) struct Viewer {
    pub(crate) token: String,
    pub(crate) address: String,
}

/// A running server, killed on drop.
pub(crate) struct Server {
    pub(crate) folder: TempDir,
    pub(crate) pid: u32,
    /// Such as 127.0.0.1:4000.
    pub(crate) address: String,
    /// An ADMIN's token.
    pub(crate) token: String,
    /// Milliseconds from the start to readiness.
    pub(crate) start_ms: f64,
    child: Child,
    http: reqwest::Client,
    next_viewer: AtomicUsize,
}

impl Server {
    /// Starts a server with a new database.
    pub(crate) async fn start(bench: &Bench) -> anyhow::Result<Self> {
        Self::start_in(bench, tempfile::tempdir()?).await
    }

    /// Starts a server with the data in `folder`.
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
            .env("HYPRBOX_ADMIN_PASSWORD", PASSWORD)
            .env("HYPRBOX_TRUSTED_PROXIES", "127.0.0.1")
            .env("HYPRBOX_LOG", "error")
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut server = Self {
            folder,
            pid: child.id().context("the server has ended")?,
            address,
            token: String::new(),
            start_ms: 0.0,
            child,
            http,
            next_viewer: AtomicUsize::new(0),
        };
        while !server.is_ready().await {
            anyhow::ensure!(
                start.elapsed() < Duration::from_secs(60),
                "the server was not ready in time"
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
        self.token = self.log_in("bench@example.org").await?;
        Ok(())
    }

    async fn log_in(&self, email: &str) -> anyhow::Result<String> {
        let login = json!({ "email": email, "password": PASSWORD });
        let session = self.post("/api/auth/login", &login).await?;
        let token = session["token"].as_str().context("no token")?;
        Ok(token.to_owned())
    }

    /// Signs in as many users, at as many client addresses, as the server requires for `count`
    /// event streams. Returns a viewer for each stream.
    pub(crate) async fn viewers(&self, count: usize) -> anyhow::Result<Vec<Viewer>> {
        let mut viewers: Vec<Viewer> = Vec::with_capacity(count);
        while viewers.len() < count {
            let number = self.next_viewer.fetch_add(1, Ordering::Relaxed);
            let email = format!("viewer-{number}@example.org");
            let user = json!({
                "email": email, "password": PASSWORD, "name": "Viewer", "role": "VIEWER"
            });
            self.post("/api/users", &user).await?;
            let viewer = Viewer {
                token: self.log_in(&email).await?,
                address: format!("10.0.0.{}", 1 + viewers.len() / STREAMS_PER_ADDRESS),
            };
            let streams = STREAMS_PER_PERSON.min(count - viewers.len());
            viewers.extend(std::iter::repeat_n(viewer, streams));
        }
        Ok(viewers)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The path of the database.
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

    /// Queues a job and returns its id.
    pub(crate) async fn queue(&self, preset: &str, node: &str) -> anyhow::Result<String> {
        let body = json!({ "preset": preset, "nodeId": node });
        let job = self.post("/api/jobs", &body).await?;
        job["id"].as_str().map(str::to_owned).context("no id")
    }

    /// Subscribes to a job. Returns the milliseconds from `start` to the first `output` event, if
    /// there is one, and to `done`.
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
            // Only the last bytes can contain the beginning of an event's name.
            seen.drain(..seen.len().saturating_sub(32));
        }
        anyhow::bail!("the stream ended without done")
    }

    /// Adds a node and returns its token.
    pub(crate) async fn add_node(&self, node: &str) -> anyhow::Result<String> {
        let added = self.post("/api/nodes", &json!({ "id": node })).await?;
        let token = added["token"].as_str().context("no node token")?;
        Ok(token.to_owned())
    }

    /// Adds a node and starts its agent. Returns once the agent waits for work.
    pub(crate) async fn start_agent(&self, bench: &Bench, node: &str) -> anyhow::Result<Agent> {
        let token = self.add_node(node).await?;
        let agent = self.spawn_agent(bench, node, &token)?;
        while self.get(&format!("/api/nodes/{node}")).await?["status"] != "ONLINE" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(agent)
    }

    /// Starts an agent without waiting for it.
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
            pid: child.id().context("the agent has ended")?,
            _child: child,
        })
    }

    /// Stops the server and returns its directory.
    pub(crate) async fn stop(mut self) -> anyhow::Result<TempDir> {
        let pid = nix::unistd::Pid::from_raw(self.pid.cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        self.child.wait().await?;
        Ok(self.folder)
    }
}

/// A running agent, killed on drop.
pub(crate) struct Agent {
    pub(crate) pid: u32,
    _child: Child,
}

/// Writes the presets that the rows use.
fn write_presets(folder: &Path) -> anyhow::Result<()> {
    let preset = |name: &str, run: &str| {
        let yaml = format!(
            "name: {name}\ntargets: [any]\nsteps:\n  - name: go\n    run: |\n      {run}\n"
        );
        std::fs::write(folder.join(format!("{name}.yaml")), yaml).context("can't write the presets")
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
