//! A node: its state folder, and its agent, which comes and goes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::harness::{FakeAgent, eventually};
use crate::processes::{marked, supervisors};

/// Dropping it kills the agent, and all that it has started.
pub(crate) struct Node {
    folder: TempDir,
    program: PathBuf,
    variables: Vec<(String, String)>,
    agent: Option<Child>,
    log: Arc<Mutex<Vec<String>>>,
}

/// The agent's program, which `cargo test` puts beside the server's.
pub(crate) fn program() -> PathBuf {
    crate::harness::built("hyprbox-agent")
}

impl Node {
    /// The node of `identity`, whose agent talks with `url`. The agent is not started yet.
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
        // Scripts inherit it, so that it marks all that this node runs.
        let home = node.folder.path().to_str().expect("UTF-8").to_owned();
        node.set("HOME", &home);
        node
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Another file to start as the agent.
    pub(crate) fn set_program(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The supervisors that run here.
    pub(crate) fn supervisors(&self) -> Vec<i32> {
        supervisors(&self.state())
    }

    /// Folders of the jobs that the agent has not done with.
    pub(crate) fn journal(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.state().join("jobs"));
        let paths = entries.into_iter().flatten().flatten();
        paths.map(|entry| entry.path()).collect()
    }

    pub(crate) fn start(&mut self) {
        assert!(self.agent.is_none(), "it runs");
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
        self.agent.as_ref().expect("it runs").id().cast_signed()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.agent.is_some()
    }

    /// SIGKILL to the agent alone; what it runs goes on.
    pub(crate) fn kill9(&mut self) {
        if let Some(mut child) = self.agent.take() {
            child.kill().expect("a child");
            child.wait().expect("a child");
        }
    }

    /// SIGTERM to the agent; how it ended, and how long that took.
    pub(crate) fn terminate(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM).expect("it runs");
        let child = self.agent.as_mut().expect("it runs");
        let status = eventually("the agent's end", || child.try_wait().expect("a child"));
        self.agent = None;
        (status, began.elapsed())
    }

    /// Whether a line of the agent's log holds these words.
    pub(crate) fn logged(&self, words: &str) -> bool {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().any(|line| line.contains(words))
    }

    /// Lines of the agent's log with these words.
    pub(crate) fn times_logged(&self, words: &str) -> usize {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().filter(|line| line.contains(words)).count()
    }

    /// Kills all that runs here, as when the power goes.
    pub(crate) fn power_off(&mut self) {
        self.kill9();
        let mark = self.folder.path().to_str().expect("UTF-8").to_owned();
        eventually("nothing to be left", || {
            let left = marked(&mark);
            for process in &left {
                // An error says that it is gone already.
                let _gone = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
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
            eprintln!("--- the agent's last words\n{}", log[from..].join("\n"));
        }
        self.power_off();
    }
}
