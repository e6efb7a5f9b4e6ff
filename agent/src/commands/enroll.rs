//! `hyprbox-agent enroll URL CODE`: exchanges a one-time code for this node's token, writes it to a
//! file that only root can read, runs every check, and starts the service if systemd is running.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hyprbox_protocol::{ErrorBody, parse_environment};
use hyprbox_signing::Signers;
use serde::Deserialize;

use crate::client::{self, CallError};
use crate::commands::check::{Finding, check};
use crate::commands::service::ENV_FILE;
use crate::config::{Config, ConfigError, RawSettings, URL_ARGUMENT};

const UNIT: &str = "hyprbox-agent.service";
const TIMEOUT: Duration = Duration::from_secs(20);
/// How often the code is sent if something between this machine and the server answers.
const ATTEMPTS: u32 = 5;
/// The pause after the first attempt. Each later pause is longer than the one before by this much.
const PAUSE: Duration = Duration::from_millis(500);
/// The file's name, next to the one with the node's token.
const TRUSTED_SERVERS: &str = "trusted_servers";
const KEYS_HEADING: &str =
    "# The keys with which this node's server signs jobs. Other jobs do not run here.";
const HEADING: &str =
    "# Written by `hyprbox-agent enroll`. Only root may read it: it holds the node's token.";

/// The arguments of `enroll`.
pub struct Enroll {
    url: String,
    code: String,
    ca_file: Option<PathBuf>,
    insecure_http: bool,
    env_file: PathBuf,
    start: bool,
    /// Keys of the server from `install.sh`, whose SHA-256 is in the line that the user pasted.
    sign_keys: Option<String>,
    /// The root of the machine that is set up, if it is not this one's.
    destdir: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Enrolment {
    node_id: String,
    token: String,
    /// The keys with which the server signs jobs; an older server sends none.
    #[serde(default)]
    sign_keys: Vec<String>,
}

impl Enroll {
    /// Parses the arguments after the command's name.
    pub fn parse(
        args: impl IntoIterator<Item = OsString>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let usage = |error: lexopt::Error| ConfigError::Usage(error.to_string());
        let (mut positional, mut flags) = (Vec::new(), Vec::new());
        let (mut env_file, mut start) = (PathBuf::from(ENV_FILE), true);
        let mut parser = lexopt::Parser::from_args(args);
        while let Some(arg) = parser.next().map_err(usage)? {
            match arg {
                lexopt::Arg::Value(value) => positional.push(value.to_string_lossy().into_owned()),
                lexopt::Arg::Long("env-file") => env_file = parser.value().map_err(usage)?.into(),
                lexopt::Arg::Long("no-start") => start = false,
                lexopt::Arg::Long("insecure-http") => {
                    flags.push(("--insecure-http".to_owned(), "1".to_owned()));
                }
                lexopt::Arg::Long("ca-file") => {
                    let file = parser.value().map_err(usage)?;
                    flags.push(("--ca-file".to_owned(), file.to_string_lossy().into_owned()));
                }
                lexopt::Arg::Long(_) | lexopt::Arg::Short(_) => {
                    return Err(usage(arg.unexpected()));
                }
            }
        }
        let [url, code] = positional.try_into().map_err(|_| {
            ConfigError::Usage(
                "enroll needs the server's address and the code: enroll URL CODE".to_owned(),
            )
        })?;
        let raw = RawSettings::of(env, flags);
        let (url, ca_file, insecure_http) = raw.connection(URL_ARGUMENT, &url)?;
        Ok(Self {
            url,
            code,
            ca_file: ca_file.map(|file| std::path::absolute(&file).unwrap_or(file)),
            insecure_http,
            env_file,
            start,
            sign_keys: env("HYPRBOX_SIGN_KEYS").filter(|keys| !keys.trim().is_empty()),
            destdir: env("DESTDIR")
                .filter(|root| !root.is_empty())
                .map(PathBuf::from),
        })
    }

