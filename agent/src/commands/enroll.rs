//! `hyprbox-agent enroll URL CODE`: trades a one-time code for this node's token, writes it down
//! for root alone, tries everything, and starts the service where systemd is.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hyprbox_protocol::{ErrorBody, parse_environment};
use serde::Deserialize;

use crate::client::{self, CallError};
use crate::commands::check::{Finding, check};
use crate::commands::service::ENV_FILE;
use crate::config::{Config, ConfigError, Raw};

const UNIT: &str = "hyprbox-agent.service";
const TIMEOUT: Duration = Duration::from_secs(20);
/// How often the code is sent if something between this machine and the server answers.
const TRIES: u32 = 5;
/// The first pause between two tries; each is longer by so much.
const PAUSE: Duration = Duration::from_millis(500);
const HEADING: &str =
    "# Written by `hyprbox-agent enroll`. For root alone: it holds the node's token.";

/// What is asked for.
pub struct Enroll {
    url: String,
    code: String,
    ca_file: Option<PathBuf>,
    insecure_http: bool,
    env_file: PathBuf,
    start: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Enrolled {
    node_id: String,
    token: String,
}

impl Enroll {
    /// Reads the words after the command's name.
    pub fn parse(
        args: impl IntoIterator<Item = OsString>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let usage = |error: lexopt::Error| ConfigError::Usage(error.to_string());
        let (mut words, mut flags) = (Vec::new(), Vec::new());
        let (mut env_file, mut start) = (PathBuf::from(ENV_FILE), true);
        let mut parser = lexopt::Parser::from_args(args);
        while let Some(arg) = parser.next().map_err(usage)? {
            match arg {
                lexopt::Arg::Value(word) => words.push(word.to_string_lossy().into_owned()),
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
        let [url, code] = words.try_into().map_err(|_| {
            ConfigError::Usage(
                "enroll needs the server's address and the code: enroll URL CODE".to_owned(),
            )
        })?;
        let raw = Raw::of(env, flags);
        let (url, ca_file, insecure_http) = raw.way_to("URL", &url)?;
        Ok(Self {
            url,
            code,
            ca_file: ca_file.map(|file| std::path::absolute(&file).unwrap_or(file)),
            insecure_http,
            env_file,
            start,
        })
    }

    /// Does it. Gives what `check` then finds; an error is one line, and the code is unused unless
    /// it says otherwise.
    pub async fn run(&self, say: &mut dyn FnMut(&str)) -> Result<Vec<Finding>, String> {
        // Tried before the code is used up: it holds once.
        let kept = self.prepare().map_err(|error| {
            format!(
                "{} can't be written: {error}; run this as root",
                self.env_file.display()
            )
        })?;
        let enrolled = self.trade(say).await?;
        let text = self.environment(&enrolled, &kept);
        write_private(&self.env_file, &text).map_err(|error| {
            format!(
                "{} can't be written: {error}; the code is used up: make another one on the node's page",
                self.env_file.display()
            )
        })?;
        say(&format!(
            "this machine is node {}; its token is in {}\n",
            enrolled.node_id,
            self.env_file.display()
        ));
        let config = read_config(&text).map_err(|error| error.to_string())?;
        let findings = check(&config).await;
        if self.start {
            start(say)?;
        }
        Ok(findings)
    }

    /// Makes the folder, and gives the lines of the file that are not ours.
    fn prepare(&self) -> io::Result<Vec<String>> {
        let folder = folder_of(&self.env_file);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder)?;
        let probe = self.env_file.with_extension("env.new");
        private(&probe)?;
        std::fs::remove_file(&probe)?;
        let text = match std::fs::read_to_string(&self.env_file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        let ours = [
            "HYPRBOX_API_URL=",
            "HYPRBOX_NODE_ID=",
            "HYPRBOX_NODE_TOKEN=",
            "HYPRBOX_CA_FILE=",
            "HYPRBOX_INSECURE_HTTP=",
            HEADING,
        ];
        let is_ours = |line: &&str| {
            ours.iter()
                .any(|start| line.trim_start().starts_with(start))
        };
        Ok(text
            .lines()
            .filter(|line| !is_ours(line))
            .map(str::to_owned)
            .collect())
    }

    async fn trade(&self, say: &mut dyn FnMut(&str)) -> Result<Enrolled, String> {
        let http =
            client::http(&self.url, self.ca_file.as_deref()).map_err(|error| error.to_string())?;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_once(&http).await? {
                Ok(enrolled) => return Ok(enrolled),
                Err(error) if tries < TRIES => {
                    say(&format!("{}: {error}; trying again\n", self.url));
                    tokio::time::sleep(PAUSE * tries).await;
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

    /// One call. The inner error is not the server's: the code is unused, and the call may be
    /// repeated.
    async fn try_once(
        &self,
        http: &reqwest::Client,
    ) -> Result<Result<Enrolled, CallError>, String> {
        let body = serde_json::json!({"code": self.code}).to_string();
        let answer = http
            .post(format!("{}/api/enrol", self.url))
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .timeout(TIMEOUT)
            .body(body)
            .send()
            .await
            .map_err(|error| client::unreachable(&self.url, error))?;
        let status = answer.status();
        let bytes = match client::read(answer, client::LONGEST_ANSWER).await {
            Ok(bytes) => bytes,
            Err(CallError::Network(words)) => return Err(words),
            Err(error) => return Ok(Err(error)),
        };
        if status == reqwest::StatusCode::OK
            && let Ok(enrolled) = serde_json::from_slice::<Enrolled>(&bytes)
        {
            return Ok(Ok(enrolled));
        }
        match serde_json::from_slice::<ErrorBody>(&bytes) {
            Ok(body) if status != reqwest::StatusCode::OK => Err(body.error),
            _ => Ok(Err(client::foreign(status, &bytes, None))),
        }
    }

    fn environment(&self, enrolled: &Enrolled, kept: &[String]) -> String {
        let mut lines = vec![
            HEADING.to_owned(),
            format!("HYPRBOX_API_URL={}", self.url),
            format!("HYPRBOX_NODE_ID={}", enrolled.node_id),
            format!("HYPRBOX_NODE_TOKEN={}", enrolled.token),
        ];
        if let Some(file) = &self.ca_file {
            lines.push(format!("HYPRBOX_CA_FILE={}", file.display()));
        }
        if self.insecure_http {
            lines.push("HYPRBOX_INSECURE_HTTP=1".to_owned());
        }
        lines.extend(kept.iter().cloned());
        lines.join("\n") + "\n"
    }
}

/// The configuration that the unit will have.
fn read_config(text: &str) -> Result<Config, ConfigError> {
    let values = parse_environment(text);
    let env = |name: &str| values.get(name).cloned();
    Raw::of(&env, Vec::new()).config()
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A new file that its owner alone may read, whatever the umask and whatever stood there.
fn private(path: &Path) -> io::Result<File> {
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

/// Writes it so that there is either the old file or the whole new one.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let making = path.with_extension("env.new");
    let mut file = private(&making)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&making, path)?;
    File::open(folder_of(path))?.sync_all()
}

fn start(say: &mut dyn FnMut(&str)) -> Result<(), String> {
    if !Path::new("/run/systemd/system").is_dir() {
        say(
            "there is no systemd here: have `hyprbox-agent run` started at boot, with that file as its environment\n",
        );
        return Ok(());
    }
    for verb in ["enable", "restart"] {
        let ended = Command::new("systemctl")
            .args(["--quiet", verb, UNIT])
            .status();
        match ended {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(format!("systemctl {verb} {UNIT} ended with {status}")),
            Err(error) => return Err(format!("systemctl can't be run: {error}")),
        }
    }
    say(&format!("{UNIT} is enabled and runs\n"));
    Ok(())
}
