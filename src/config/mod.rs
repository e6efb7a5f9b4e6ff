//! The settings of `hyprbox serve`: variable, flag (which takes precedence), default, allowed
//! values.

mod operator;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod values;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgMatches;
use ipnet::IpNet;
use nix::unistd::{AccessFlags, access};

pub(crate) use operator::{DataPlace, data_place, operators_config};
pub use settings::serve_command;
pub(crate) use settings::{with_data_place, with_every_flag};
pub use source::ConfigError;
use source::Source;
use values::{admin, backups, boolean, data_dir, database, networks, public_url, tls};

use crate::auth::OperatorScope;
use crate::tls::Tls;

/// Where and how often the server takes backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupPlan {
    /// Created with mode 0700 if missing.
    pub dir: PathBuf,
    pub every: Duration,
    /// Number of backups to keep.
    pub keep: usize,
}

/// The database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// The database's file.
    Sqlite(PathBuf),
    /// The server's URL. It contains a password, so it is never shown.
    #[cfg(feature = "postgres")]
    Postgres(String),
}

/// The configuration of the server.
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    /// Base of links, without a trailing slash. `None`: the listen address, with `https://` if the
    /// server has a certificate, otherwise `http://`.
    pub public_url: Option<String>,
    pub database: DatabaseUrl,
    /// Created with mode 0700 if missing.
    pub data_dir: PathBuf,
    /// Preset files that add to and override the built-in ones.
    pub presets_dir: Option<PathBuf>,
    /// Kept bytes per stream of a job.
    pub stdout_max_bytes: u64,
    /// How long a RUNNING job lives without a sign of life, in seconds.
    pub lease_seconds: u64,
    /// Seals secret params and keys the digests of idempotent requests.
    pub secret_key_file: PathBuf,
    /// Signs jobs.
    pub sign_key_file: PathBuf,
    /// Bearer token that may read `/metrics`.
    pub metrics_token: Option<String>,
    /// Email and password of the first ADMIN, created at startup if there are no users.
    pub admin: Option<(String, String)>,
    /// Whether strangers may create accounts, with role PENDING.
    pub allow_public_registration: bool,
    /// The server's certificate and key; `None`: plain http.
    pub tls: Option<Tls>,
    /// Called every minute while the server is healthy.
    pub ping_url: Option<String>,
    /// Days that finished jobs are kept; `None`: forever.
    pub keep_days: Option<u64>,
    /// Directory of the agents that the server ships; `None`: the package's directory, or the
    /// program's own.
    pub agent_dir: Option<PathBuf>,
    pub backups: Option<BackupPlan>,
    /// Peers whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNet>,
    pub operator_scope: OperatorScope,
    /// Whether presets can be saved in the app.
    pub saves_presets: bool,
    /// Filter for `tracing`.
    pub log: String,
    /// Whether the log is JSON.
    pub log_json: bool,
}

/// The address at which this machine reaches a listener that is bound to all addresses.
pub(crate) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

