//! `hyprbox` as a program that a test runs.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Person, Server, eventually};

/// Somebody's command line: a home folder, a server and a token.
pub(super) struct Cli {
    home: TempDir,
    variables: Vec<(String, String)>,
}

/// What came of a command.
pub(super) struct Ran {
    pub(super) code: i32,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
}

impl std::fmt::Debug for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let out = String::from_utf8_lossy(&self.stdout);
        write!(
            f,
            "exit code {}\n--- stdout\n{out}\n--- stderr\n{}",
            self.code, self.stderr
        )
    }
}

impl Ran {
    #[track_caller]
    pub(super) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    #[track_caller]
    pub(super) fn says(self, words: &str) -> Self {
        assert!(
            self.stderr.contains(words),
            "{words:?} is not said: {self:?}"
        );
        self
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).expect("UTF-8")
    }

    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// One JSON value a line.
    #[track_caller]
    pub(super) fn lines(&self) -> Vec<Value> {
        let text = self.text();
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        text.lines().map(parse).collect()
    }
}

impl Cli {
    /// Nobody's, who knows no server.
    pub(super) fn nobody() -> Self {
        Self {
            home: tempfile::tempdir().expect("a folder"),
            variables: Vec::new(),
        }
    }

    /// Of a person, at a server's address.
    pub(super) fn at(url: &str, person: &Person) -> Self {
        Self::nobody()
            .with("HYPRBOX_URL", url)
            .with("HYPRBOX_TOKEN", &person.token)
    }

    pub(super) fn of(server: &Server, person: &Person) -> Self {
        Self::at(server.url(), person)
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The program's path and its environment, and nothing else of ours.
    pub(super) fn dress<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.home())
            .env("TERM", "xterm-256color")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
    }

    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hyprbox"));
        self.dress(&mut command).args(words);
        command
    }

    pub(super) fn run(&self, words: &[&str]) -> Ran {
        self.run_with(words, "")
    }

    /// With something on standard input.
    pub(super) fn run_with(&self, words: &[&str], stdin: &str) -> Ran {
        let mut running = self.start_with(words, Stdio::piped());
        let mut input = running.child.stdin.take().expect("a pipe");
        // A command that reads nothing may be gone already.
        let _gone = input.write_all(stdin.as_bytes());
        drop(input);
        running.ended()
    }

    pub(super) fn start(&self, words: &[&str]) -> Running {
        self.start_with(words, Stdio::null())
    }

    fn start_with(&self, words: &[&str], stdin: Stdio) -> Running {
        let mut child = self
            .command(words)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        Running {
            stdout: Bytes::of(child.stdout.take().expect("a pipe")),
            stderr: Bytes::of(child.stderr.take().expect("a pipe")),
            child,
        }
    }
}

/// What was written so far.
#[derive(Clone, Default)]
pub(super) struct Bytes(Arc<Mutex<(Vec<u8>, bool)>>);

impl Bytes {
    pub(super) fn of(mut output: impl Read + Send + 'static) -> Self {
        let bytes = Self::default();
        let ours = bytes.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal whose last program has gone gives an error, as a pipe gives an end.
            while let Ok(length) = output.read(&mut buffer) {
                if length == 0 {
                    break;
                }
                ours.lock().0.extend_from_slice(&buffer[..length]);
            }
            ours.lock().1 = true;
        });
        bytes
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Vec<u8>, bool)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn so_far(&self) -> Vec<u8> {
        self.lock().0.clone()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.so_far()).into_owned()
    }

    #[track_caller]
    pub(super) fn wait_for(&self, words: &str) {
        let found = || self.text().contains(words).then_some(());
        eventually(&format!("{words:?}, after {:?}", self.text()), found);
    }

    /// Everything, once it has ended.
    pub(super) fn all(&self) -> Vec<u8> {
        eventually("the end of the output", || self.lock().1.then_some(()));
        self.so_far()
    }
}

/// A command that runs. Dropping it kills it.
pub(super) struct Running {
    pub(super) child: Child,
    pub(super) stdout: Bytes,
    pub(super) stderr: Bytes,
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error says that it is gone already.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Running {
    pub(super) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("it runs");
    }

    pub(super) fn ended(mut self) -> Ran {
        let status = eventually("the command's end", || {
            self.child.try_wait().expect("a child")
        });
        Ran {
            code: status.code().unwrap_or(-1),
            stdout: self.stdout.all(),
            stderr: String::from_utf8_lossy(&self.stderr.all()).into_owned(),
        }
    }
}
