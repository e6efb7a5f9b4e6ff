//! Every setting of `hyprbox serve`: its variable, its flag (which wins), its default and what is allowed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};
use ipnet::IpNet;

use crate::tls::Tls;

/// A setting that can't be used: one line that names the variable, the value and what is allowed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{name}={value:?} is not usable: it must be {allowed}")]
pub struct ConfigError {
    name: &'static str,
    value: String,
    allowed: String,
}

/// Where the data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file.
    Sqlite(PathBuf),
    /// A server, by its URL: it holds a password, so it is never shown.
    #[cfg(feature = "postgres")]
    Postgres(String),
}

/// The configuration of the server.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Base of links, without a slash at its end; `None`: `http://`, or `https://` with TLS of its own, and
    /// the address that is listened on.
    pub public_url: Option<String>,
    /// Where the data is.
    pub database: DatabaseUrl,
    /// Made 0700 if missing.
    pub data_dir: PathBuf,
    /// Preset files that add to and override the built-in ones.
    pub presets_dir: Option<PathBuf>,
    /// Kept bytes per stream of a job.
    pub stdout_max_bytes: u64,
    /// How long a RUNNING job lives without a sign of life, in seconds.
    pub lease_seconds: u64,
    /// Seals secret params and keys the digests of idempotent requests.
    pub secret_key_file: PathBuf,
    /// Bearer token that may read `/metrics`.
    pub metrics_token: Option<String>,
    /// The first ADMIN, made at start where there are no users.
    pub admin: Option<(String, String)>,
    /// Whether strangers may make accounts (of role PENDING).
    pub allow_public_registration: bool,
    /// The certificate and key of its own TLS; `None`: plain http.
    pub tls: Option<Tls>,
    /// Days that finished jobs are kept; `None`: for ever.
    pub keep_days: Option<u64>,
    /// Peers whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Filter of the log.
    pub log: String,
    /// Whether the log is JSON.
    pub log_json: bool,
}

/// One setting: variable, flag and what `--help` says of it.
struct Setting {
    variable: &'static str,
    flag: &'static str,
    help: &'static str,
}

const SETTINGS: &[Setting] = &[
    Setting {
        variable: "HYPRBOX_LISTEN",
        flag: "listen",
        help: "Address and port to listen on [127.0.0.1:4000]",
    },
    Setting {
        variable: "HYPRBOX_PUBLIC_URL",
        flag: "public-url",
        help: "URL that people and agents use [http://<listen>, https:// with a certificate]",
    },
    Setting {
        variable: "HYPRBOX_DATABASE_URL",
        flag: "database-url",
        help: "sqlite:PATH or postgres://… [sqlite:<data>/hyprbox.db]",
    },
    Setting {
        variable: "HYPRBOX_DATA_DIR",
        flag: "data-dir",
        help: "Folder of the data [$STATE_DIRECTORY or ~/.local/share/hyprbox]",
    },
    Setting {
        variable: "HYPRBOX_PRESETS_DIR",
        flag: "presets-dir",
        help: "Folder of your own presets; they add to and override the built-in ones",
    },
    Setting {
        variable: "HYPRBOX_STDOUT_MAX_BYTES",
        flag: "stdout-max-bytes",
        help: "Bytes kept of each stream of a job [4194304]",
    },
    Setting {
        variable: "HYPRBOX_LEASE_SECONDS",
        flag: "lease-seconds",
        help: "Seconds that a running job lives without a sign of its agent [90]",
    },
    Setting {
        variable: "HYPRBOX_SECRET_KEY_FILE",
        flag: "secret-key-file",
        help: "File of the key that seals secrets [<data>/secret.key]",
    },
    Setting {
        variable: "HYPRBOX_METRICS_TOKEN",
        flag: "metrics-token",
        help: "Bearer token that may read /metrics",
    },
    Setting {
        variable: "HYPRBOX_ADMIN_EMAIL",
        flag: "admin-email",
        help: "Email of the first ADMIN, made at start",
    },
    Setting {
        variable: "HYPRBOX_ADMIN_PASSWORD",
        flag: "admin-password",
        help: "Password of the first ADMIN",
    },
    Setting {
        variable: "HYPRBOX_ALLOW_PUBLIC_REGISTRATION",
        flag: "allow-public-registration",
        help: "true: strangers may make accounts, of role PENDING [false]",
    },
    Setting {
        variable: "HYPRBOX_TLS_CERT",
        flag: "tls-cert",
        help: "PEM file of the certificate and its chain: the server then speaks https alone",
    },
    Setting {
        variable: "HYPRBOX_TLS_KEY",
        flag: "tls-key",
        help: "PEM file of the certificate's private key; both files are read anew when they change",
    },
    Setting {
        variable: "HYPRBOX_KEEP_DAYS",
        flag: "keep-days",
        help: "Days that finished jobs are kept [for ever]",
    },
    Setting {
        variable: "HYPRBOX_TRUSTED_PROXIES",
        flag: "trusted-proxies",
        help: "Addresses and networks whose X-Forwarded-For counts, comma-separated",
    },
    Setting {
        variable: "HYPRBOX_LOG",
        flag: "log",
        help: "Filter of the log [info]",
    },
    Setting {
        variable: "HYPRBOX_LOG_FORMAT",
        flag: "log-format",
        help: "text, or json for machines [text]",
    },
];