impl Config {
    /// Reads the settings from flags and environment. Does not write to disk.
    pub fn read(
        flags: &ArgMatches,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let source = Source { flags, environment };
        let data_dir = data_dir(&source)?;
        let listen = source
            .read(
                "HYPRBOX_LISTEN",
                "an address and a port, as in 127.0.0.1:4000 or [::]:4000",
                |value| value.parse().ok(),
            )?
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 4000)));
        let database = database(&source, &data_dir)?;
        Ok(Self {
            listen,
            public_url: source.read(
                "HYPRBOX_PUBLIC_URL",
                "an http:// or https:// URL without a path",
                public_url,
            )?,
            backups: backups(&source, &database)?,
            database,
            presets_dir: source.read("HYPRBOX_PRESETS_DIR", "an existing directory", |value| {
                Some(PathBuf::from(value)).filter(|path| path.is_dir())
            })?,
            stdout_max_bytes: source
                .number("HYPRBOX_STDOUT_MAX_BYTES", 65_536, 1 << 30)?
                .unwrap_or(4_194_304),
            lease_seconds: source
                .number("HYPRBOX_LEASE_SECONDS", 3, 86_400)?
                .unwrap_or(90),
            secret_key_file: secret_key_file(&source, &data_dir),
            sign_key_file: sign_key_file(&source, &data_dir),
            metrics_token: source.read(
                "HYPRBOX_METRICS_TOKEN",
                "printable ASCII characters without spaces",
                |value| {
                    let fits = value.bytes().all(|byte| byte.is_ascii_graphic());
                    fits.then(|| value.to_owned())
                },
            )?,
            admin: admin(&source)?,
            allow_public_registration: source
                .read(
                    "HYPRBOX_ALLOW_PUBLIC_REGISTRATION",
                    "true or false",
                    boolean,
                )?
                .unwrap_or(false),
            tls: tls(&source)?,
            ping_url: source.read(
                "HYPRBOX_PING_URL",
                "an address that begins with https:// or http://",
                |value| {
                    let url = reqwest::Url::parse(value).ok()?;
                    matches!(url.scheme(), "http" | "https").then(|| value.to_owned())
                },
            )?,
            keep_days: source.number("HYPRBOX_KEEP_DAYS", 1, 36_500)?,
            agent_dir: source.read("HYPRBOX_AGENT_DIR", "an existing directory", |value| {
                Some(PathBuf::from(value)).filter(|path| path.is_dir())
            })?,
            trusted_proxies: source
                .read(
                    "HYPRBOX_TRUSTED_PROXIES",
                    "addresses and networks, comma-separated, as in 127.0.0.1,10.0.0.0/8",
                    networks,
                )?
                .unwrap_or_default(),
            operator_scope: source
                .read(
                    "HYPRBOX_OPERATOR_SCOPE",
                    "all or own",
                    |value| match value {
                        "all" => Some(OperatorScope::All),
                        "own" => Some(OperatorScope::Own),
                        _ => None,
                    },
                )?
                .unwrap_or_default(),
            saves_presets: source
                .read("HYPRBOX_PRESETS", "app or files", |value| match value {
                    "app" => Some(true),
                    "files" => Some(false),
                    _ => None,
                })?
                .unwrap_or(true),
            log: source
                .read(
                    "HYPRBOX_LOG",
                    "a filter such as info or hyprbox=debug,info",
                    |value| {
                        value
                            .parse::<tracing_subscriber::EnvFilter>()
                            .is_ok()
                            .then(|| value.to_owned())
                    },
                )?
                .unwrap_or_else(|| "info".to_owned()),
            log_json: source
                .read("HYPRBOX_LOG_FORMAT", "text or json", |value| match value {
                    "json" => Some(true),
                    "text" => Some(false),
                    _ => None,
                })?
                .unwrap_or(false),
            data_dir,
        })
    }
}

impl Config {
    /// Whether other machines reach the server's own port without TLS.
    pub fn serves_in_the_clear(&self) -> bool {
        self.tls.is_none() && !self.listen.ip().to_canonical().is_loopback()
    }

    /// Whether no setting names the address at which people reach the server.
    pub fn has_no_address(&self) -> bool {
        self.public_url.is_none() && self.listen.ip().is_unspecified()
    }
}

fn secret_key_file(source: &Source<'_>, data_dir: &Path) -> PathBuf {
    source
        .text("HYPRBOX_SECRET_KEY_FILE")
        .map_or_else(|| data_dir.join("secret.key"), PathBuf::from)
}

fn sign_key_file(source: &Source<'_>, data_dir: &Path) -> PathBuf {
    if let Some(given) = source.text("HYPRBOX_SIGN_KEY_FILE") {
        return PathBuf::from(given);
    }
    // Servers that share a database share the secret key, and need the same sign key.
    let next_to_secret = secret_key_file(source, data_dir).with_file_name("sign.key");
    let in_data_dir = data_dir.join("sign.key");
    let folder = next_to_secret.parent().unwrap_or(data_dir);
    let is_usable = next_to_secret.exists()
        || (!in_data_dir.exists() && access(folder, AccessFlags::W_OK).is_ok());
    if is_usable {
        next_to_secret
    } else {
        in_data_dir
    }
}
