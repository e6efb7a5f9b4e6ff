//! The agent's settings: names, defaults and allowed values. A flag wins over the environment.

mod address;

use std::path::PathBuf;
use std::time::Duration;

use hyprbox_protocol::{SizeRange, TimeRange, bad_setting, is_slug};

use address::check_url;
#[cfg(target_os = "linux")]
pub(crate) use address::is_in_the_clear;
pub use address::is_loopback;

/// The settings with which the agent runs.
#[derive(Clone)]
pub struct Config {
    /// The server's address, without a trailing slash: `https://jobs.example.org`.
    pub api_url: String,
    /// This node's id.
    pub node_id: String,
    /// The node's token (`hbn_…`). Never printed, and never passed to a job.
    pub node_token: String,
    /// Time between two heartbeats, 1 s to 1 h.
    pub interval: Duration,
    /// The folder with the instance id, the start log and the jobs' directories.
    pub state_dir: PathBuf,
    /// A PEM file with the only certificate authorities to trust. Without it, the system's are
    /// trusted.
    pub ca_file: Option<PathBuf>,
    /// The file with the keys with which the server signs jobs; `None`: in the state folder.
    pub trusted_servers: Option<PathBuf>,
    /// The list of the people who must sign this node's jobs; `None`: `/etc/hyprbox/signers`, if it
    /// exists.
    pub signers: Option<PathBuf>,
    /// Allows plain http to a server on another machine.
    pub insecure_http: bool,
    /// Passes `HYPRBOX_FORCE=1` to each script, which then skips its distro guard.
    pub force: bool,
    /// Names of the agent's own environment variables that scripts also get.
    pub job_env: Vec<String>,
    /// How much of a job's output may wait on the disk if the server wants all of it, in bytes.
    pub spool_max: u64,
}

impl std::fmt::Debug for Config {
    // Written by hand, so that the token can't reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("api_url", &self.api_url)
            .field("node_id", &self.node_id)
            .field("interval", &self.interval)
            .field("state_dir", &self.state_dir)
            .finish_non_exhaustive()
    }
}

/// A setting that can't be used. Its text is one line with the setting's name, its value and what
/// is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value that is not allowed.
    #[error("{}", bad_setting(.name, Some(.value), .allowed))]
    Bad {
        /// The variable or flag that it came from.
        name: String,
        /// The value as given.
        value: String,
        /// What is allowed; completes "it must be …".
        allowed: String,
    },
    /// A secret value that is not allowed, and therefore not shown.
    #[error("{}", bad_setting(.name, None, .allowed))]
    BadSecret {
        /// The variable or flag that it came from.
        name: String,
        /// What is allowed; completes "it must be …".
        allowed: String,
    },
    /// A required setting that is missing.
    #[error("{var} (or {flag}) is not set: it must be {allowed}")]
    Missing {
        /// The environment variable.
        var: &'static str,
        /// The flag.
        flag: &'static str,
        /// What is allowed; completes "it must be …".
        allowed: String,
    },
    /// A flag that doesn't exist, or one without its value.
    #[error("{0}; see hyprbox-agent --help")]
    Usage(String),
}

impl ConfigError {
    /// Whether the command line is wrong, and not the environment.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Usage(_) => true,
            Self::Bad { name, .. } | Self::BadSecret { name, .. } => {
                name.starts_with("--") || name == URL_ARGUMENT
            }
            Self::Missing { .. } => false,
        }
    }
}

/// The name of the argument with the server's address.
pub(crate) const URL_ARGUMENT: &str = "URL";

/// The names of one setting.
struct Setting {
    var: &'static str,
    flag: &'static str,
}

