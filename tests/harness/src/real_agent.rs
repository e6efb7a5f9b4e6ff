//! The real agent, as a process beside the server.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{FakeAgent, Server, eventually};

/// A running agent. Dropping it kills it, and with it what it runs.
pub struct RealAgent {
    folder: TempDir,
    program: PathBuf,
    variables: Vec<(String, String)>,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl RealAgent {
    /// Starts it for the node of `identity`.
    pub fn start(server: &Server, identity: &FakeAgent) -> Self {
        Self::of(server, identity, server.setup().ca_file())
    }

    /// Starts it with certificate authorities of its own.
    pub fn trusting(server: &Server, identity: &FakeAgent, ca_file: &Path) -> Self {
        Self::of(server, identity, Some(ca_file))
    }

    fn of(server: &Server, identity: &FakeAgent, ca_file: Option<&Path>) -> Self {
        Self::speaking_to(server.url(), identity, ca_file)
    }

    /// Starts it for a server that is at that URL, or will be.
    pub fn at_url(url: &str, identity: &FakeAgent) -> Self {
        Self::speaking_to(url, identity, None)
    }

    /// Starts another build of it.
    pub fn of_build(program: &Path, server: &Server, identity: &FakeAgent) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        let variables = variables(&state, server.url(), identity, server.setup().ca_file());
        Self::run(program.to_owned(), folder, variables)
    }

    /// Starts another build of it over the same state folder, once it has ended.
    pub fn start_again_as(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
        self.start_again();
    }

    /// Starts it over another state folder.
    pub fn with_state(server: &Server, identity: &FakeAgent, state: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::over(folder, state, server.url(), identity, None)
    }

    /// Starts it with further variables.
    pub fn with_variables(server: &Server, identity: &FakeAgent, more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        let mut variables = variables(&state, server.url(), identity, server.setup().ca_file());
        variables.extend(
            more.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        Self::in_folder(folder, variables)
    }

    /// Its state folder.
    pub fn state(&self) -> std::path::PathBuf {
        self.folder.path().join("state")
    }

    /// Starts another one over a copy of its state folder, as on a cloned machine.
    pub fn copy(&self) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let copied = Command::new("cp")
            .arg("-a")
            .arg(self.folder.path().join("state"))
            .arg(folder.path())
            .status()
            .expect("cp runs");
        assert!(copied.success(), "{copied}");
        let mut variables = self.variables.clone();
        for (name, value) in &mut variables {
            if name == "HYPRBOX_STATE_DIR" {
                *value = folder.path().join("state").display().to_string();
            }
        }
        let log = Arc::default();
        let program = self.program.clone();
        let child = spawn(&program, &folder, &variables, &log);
        Self {
            folder,
            program,
            variables,
            child,
            log,
        }
    }

    fn speaking_to(url: &str, identity: &FakeAgent, ca_file: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        Self::over(folder, &state, url, identity, ca_file)
    }

    fn over(
        folder: TempDir,
        state: &Path,
        url: &str,
        identity: &FakeAgent,
        ca_file: Option<&Path>,
    ) -> Self {
        Self::in_folder(folder, variables(state, url, identity, ca_file))
    }

    fn in_folder(folder: TempDir, variables: Vec<(String, String)>) -> Self {
        Self::run(super::built("hyprbox-agent"), folder, variables)
    }

    fn run(program: PathBuf, folder: TempDir, variables: Vec<(String, String)>) -> Self {
        let log = Arc::default();
        let child = spawn(&program, &folder, &variables, &log);
        Self {
            folder,
            program,
            variables,
            child,
            log,
        }
    }

    /// SIGKILL to the agent alone; what it runs goes on.
    pub fn kill9(&mut self) {
        // An error says that it is gone already.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }

    /// Starts it again over the same state folder.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.program, &self.folder, &self.variables, &self.log);
    }

    pub fn terminate(&mut self) -> ExitStatus {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
        eventually("the agent's end", || {
            self.child.try_wait().expect("a child")
        })
    }

    /// Whether a line of its log holds these words.
    pub fn logged(&self, words: &str) -> bool {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().any(|line| line.contains(words))
    }
}

impl Drop for RealAgent {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            eprintln!("--- the agent's log\n{}", log.join("\n"));
        }
    }
}

fn variables(
    state: &Path,
    url: &str,
    identity: &FakeAgent,
    ca_file: Option<&Path>,
) -> Vec<(String, String)> {
    let variables = [
        ("HYPRBOX_API_URL", url),
        ("HYPRBOX_NODE_TOKEN", &identity.token),
        ("HYPRBOX_NODE_ID", &identity.node_id),
        ("HYPRBOX_STATE_DIR", state.to_str().expect("UTF-8")),
        ("HYPRBOX_INTERVAL", "1s"),
        (
            "HYPRBOX_CA_FILE",
            ca_file.map_or("", |path| path.to_str().expect("UTF-8")),
        ),
    ];
    variables
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

fn spawn(
    program: &Path,
    folder: &TempDir,
    variables: &[(String, String)],
    log: &Arc<Mutex<Vec<String>>>,
) -> Child {
    let mut child = Command::new(program)
        .arg("run")
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", folder.path())
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the agent starts");
    let (stderr, log) = (child.stderr.take().expect("a pipe"), Arc::clone(log));
    std::thread::spawn(move || {
        use std::io::{BufRead, BufReader};
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            log.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
        }
    });
    child
}