/// `hyprbox serve` with its flags.
pub fn serve_command() -> Command {
    let command = Command::new("serve")
        .about("Runs the server. Each flag has a variable, which it overrides.");
    SETTINGS.iter().fold(command, |command, setting| {
        command.arg(
            Arg::new(setting.variable)
                .long(setting.flag)
                .value_name("VALUE")
                .help(format!("{} ({})", setting.help, setting.variable)),
        )
    })
}

/// Reads values by variable's name: a flag's first, then the environment's. An empty value is as good as none.
struct Source<'s> {
    flags: &'s ArgMatches,
    environment: &'s dyn Fn(&str) -> Option<String>,
}

impl Source<'_> {
    fn text(&self, name: &'static str) -> Option<String> {
        let flag = self.flags.get_one::<String>(name).cloned();
        flag.or_else(|| (self.environment)(name))
            .filter(|value| !value.is_empty())
    }

    fn read<T>(
        &self,
        name: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.text(name) else {
            return Ok(None);
        };
        parse(&value)
            .map(Some)
            .ok_or_else(|| wrong(name, &value, allowed))
    }

    fn number(&self, name: &'static str, min: u64, max: u64) -> Result<Option<u64>, ConfigError> {
        self.read(
            name,
            &format!("a whole number from {min} to {max}"),
            |value| {
                value
                    .parse()
                    .ok()
                    .filter(|number| (min..=max).contains(number))
            },
        )
    }
}

fn wrong(name: &'static str, value: &str, allowed: impl Into<String>) -> ConfigError {
    // A secret is never repeated, not even a bad one.
    let secret = matches!(
        name,
        "HYPRBOX_ADMIN_PASSWORD" | "HYPRBOX_METRICS_TOKEN" | "HYPRBOX_DATABASE_URL"
    );
    let shown = if secret {
        hide(name, value)
    } else {
        value.to_owned()
    };
    ConfigError {
        name,
        value: shown,
        allowed: allowed.into(),
    }
}

/// Of a database's URL all but the password is shown; of another secret, nothing.
fn hide(name: &str, value: &str) -> String {
    if name != "HYPRBOX_DATABASE_URL" {
        return "***".to_owned();
    }
    let authority = value.find("://").map_or(0, |at| at + 3);
    let password = value[authority..].rfind('@').and_then(|end| {
        let colon = value[authority..authority + end].find(':')?;
        Some((authority + colon + 1, authority + end))
    });
    match password {
        Some((from, to)) => format!("{}***{}", &value[..from], &value[to..]),
        None => value.to_owned(),
    }
}

