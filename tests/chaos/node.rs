//! A node: its state folder, and its agent, which can be started and killed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::harness::{FakeAgent, eventually};
use crate::processes::{marked, supervisors};

/// Dropping a node kills its agent and everything that the agent has started.
pub(crate) struct Node {
    folder: TempDir,
    program: PathBuf,
    variables: Vec<(String, String)>,
    agent: Option<Child>,
    log: Arc<Mutex<Vec<String>>>,
}

/// The agent's program, which `cargo test` builds next to the server's.
pub(crate) fn program() -> PathBuf {
    crate::harness::built("hyprbox-agent")
}

impl Node {
    /// Creates the node of `identity`, whose agent connects to `url`. Does not start the agent.
    pub(crate) fn new(url: &str, identity: &FakeAgent) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut node = Self {
            program: program(),
            variables: Vec::new(),
            agent: None,
            log: Arc::default(),
            folder,
        };
        let state = node.state();
        node.set("HYPRBOX_API_URL", url);
        node.set("HYPRBOX_NODE_TOKEN", &identity.token);
        node.set("HYPRBOX_NODE_ID", &identity.node_id);
        node.set("HYPRBOX_STATE_DIR", state.to_str().expect("UTF-8"));
        node.set("HYPRBOX_INTERVAL", "1s");
        node.set("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        // Scripts inherit HOME, so it marks every process of this node.
        let home = node.folder.path().to_str().expect("UTF-8").to_owned();
        node.set("HOME", &home);
        node
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Sets the file to start as the agent.
    pub(crate) fn set_program(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Returns the supervisors of running jobs.
    pub(crate) fn supervisors(&self) -> Vec<i32> {
        supervisors(&self.state())
    }

    /// Returns the folders of jobs that the agent has not finished.
    pub(crate) fn job_folders(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.state().join("jobs"));
        let paths = entries.into_iter().flatten().flatten();
        paths.map(|entry| entry.path()).collect()
    }

    pub(crate) fn start(&mut self) {
        assert!(self.agent.is_none(), "the agent runs");
        let mut child = Command::new(&self.program)
            .arg("run")
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the agent starts");
        let (stderr, log) = (child.stderr.take().expect("a pipe"), Arc::clone(&self.log));
        std::thread::spawn(move || {
            use std::io::{BufRead, BufReader};
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                log.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        self.agent = Some(child);
    }

    pub(crate) fn pid(&self) -> i32 {
        self.agent
            .as_ref()
            .expect("the agent runs")
            .id()
            .cast_signed()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.agent.is_some()
    }

    /// Sends SIGKILL only to the agent; its jobs keep running.
    pub(crate) fn kill9(&mut self) {
        if let Some(mut child) = self.agent.take() {
            child.kill().expect("a child");
            child.wait().expect("a child");
        }
    }

    /// Sends SIGTERM to the agent, and waits for its exit.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM).expect("the agent runs");
        let child = self.agent.as_mut().expect("the agent runs");
        let status = eventually("the agent's end", || child.try_wait().expect("a child"));
        self.agent = None;
        status
    }

    /// Whether a line of the agent's log contains this text.
    pub(crate) fn logged(&self, text: &str) -> bool {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().any(|line| line.contains(text))
    }

    /// Counts the lines of the agent's log that contain this text.
    pub(crate) fn times_logged(&self, text: &str) -> usize {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().filter(|line| line.contains(text)).count()
    }

    /// Kills every process of this node, as a power loss does.
    pub(crate) fn power_off(&mut self) {
        self.kill9();
        let mark = self.folder.path().to_str().expect("UTF-8").to_owned();
        eventually("the end of all processes", || {
            let left = marked(&mark);
            for process in &left {
                // An error means that the process has already ended.
                let _result = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
            }
            left.is_empty().then_some(())
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            let from = log.len().saturating_sub(60);
            eprintln!("--- the end of the agent's log\n{}", log[from..].join("\n"));
        }
        self.power_off();
    }
}