    /// Enrols this machine and returns the findings of `check`. An error is one line; the code is
    /// still unused unless the error says otherwise.
    pub async fn run(&self, print: &mut dyn FnMut(&str)) -> Result<Vec<Finding>, String> {
        // Checked before the code is sent, because a code can be used only once.
        let other_lines = self.prepare().map_err(|error| {
            format!(
                "{} can't be written: {error}; run this as root",
                self.env_file.display()
            )
        })?;
        let enrolment = self.exchange_code(print).await?;
        let keys = self.trusted_keys(&enrolment)?;
        let text = self.environment(&enrolment, &other_lines, keys.is_some());
        if let Some(keys) = &keys {
            write_private(&self.trusted_servers(), keys).map_err(|error| {
                format!(
                    "{} can't be written: {error}; the code is used up: create another one on the node's page",
                    self.trusted_servers().display()
                )
            })?;
        }
        write_private(&self.env_file, &text).map_err(|error| {
            format!(
                "{} can't be written: {error}; the code is used up: create another one on the node's page",
                self.env_file.display()
            )
        })?;
        print(&format!(
            "this machine is node {}; its token is in {}\n",
            enrolment.node_id,
            self.env_file.display()
        ));
        let config = read_config(&text).map_err(|error| error.to_string())?;
        let findings = check(&config).await;
        if self.start {
            start_service(print)?;
        }
        Ok(findings)
    }

    /// Creates the folder, and returns the lines of an existing file that `enroll` does not write.
    fn prepare(&self) -> io::Result<Vec<String>> {
        let folder = folder_of(&self.env_file);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder)?;
        let probe = self.env_file.with_extension("env.new");
        create_private(&probe)?;
        std::fs::remove_file(&probe)?;
        let text = match std::fs::read_to_string(&self.env_file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        let written_here = [
            "HYPRBOX_API_URL=",
            "HYPRBOX_NODE_ID=",
            "HYPRBOX_NODE_TOKEN=",
            "HYPRBOX_CA_FILE=",
            "HYPRBOX_INSECURE_HTTP=",
            "HYPRBOX_TRUSTED_SERVERS=",
            HEADING,
        ];
        let is_written_here = |line: &&str| {
            written_here
                .iter()
                .any(|start| line.trim_start().starts_with(start))
        };
        Ok(text
            .lines()
            .filter(|line| !is_written_here(line))
            .map(str::to_owned)
            .collect())
    }

    async fn exchange_code(&self, print: &mut dyn FnMut(&str)) -> Result<Enrolment, String> {
        let http =
            client::http(&self.url, self.ca_file.as_deref()).map_err(|error| error.to_string())?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.send_code(&http).await? {
                Ok(enrolment) => return Ok(enrolment),
                Err(error) if attempts < ATTEMPTS => {
                    print(&format!("{}: {error}; trying again\n", self.url));
                    tokio::time::sleep(PAUSE * attempts).await;
                }
                Err(error) => {
                    return Err(format!(
                        "{} doesn't answer as a HyprBox server: {error}",
                        self.url
                    ));
                }
            }
        }
    }

    /// Sends the code once. The inner error came from something other than the server, so the code
    /// is still unused and may be sent again.
    async fn send_code(
        &self,
        http: &reqwest::Client,
    ) -> Result<Result<Enrolment, CallError>, String> {
        let body = serde_json::json!({"code": self.code}).to_string();
        let response = http
            .post(format!("{}/api/enrol", self.url))
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .timeout(TIMEOUT)
            .body(body)
            .send()
            .await
            .map_err(|error| client::unreachable(&self.url, error))?;
        let status = response.status();
        let bytes = match client::read(response, client::LONGEST_ANSWER).await {
            Ok(bytes) => bytes,
            Err(CallError::Network(message)) => return Err(message),
            Err(error) => return Ok(Err(error)),
        };
        if status == reqwest::StatusCode::OK
            && let Ok(enrolment) = serde_json::from_slice::<Enrolment>(&bytes)
        {
            return Ok(Ok(enrolment));
        }
        match serde_json::from_slice::<ErrorBody>(&bytes) {
            Ok(body) if status != reqwest::StatusCode::OK => Err(body.error),
            _ => Ok(Err(client::foreign(status, &bytes, None))),
        }
    }

