//! The server, as a process with a folder of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tempfile::TempDir;

use super::call::client;
use super::{
    Authority, Call, Database, PASSWORD, PATIENCE, Person, eventually, eventually_within, presets,
};

/// A server to be: its folder and its settings.
pub struct Setup {
    folder: TempDir,
    database: Database,
    variables: Vec<(String, String)>,
    flags: Vec<String>,
    ca_file: Option<PathBuf>,
    program: Option<PathBuf>,
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let presets = folder.path().join("presets");
        std::fs::create_dir(&presets).expect("a folder");
        presets::write_all(&presets);
        let setup = Self {
            database: Database::fresh(&folder.path().join("data")),
            folder,
            variables: Vec::new(),
            flags: Vec::new(),
            ca_file: None,
            program: None,
        };
        let (data, url) = (setup.data_dir(), setup.database().url());
        setup
            .with("HYPRBOX_LISTEN", "127.0.0.1:0")
            .with("HYPRBOX_DATA_DIR", data.to_str().expect("UTF-8"))
            .with("HYPRBOX_DATABASE_URL", &url)
            .with("HYPRBOX_PRESETS_DIR", presets.to_str().expect("UTF-8"))
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn presets_dir(&self) -> PathBuf {
        self.folder.path().join("presets")
    }

    /// The folder that holds all of it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn database(&self) -> Database {
        self.database.clone()
    }

    /// Sets a variable, in place of what it was.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// Another build of the server.
    pub fn with_program(mut self, program: &Path) -> Self {
        self.program = Some(program.to_owned());
        self
    }

    /// Its own TLS, with that authority's certificate.
    pub fn with_tls(mut self, authority: &Authority) -> Self {
        self.ca_file = Some(authority.ca_file());
        let (cert, key) = (authority.cert(), authority.key());
        self.with("HYPRBOX_TLS_CERT", cert.to_str().expect("UTF-8"))
            .with("HYPRBOX_TLS_KEY", key.to_str().expect("UTF-8"))
    }

    /// The authority whose certificate the server shows.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    pub fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self
    }

    pub fn flag(mut self, flag: &str, value: &str) -> Self {
        self.flags.extend([flag.to_owned(), value.to_owned()]);
        self
    }

    /// A flag and its value in one word, as values that begin with a dash need it.
    pub fn word(mut self, word: &str) -> Self {
        self.flags.push(word.to_owned());
        self
    }

    /// `hyprbox serve` with these settings and nothing else of the environment.
    pub fn command(&self) -> Command {
        let mut command = self.program();
        command.arg("serve").args(&self.flags);
        command
    }

    /// `hyprbox` with these settings and nothing else of the environment.
    pub fn program(&self) -> Command {
        // Another build, where a test is to run at its pace.
        let other = std::env::var_os("HYPRBOX_TEST_SERVER").map(PathBuf::from);
        let program = self.program.clone().or(other);
        let mut command = Command::new(program.unwrap_or_else(|| super::built("hyprbox")));
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.folder.path())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command of `hyprbox` to its end.
    pub fn run(&self, words: &[&str]) -> Output {
        self.program().args(words).output().expect("it runs")
    }

    pub fn start(self) -> Server {
        Server::run(self)
    }

    /// Runs it until it has logged a line, and gives what it logged.
    pub fn try_lines(self) -> String {
        let (log, said) = (Lines::default(), Lines::default());
        let mut child = spawn(&self, &log, &said);
        eventually("a line of the log", || {
            (!log.all().is_empty()).then_some(())
        });
        // An error says that it is gone already.
        let _gone = child.kill();
        let _status = child.wait();
        let lines = log.all();
        format!("{}\n", lines.join("\n"))
    }
}

/// Lines of the server's two outputs, as they come.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>, Arc<AtomicBool>);

impl Lines {
    fn all(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(&self, output: impl Read + Send + 'static) {
        let lines = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                lines.all().push(line);
                if lines.1.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
    }

    /// What comes after `mark` in a line that has it, up to the next space.
    fn word_after(&self, mark: &str) -> Option<String> {
        let lines = self.all();
        let rest = lines.iter().rev().find_map(|line| line.split_once(mark))?.1;
        rest.split_whitespace().next().map(str::to_owned)
    }
}

/// A running server. Dropping it kills it.
pub struct Server {
    setup: Option<Setup>,
    child: Child,
    log: Lines,
    said: Lines,
    client: reqwest::Client,
    url: String,
    admin: Option<Person>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            let log = self.log.all();
            let from = log.len().saturating_sub(30);
            eprintln!("--- the server's last words\n{}", log[from..].join("\n"));
        }
    }
}

impl Server {
    pub fn start() -> Self {
        Setup::new().start()
    }

    /// With variables set.
    pub fn with(variables: &[(&str, &str)]) -> Self {
        let setup = variables
            .iter()
            .fold(Setup::new(), |setup, (name, value)| setup.with(name, value));
        setup.start()
    }

    fn run(setup: Setup) -> Self {
        let (log, said) = (Lines::default(), Lines::default());
        let child = spawn(&setup, &log, &said);
        let client = client(setup.ca_file());
        let mut server = Self {
            setup: Some(setup),
            child,
            log,
            said,
            client,
            url: String::new(),
            admin: None,
        };
        server.wait_until_it_listens();
        server
    }