const API_URL: Setting = Setting {
    var: "HYPRBOX_API_URL",
    flag: "--api-url",
};
const NODE_ID: Setting = Setting {
    var: "HYPRBOX_NODE_ID",
    flag: "--node-id",
};
const NODE_TOKEN: Setting = Setting {
    var: "HYPRBOX_NODE_TOKEN",
    flag: "--node-token",
};
const INTERVAL: Setting = Setting {
    var: "HYPRBOX_INTERVAL",
    flag: "--interval",
};
const STATE_DIR: Setting = Setting {
    var: "HYPRBOX_STATE_DIR",
    flag: "--state-dir",
};
const CA_FILE: Setting = Setting {
    var: "HYPRBOX_CA_FILE",
    flag: "--ca-file",
};
const TRUSTED_SERVERS: Setting = Setting {
    var: "HYPRBOX_TRUSTED_SERVERS",
    flag: "--trusted-servers",
};
const SIGNERS: Setting = Setting {
    var: "HYPRBOX_SIGNERS",
    flag: "--signers",
};
const INSECURE_HTTP: Setting = Setting {
    var: "HYPRBOX_INSECURE_HTTP",
    flag: "--insecure-http",
};
const FORCE: Setting = Setting {
    var: "HYPRBOX_FORCE",
    flag: "--force",
};
const JOB_ENV: Setting = Setting {
    var: "HYPRBOX_JOB_ENV",
    flag: "--job-env",
};
const SPOOL_MAX: Setting = Setting {
    var: "HYPRBOX_SPOOL_MAX",
    flag: "--spool-max",
};

const URL_ALLOWED: &str = "the server's address, such as https://jobs.example.org";
const NODE_ID_ALLOWED: &str =
    "the node's id: 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit";
const TOKEN_ALLOWED: &str = "the node's token, hbn_…, which the server showed once";
const JOB_ENV_ALLOWED: &str = "names of environment variables, comma-separated, such as HTTPS_PROXY,NO_PROXY,TZ, without HYPRBOX_NODE_TOKEN";
/// These names make bash, or every program that a script starts, run other code or work
/// differently.
const LOADERS: [&str; 8] = [
    "BASH_ENV",
    "BASHOPTS",
    "BASH_COMPAT",
    "BASH_XTRACEFD",
    "ENV",
    "POSIXLY_CORRECT",
    "PS4",
    "SHELLOPTS",
];
const LOADER_PREFIX: &str = "LD_";
const INTERVAL_RANGE: TimeRange = TimeRange::millis(1000, 3_600_000);
const SPOOL_RANGE: SizeRange = SizeRange::bytes(4 << 20, 1 << 40);
/// The default of `HYPRBOX_SPOOL_MAX`: 1 GiB.
pub const SPOOL_MAX_BYTES: u64 = 1 << 30;

/// Settings by name, before they are checked.
pub struct RawSettings<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    flags: Vec<(String, String)>,
}

impl<'a> RawSettings<'a> {
    /// Parses the flags after the command's name. `env` returns the environment's variables.
    pub fn parse(
        args: impl IntoIterator<Item = std::ffi::OsString>,
        env: &'a dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let usage = |e: lexopt::Error| ConfigError::Usage(e.to_string());
        let mut flags = Vec::new();
        let mut parser = lexopt::Parser::from_args(args);
        while let Some(arg) = parser.next().map_err(usage)? {
            let lexopt::Arg::Long(name) = arg else {
                return Err(usage(arg.unexpected()));
            };
            let flag = format!("--{name}");
            let value = match flag.as_str() {
                "--insecure-http" | "--force" => parser
                    .optional_value()
                    .map_or_else(|| "1".to_owned(), |v| v.to_string_lossy().into_owned()),
                "--api-url" | "--node-id" | "--node-token" | "--interval" | "--state-dir"
                | "--ca-file" | "--job-env" | "--trusted-servers" | "--signers" | "--spool-max" => {
                    let value = parser.value().map_err(usage)?;
                    value.to_string_lossy().into_owned()
                }
                _ => return Err(usage(arg.unexpected())),
            };
            flags.push((flag, value));
        }
        Ok(Self { env, flags })
    }