    /// The content of the file with the server's keys; `None` if the server signs no jobs.
    fn trusted_keys(&self, enrolment: &Enrolment) -> Result<Option<String>, String> {
        // Those of the script count, because nobody on the path can have replaced them.
        let text = match &self.sign_keys {
            Some(keys) => keys.clone(),
            None => enrolment.sign_keys.join("\n"),
        };
        let (keys, faults) = Signers::parse_keys(&text);
        match faults.first() {
            Some(fault) => Err(format!(
                "the server's sign keys can't be read: {fault}; the code is used up: create another one on the node's page"
            )),
            None if keys.is_empty() => Ok(None),
            None => Ok(Some(format!("{KEYS_HEADING}\n{}", keys.to_keys_file()))),
        }
    }

    fn trusted_servers(&self) -> PathBuf {
        folder_of(&self.env_file).join(TRUSTED_SERVERS)
    }

    /// The path of the file with the server's keys as the agent will see it.
    fn trusted_servers_of_agent(&self) -> PathBuf {
        let path = self.trusted_servers();
        let path = std::path::absolute(&path).unwrap_or(path);
        let inside = self.destdir.as_ref().and_then(|root| {
            let inside = path.strip_prefix(root).ok()?;
            Some(Path::new("/").join(inside))
        });
        inside.unwrap_or(path)
    }

    fn environment(&self, enrolment: &Enrolment, other_lines: &[String], has_keys: bool) -> String {
        let mut lines = vec![
            HEADING.to_owned(),
            format!("HYPRBOX_API_URL={}", self.url),
            format!("HYPRBOX_NODE_ID={}", enrolment.node_id),
            format!("HYPRBOX_NODE_TOKEN={}", enrolment.token),
        ];
        if let Some(file) = &self.ca_file {
            lines.push(format!("HYPRBOX_CA_FILE={}", file.display()));
        }
        if has_keys {
            let path = self.trusted_servers_of_agent();
            lines.push(format!("HYPRBOX_TRUSTED_SERVERS={}", path.display()));
        }
        if self.insecure_http {
            lines.push("HYPRBOX_INSECURE_HTTP=1".to_owned());
        }
        lines.extend(other_lines.iter().cloned());
        lines.join("\n") + "\n"
    }
}

/// Parses the configuration that the service will have.
fn read_config(text: &str) -> Result<Config, ConfigError> {
    let values = parse_environment(text);
    let env = |name: &str| values.get(name).cloned();
    RawSettings::of(&env, Vec::new()).config()
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Creates a file that only its owner can read, whatever the umask. Replaces an existing file.
fn create_private(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Replaces the file in one step: at any time it is either the old or the complete new one.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("env.new");
    let mut file = create_private(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(folder_of(path))?.sync_all()
}

fn start_service(print: &mut dyn FnMut(&str)) -> Result<(), String> {
    if !Path::new("/run/systemd/system").is_dir() {
        print(
            "systemd is not running here: make `hyprbox-agent run` start at boot, with that file as its environment\n",
        );
        return Ok(());
    }
    for verb in ["enable", "restart"] {
        let result = Command::new("systemctl")
            .args(["--quiet", verb, UNIT])
            .status();
        match result {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(format!("systemctl {verb} {UNIT} failed: {status}")),
            Err(error) => return Err(format!("systemctl can't be run: {error}")),
        }
    }
    print(&format!("{UNIT} is enabled and running\n"));
    Ok(())
}