    fn wait_until_it_listens(&mut self) {
        let address = eventually("the server to listen", || {
            if let Some(status) = self.child.try_wait().expect("a child") {
                panic!("it ended with {status}: {}", self.log.all().join("\n"));
            }
            self.log.word_after(" address=")
        });
        let scheme = match self.setup().ca_file() {
            Some(_) => "https",
            None => "http",
        };
        self.url = format!("{scheme}://{address}");
    }

    /// Closes its standard error after the next line of its log.
    pub fn stop_reading_the_log(&self) {
        self.log.1.store(true, Ordering::Relaxed);
    }

    /// Starts it again, on another port, over the same folder.
    pub fn start_again(&mut self) {
        let ended = self.child.try_wait().expect("a child");
        assert!(ended.is_some(), "it still runs");
        (self.log, self.said) = (Lines::default(), Lines::default());
        self.child = spawn(self.setup(), &self.log, &self.said);
        self.client = client(self.setup().ca_file());
        self.wait_until_it_listens();
        if let Some(admin) = &mut self.admin {
            admin.moved_to(&self.client, &self.url);
        }
    }

    /// Stops it cleanly and starts it again.
    pub fn restart(&mut self) {
        let status = self.terminate();
        assert!(status.success(), "{status}");
        self.start_again();
    }

    /// A setting for the next start.
    pub fn set(&mut self, name: &str, value: &str) {
        self.setup
            .as_mut()
            .expect("not taken apart")
            .set(name, value);
    }

    /// Kills it, and changes a row of every kind that the statement names.
    pub fn kill_and_change(&mut self, sql: &str) {
        self.kill9();
        assert_ne!(self.database().execute(sql), 0, "{sql}");
    }

    /// SIGKILL, and gone.
    pub fn kill9(&mut self) {
        // An error says that it is gone already.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("it runs");
    }

    /// SIGTERM, and what it ended with.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.ended()
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        self.ended_within(PATIENCE)
    }

    pub fn ended_within(&mut self, patience: Duration) -> ExitStatus {
        eventually_within(patience, "the server's end", || {
            self.child.try_wait().expect("a child")
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// `127.0.0.1:40123`
    pub fn address(&self) -> &str {
        self.url.rsplit('/').next().expect("an address")
    }

    pub fn setup(&self) -> &Setup {
        self.setup.as_ref().expect("not taken apart")
    }

    /// Kills it; its folder and settings stay.
    pub fn into_setup(mut self) -> Setup {
        self.kill9();
        self.setup.take().expect("not taken apart")
    }

    pub fn database(&self) -> Database {
        self.setup().database()
    }

    pub fn presets_dir(&self) -> PathBuf {
        self.setup().presets_dir()
    }

    /// Whether a line of the log holds all of these.
    pub fn logged(&self, words: &[&str]) -> bool {
        let log = self.log.all();
        log.iter()
            .any(|line| words.iter().all(|word| line.contains(word)))
    }

    /// Waits for a line of the log that holds all of these. It may arrive after an answer that was
    /// sent later.
    #[track_caller]
    pub fn wait_for_log(&self, words: &[&str]) {
        eventually(&words.join(" … "), || self.logged(words).then_some(()));
    }

    pub fn setup_code(&self) -> String {
        eventually("the setup code", || self.said.word_after("Setup code: "))
    }

    /// Everything on standard output so far.
    pub fn said(&self) -> String {
        self.said.all().join("\n")
    }

    pub fn call(&self, method: &str, path: &str) -> Call {
        Call::new(&self.client, &self.url, method, path)
    }

    pub fn get(&self, path: &str) -> Call {
        self.call("GET", path)
    }

    pub fn post(&self, path: &str, body: &serde_json::Value) -> Call {
        self.call("POST", path).json(body)
    }

    /// The first user, an ADMIN; made at the first call.
    pub fn admin(&mut self) -> Person {
        if let Some(admin) = &self.admin {
            return admin.clone();
        }
        let code = self.setup_code();
        let body = json!({"email": "admin@example.org", "password": PASSWORD, "setupCode": code});
        let answer = self.post("/api/auth/register", &body).gives(201).json();
        let admin = Person::new(&self.client, &self.url, &answer);
        self.admin = Some(admin.clone());
        admin
    }

    /// Another user of that role, logged in.
    pub fn person(&mut self, name: &str, role: &str) -> Person {
        let email = format!("{name}@example.org");
        let body = json!({"email": email, "password": PASSWORD, "name": name, "role": role});
        self.admin().post("/api/users", &body).gives(201);
        self.login(&email, PASSWORD)
    }

    pub fn login(&self, email: &str, password: &str) -> Person {
        let body = json!({"email": email, "password": password});
        let answer = self.post("/api/auth/login", &body).ok();
        Person::new(&self.client, &self.url, &answer)
    }
}

fn spawn(setup: &Setup, log: &Lines, said: &Lines) -> Child {
    let mut child = setup
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the server starts");
    log.follow(child.stderr.take().expect("a pipe"));
    said.follow(child.stdout.take().expect("a pipe"));
    child
}