    /// Settings whose flags were parsed already.
    pub(crate) fn of(
        env: &'a dyn Fn(&str) -> Option<String>,
        flags: Vec<(String, String)>,
    ) -> Self {
        Self { env, flags }
    }

    /// The flags without the node's token, and the token; `None` if no flag has it.
    #[cfg(target_os = "linux")]
    pub fn without_token(&self) -> Option<(Vec<String>, String)> {
        let (tokens, others): (Vec<_>, Vec<_>) = self
            .flags
            .iter()
            .partition(|(flag, _)| flag == NODE_TOKEN.flag);
        let (_, token) = tokens.last()?;
        let flags = others.iter().map(|(flag, value)| format!("{flag}={value}"));
        Some((flags.collect(), token.clone()))
    }

    /// Checks the address `url`, and returns it with what a connection needs: the certificate
    /// authorities, and whether plain http is allowed.
    pub(crate) fn connection(
        &self,
        name: &str,
        url: &str,
    ) -> Result<(String, Option<PathBuf>, bool), ConfigError> {
        let insecure_http = self.switch(&INSECURE_HTTP)?;
        let url = check_url(name, url, insecure_http)?;
        Ok((url, self.ca_file()?, insecure_http))
    }

    /// The server's address and the certificate authorities to trust: enough to download a file.
    #[cfg(target_os = "linux")]
    pub(crate) fn server(&self) -> Result<(String, Option<PathBuf>), ConfigError> {
        let (name, value) = self.required(&API_URL, URL_ALLOWED)?;
        let (url, ca_file, _) = self.connection(&name, &value)?;
        Ok((url, ca_file))
    }

    fn ca_file(&self) -> Result<Option<PathBuf>, ConfigError> {
        let Some((name, value)) = self.get(&CA_FILE) else {
            return Ok(None);
        };
        let allowed = "a readable file of PEM certificates";
        let pem =
            std::fs::read(&value).map_err(|e| bad(&name, &value, &format!("{allowed} ({e})")))?;
        match reqwest::Certificate::from_pem_bundle(&pem) {
            Ok(certs) if !certs.is_empty() => Ok(Some(PathBuf::from(value))),
            Ok(_) | Err(_) => Err(bad(&name, &value, allowed)),
        }
    }

    /// The value of a setting, and the name of the flag or variable that has it. An empty variable
    /// counts as unset.
    fn get(&self, setting: &Setting) -> Option<(String, String)> {
        let flag = self.flags.iter().rev().find(|(f, _)| f == setting.flag);
        if let Some((_, value)) = flag {
            return Some((setting.flag.to_owned(), value.clone()));
        }
        let value = (self.env)(setting.var)?;
        (!value.is_empty()).then(|| (setting.var.to_owned(), value))
    }

    fn path(&self, setting: &Setting) -> Result<Option<PathBuf>, ConfigError> {
        let Some((name, value)) = self.get(setting) else {
            return Ok(None);
        };
        let path = std::path::absolute(&value);
        path.map(Some)
            .map_err(|_| bad(&name, &value, "the path of a file"))
    }

    fn signers(&self) -> Result<Option<PathBuf>, ConfigError> {
        let path = self.path(&SIGNERS)?;
        match (&path, self.get(&SIGNERS)) {
            // Without this, a typing error would let jobs run that nobody has signed.
            (Some(path), Some((name, value))) if !path.is_file() => {
                let allowed = "an existing file: the list of the people who may sign this node's jobs, in OpenSSH's format of allowed signers";
                Err(bad(&name, &value, allowed))
            }
            _ => Ok(path),
        }
    }

    fn job_env(&self) -> Result<Vec<String>, ConfigError> {
        let Some((name, value)) = self.get(&JOB_ENV) else {
            return Ok(Vec::new());
        };
        let names: Vec<String> = value
            .split(',')
            .map(|name| name.trim().to_owned())
            .collect();
        let is_allowed = |name: &String| is_variable(name) && name != NODE_TOKEN.var;
        if !names.iter().all(is_allowed) {
            return Err(bad(&name, &value, JOB_ENV_ALLOWED));
        }
        let is_loader =
            |name: &&String| LOADERS.contains(&name.as_str()) || name.starts_with(LOADER_PREFIX);
        if let Some(loader) = names.iter().find(is_loader) {
            let allowed =
                format!("without {loader}, which would change how bash runs every script");
            return Err(bad(&name, &value, &allowed));
        }
        Ok(names)
    }