impl Config {
    /// Reads the flags of `hyprbox serve` over the environment. Changes nothing on the disk.
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
        Ok(Self {
            listen,
            public_url: source.read(
                "HYPRBOX_PUBLIC_URL",
                "an http:// or https:// URL without a path",
                public_url,
            )?,
            database: database(&source, &data_dir)?,
            presets_dir: source.read("HYPRBOX_PRESETS_DIR", "a folder that exists", |value| {
                Some(PathBuf::from(value)).filter(|path| path.is_dir())
            })?,
            stdout_max_bytes: source
                .number("HYPRBOX_STDOUT_MAX_BYTES", 65_536, 1 << 30)?
                .unwrap_or(4_194_304),
            lease_seconds: source
                .number("HYPRBOX_LEASE_SECONDS", 3, 86_400)?
                .unwrap_or(90),
            secret_key_file: source
                .text("HYPRBOX_SECRET_KEY_FILE")
                .map_or_else(|| data_dir.join("secret.key"), PathBuf::from),
            metrics_token: source.read(
                "HYPRBOX_METRICS_TOKEN",
                "at least 16 printable ASCII characters",
                |value| {
                    let fits =
                        value.len() >= 16 && value.bytes().all(|byte| byte.is_ascii_graphic());
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
            keep_days: source.number("HYPRBOX_KEEP_DAYS", 1, 36_500)?,
            trusted_proxies: source
                .read(
                    "HYPRBOX_TRUSTED_PROXIES",
                    "addresses and networks, comma-separated, as in 127.0.0.1,10.0.0.0/8",
                    networks,
                )?
                .unwrap_or_default(),
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

fn data_dir(source: &Source<'_>) -> Result<PathBuf, ConfigError> {
    if let Some(folder) = source.text("HYPRBOX_DATA_DIR") {
        return Ok(PathBuf::from(folder));
    }
    // systemd may give several folders; the first is ours.
    let state = (source.environment)("STATE_DIRECTORY").filter(|value| !value.is_empty());
    if let Some(first) = state
        .as_deref()
        .and_then(|folders| folders.split(':').next())
    {
        return Ok(PathBuf::from(first));
    }
    (source.environment)("HOME")
        .filter(|home| !home.is_empty())
        .map(|home| PathBuf::from(home).join(".local/share/hyprbox"))
        .ok_or_else(|| {
            wrong(
                "HYPRBOX_DATA_DIR",
                "",
                "set, as there is no $STATE_DIRECTORY and no $HOME",
            )
        })
}

fn database(source: &Source<'_>, data_dir: &std::path::Path) -> Result<DatabaseUrl, ConfigError> {
    let Some(url) = source.text("HYPRBOX_DATABASE_URL") else {
        return Ok(DatabaseUrl::Sqlite(data_dir.join("hyprbox.db")));
    };
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.is_empty() && !path.contains(['?', '\0']) && path != ":memory:" {
            return Ok(DatabaseUrl::Sqlite(PathBuf::from(path)));
        }
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return postgres(url);
    }
    Err(wrong(
        "HYPRBOX_DATABASE_URL",
        &url,
        "sqlite:PATH or postgres://…",
    ))
}

#[cfg(feature = "postgres")]
fn postgres(url: String) -> Result<DatabaseUrl, ConfigError> {
    match crate::store::check_postgres_url(&url) {
        Ok(()) => Ok(DatabaseUrl::Postgres(url)),
        Err(allowed) => Err(wrong("HYPRBOX_DATABASE_URL", &url, allowed)),
    }
}

#[cfg(not(feature = "postgres"))]
fn postgres(url: String) -> Result<DatabaseUrl, ConfigError> {
    let allowed = "sqlite:PATH with this program; for postgres:// build it with `cargo build --release --features postgres`";
    Err(wrong("HYPRBOX_DATABASE_URL", &url, allowed))
}

fn admin(source: &Source<'_>) -> Result<Option<(String, String)>, ConfigError> {
    let email = source.read("HYPRBOX_ADMIN_EMAIL", "an email address", |value| {
        crate::auth::check_email(value).ok()
    })?;
    let password = source.read(
        "HYPRBOX_ADMIN_PASSWORD",
        "10 to 1,024 characters",
        |value| {
            (10..=1024)
                .contains(&value.chars().count())
                .then(|| value.to_owned())
        },
    )?;
    match (email, password) {
        (Some(email), Some(password)) => Ok(Some((email, password))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(wrong(
            "HYPRBOX_ADMIN_PASSWORD",
            "",
            "set where HYPRBOX_ADMIN_EMAIL is",
        )),
        (None, Some(_)) => Err(wrong(
            "HYPRBOX_ADMIN_EMAIL",
            "",
            "set where HYPRBOX_ADMIN_PASSWORD is",
        )),
    }
}

fn tls(source: &Source<'_>) -> Result<Option<Tls>, ConfigError> {
    let file = |name| source.text(name).map(PathBuf::from);
    let (cert, key) = match (file("HYPRBOX_TLS_CERT"), file("HYPRBOX_TLS_KEY")) {
        (Some(cert), Some(key)) => (cert, key),
        (None, None) => return Ok(None),
        (Some(_), None) => {
            let allowed = "set where HYPRBOX_TLS_CERT is";
            return Err(wrong("HYPRBOX_TLS_KEY", "", allowed));
        }
        (None, Some(_)) => {
            let allowed = "set where HYPRBOX_TLS_KEY is";
            return Err(wrong("HYPRBOX_TLS_CERT", "", allowed));
        }
    };
    Tls::load(cert, key)
        .map(Some)
        .map_err(|fault| wrong(fault.name, &fault.value, fault.allowed))
}

fn boolean(value: &str) -> Option<bool> {
    match value {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn public_url(value: &str) -> Option<String> {
    let uri: axum::http::Uri = value.parse().ok()?;
    let scheme = uri
        .scheme_str()
        .filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = uri
        .authority()
        .filter(|authority| !authority.as_str().contains('@'))?;
    let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
    bare.then(|| format!("{scheme}://{authority}"))
}

fn networks(value: &str) -> Option<Vec<IpNet>> {
    let parse = |part: &str| -> Option<IpNet> {
        part.parse()
            .ok()
            .or_else(|| part.parse::<std::net::IpAddr>().ok().map(IpNet::from))
    };
    value
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(parse)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let words = std::iter::once("serve").chain(arguments.iter().copied());
        let flags = serve_command().try_get_matches_from(words).expect("flags");
        let environment = |name: &str| {
            let all = variables.iter().chain(&[("HOME", "/home/ann")]);
            all.clone()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Config::read(&flags, &environment)
    }

    #[test]
    fn defaults_are_the_contracts() {
        let config = read(&[], &[]).expect("reads");
        assert_eq!(config.listen.to_string(), "127.0.0.1:4000");
        assert_eq!(
            config.database,
            DatabaseUrl::Sqlite("/home/ann/.local/share/hyprbox/hyprbox.db".into())
        );
        assert_eq!(config.stdout_max_bytes, 4_194_304);
        assert_eq!(config.lease_seconds, 90);
    }

    #[test]
    fn a_flag_wins_over_its_variable() {
        let config =
            read(&["--lease-seconds", "5"], &[("HYPRBOX_LEASE_SECONDS", "7")]).expect("reads");
        assert_eq!(config.lease_seconds, 5);
    }

    #[test]
    fn every_bad_value_is_one_line_with_name_value_and_allowed() {
        for (name, value, allowed) in [
            ("HYPRBOX_LISTEN", "nowhere", "address"),
            ("HYPRBOX_PUBLIC_URL", "ftp://x", "http"),
            ("HYPRBOX_PUBLIC_URL", "http://x/path", "path"),
            ("HYPRBOX_DATABASE_URL", "mysql:x", "sqlite"),
            ("HYPRBOX_DATABASE_URL", "mysql://h/d", "sqlite"),
            ("HYPRBOX_PRESETS_DIR", "/nonexistent", "folder"),
            ("HYPRBOX_STDOUT_MAX_BYTES", "1", "65536"),
            ("HYPRBOX_LEASE_SECONDS", "2", "86400"),
            ("HYPRBOX_METRICS_TOKEN", "short", "16"),
            ("HYPRBOX_ADMIN_EMAIL", "nobody", "email"),
            ("HYPRBOX_ALLOW_PUBLIC_REGISTRATION", "perhaps", "true"),
            ("HYPRBOX_KEEP_DAYS", "0", "1"),
            ("HYPRBOX_TRUSTED_PROXIES", "10.0.0.0/99", "networks"),
            ("HYPRBOX_LOG", "a=b=c", "filter"),
            ("HYPRBOX_LOG_FORMAT", "xml", "json"),
        ] {
            let line = read(&[], &[(name, value)]).expect_err(name).to_string();
            let secret = matches!(name, "HYPRBOX_METRICS_TOKEN");
            assert!(
                line.contains(name) && line.contains(allowed) && !line.contains('\n'),
                "{line}"
            );
            assert_eq!(line.contains(value), !secret, "{line}");
        }
    }

    #[test]
    fn a_password_in_the_database_url_is_not_repeated() {
        let url = "postgres://u:hidden@h/d?sslmode=require";
        let line = read(&[], &[("HYPRBOX_DATABASE_URL", url)])
            .expect_err("no feature, or no TLS")
            .to_string();
        let why = if cfg!(feature = "postgres") {
            "without TLS"
        } else {
            "--features postgres"
        };
        assert!(
            line.contains(why) && line.contains("postgres://u:***@h/d"),
            "{line}"
        );
    }
}
