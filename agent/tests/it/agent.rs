//! The real agent binary in a folder of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::server::{DEADLINE, Server};

/// A node's folders. Its agent can be started and stopped.
pub struct Node {
    pub dir: tempfile::TempDir,
    pub env: Vec<(String, String)>,
}

/// A running agent. Dropping it kills the agent and its jobs.
pub struct Agent {
    child: Child,
    log: Arc<Mutex<String>>,
    state: PathBuf,
}

impl Node {
    pub fn new(server: &Server) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let env = [
            ("HYPRBOX_API_URL", format!("http://{}", server.addr)),
            ("HYPRBOX_NODE_ID", "node-1".to_owned()),
            (
                "HYPRBOX_NODE_TOKEN",
                format!("hbn_very-secret-{}", server.addr.port()),
            ),
            (
                "HYPRBOX_STATE_DIR",
                dir.path().join("state").display().to_string(),
            ),
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
            ("HOME", "/root".to_owned()),
        ];
        Self {
            dir,
            env: env.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        }
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn token(&self) -> String {
        let token = self
            .env
            .iter()
            .find(|(name, _)| name == "HYPRBOX_NODE_TOKEN");
        token.expect("set above").1.clone()
    }

    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.into()));
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hyprbox-agent"));
        command
            .args(args)
            .env_clear()
            .envs(self.env.iter().cloned());
        command
    }

    pub fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("starts")
    }

    pub fn start(&self) -> Agent {
        self.start_with(&[])
    }

    /// Starts the agent with the command `with`, which gets the agent's command as its arguments.
    pub fn start_with(&self, with: &[&str]) -> Agent {
        let agent = [env!("CARGO_BIN_EXE_hyprbox-agent"), "run"];
        let words: Vec<&str> = with.iter().chain(&agent).copied().collect();
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .env_clear()
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut log = lines.lock().expect("no test panics with it");
                log.push_str(&line);
                log.push('\n');
            }
        });
        Agent {
            child,
            log,
            state: self.state(),
        }
    }
}

impl Agent {
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("no test panics with it").clone()
    }

    pub fn wait_log(&self, text: &str) {
        wait_until(text, || self.log().contains(text));
    }

    /// Kills only the agent; its supervisors keep running.
    pub fn kill9(mut self) {
        self.child.kill().expect("runs");
        self.child.wait().expect("a child");
        self.state = PathBuf::new();
    }

    /// Sends SIGTERM, and waits for the exit.
    pub fn term(mut self) -> ExitStatus {
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM).expect("runs");
        let mut status = None;
        wait_until("the agent exits", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        self.state = PathBuf::new();
        status.expect("it has exited")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", self.log());
        }
        if self.state.as_os_str().is_empty() {
            return;
        }
        end_jobs(&self.state);
    }
}

/// Returns the supervisors of the jobs in a state folder.
pub fn supervisors(state: &Path) -> Vec<i32> {
    let ahead = supervisor_ahead(state);
    let mut found = all_supervisors(state);
    found.retain(|pid| !ahead.contains(pid));
    found
}

/// Returns the supervisor that waits for the next job: it has nothing open in the state folder.
pub fn supervisor_ahead(state: &Path) -> Vec<i32> {
    let mut found = processes(|_, cmdline| {
        cmdline.contains("supervise\0")
            && cmdline.ends_with(&format!("{}/jobs/.next\0", state.display()))
    });
    found.retain(|pid| !has_open(*pid, state));
    found
}

/// Whether a process has this file open, or a file below this folder.
pub fn has_open(pid: i32, path: &Path) -> bool {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"));
    let mut links = open.into_iter().flatten().flatten();
    links.any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.starts_with(path)))
}

fn all_supervisors(state: &Path) -> Vec<i32> {
    processes(|_, cmdline| {
        cmdline.contains("supervise\0") && cmdline.contains(&format!("{}/", state.display()))
    })
}

/// Kills everything that a node's jobs have started, as a power loss does.
pub fn end_jobs(state: &Path) {
    let jobs: Vec<String> = std::fs::read_dir(state.join("jobs"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|job| format!("HYPRBOX_JOB_ID={}", job.file_name().display()))
        .collect();
    wait_until("the jobs' processes are gone", || {
        let mut left = all_supervisors(state);
        left.extend(jobs.iter().flat_map(|job| marked(job)));
        for pid in &left {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        left.is_empty()
    });
}

/// Returns the processes with `mark` in their environment or command line.
pub fn marked(mark: &str) -> Vec<i32> {
    processes(|environ, cmdline| environ.contains(mark) || cmdline.contains(mark))
}

fn processes(is_one: impl Fn(&str, &str) -> bool) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("mounted").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let read = |file: &str| {
            let bytes = std::fs::read(entry.path().join(file)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        if is_one(&read("environ"), &read("cmdline")) {
            found.push(pid);
        }
    }
    found
}

/// The most memory that a process has ever had, in KiB.
pub fn high_water_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number.expect("a line of it").parse().expect("a number")
}

/// Repeats `attempt` until one takes less than `limit`, because a busy machine delays some. Without
/// the behaviour under test, every attempt takes longer.
pub fn once_within(limit: Duration, what: &str, mut attempt: impl FnMut()) {
    wait_until(what, || {
        let began = Instant::now();
        attempt();
        began.elapsed() < limit
    });
}

/// Polls until `is_so` returns true.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