    fn required(&self, setting: &Setting, allowed: &str) -> Result<(String, String), ConfigError> {
        self.get(setting).ok_or_else(|| ConfigError::Missing {
            var: setting.var,
            flag: setting.flag,
            allowed: allowed.to_owned(),
        })
    }

    fn switch(&self, setting: &Setting) -> Result<bool, ConfigError> {
        match self.get(setting) {
            None => Ok(false),
            Some((name, value)) => match value.as_str() {
                "1" => Ok(true),
                "0" => Ok(false),
                _ => Err(bad(&name, &value, "1 or unset")),
            },
        }
    }

    /// The state folder; `stop-jobs` needs no other setting.
    pub fn state_dir(&self) -> Result<PathBuf, ConfigError> {
        let given = self.get(&STATE_DIR).or_else(|| {
            let value = (self.env)("STATE_DIRECTORY")?;
            // systemd passes a list if a unit has several; ours is the first.
            let first = value.split(':').next().unwrap_or_default().to_owned();
            (!first.is_empty()).then(|| ("STATE_DIRECTORY".to_owned(), first))
        });
        let (name, value) = given.unwrap_or_else(|| {
            (
                STATE_DIR.var.to_owned(),
                "/var/lib/hyprbox-agent".to_owned(),
            )
        });
        std::path::absolute(&value).map_err(|_| bad(&name, &value, "the path of a folder"))
    }

    /// Checks every setting.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let insecure_http = self.switch(&INSECURE_HTTP)?;
        let (name, value) = self.required(&API_URL, URL_ALLOWED)?;
        let api_url = check_url(&name, &value, insecure_http)?;
        let (name, value) = self.required(&NODE_ID, NODE_ID_ALLOWED)?;
        if !is_slug(&value) {
            return Err(bad(&name, &value, NODE_ID_ALLOWED));
        }
        let node_id = value;
        let (name, value) = self.required(&NODE_TOKEN, TOKEN_ALLOWED)?;
        let node_token = value.trim().to_owned();
        if node_token.is_empty() || !node_token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ConfigError::BadSecret {
                name,
                allowed: TOKEN_ALLOWED.to_owned(),
            });
        }
        let interval = match self.get(&INTERVAL) {
            None => Duration::from_secs(30),
            Some((name, value)) => INTERVAL_RANGE
                .parse(&value)
                .ok_or_else(|| bad(&name, &value, &INTERVAL_RANGE.to_string()))?,
        };
        let spool_max = match self.get(&SPOOL_MAX) {
            None => SPOOL_MAX_BYTES,
            Some((name, value)) => SPOOL_RANGE
                .parse(&value)
                .ok_or_else(|| bad(&name, &value, &SPOOL_RANGE.to_string()))?,
        };
        Ok(Config {
            api_url,
            node_id,
            node_token,
            interval,
            state_dir: self.state_dir()?,
            ca_file: self.ca_file()?,
            trusted_servers: self.path(&TRUSTED_SERVERS)?,
            signers: self.signers()?,
            insecure_http,
            force: self.switch(&FORCE)?,
            job_env: self.job_env()?,
            spool_max,
        })
    }
}

fn bad(name: &str, value: &str, allowed: &str) -> ConfigError {
    ConfigError::Bad {
        name: name.to_owned(),
        value: value.to_owned(),
        allowed: allowed.to_owned(),
    }
}

/// Whether bash can have a variable of that name: `[A-Za-z_][A-Za-z0-9_]*`.
fn is_variable(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    name.bytes().all(inner) && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}
