//! `postgres://user:password@host:port/database`: what of it can be used, and how it is shown without the password.

use std::time::Duration;

use postgres::Config;
use postgres::config::{Host, SslMode, TargetSessionAttrs};

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After this long without an answer a connection counts as lost: the other end may be gone without a word.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Says what is wrong with a URL, in words that follow "it must be"; the password is never among them.
pub fn check(url: &str) -> Result<(), String> {
    config(url).map(|_| ())
}

pub(super) fn config(url: &str) -> Result<Config, String> {
    const SHAPE: &str = "a URL such as postgres://user:password@host:5432/database";
    const NO_TLS: &str = "without sslmode=require: this version speaks to Postgres without TLS; use a private network, a tunnel or a socket";
    // These two are unknown to the parser.
    if ["sslmode=verify-ca", "sslmode=verify-full"]
        .iter()
        .any(|mode| url.contains(mode))
    {
        return Err(NO_TLS.to_owned());
    }
    let mut config: Config = url.parse().map_err(|error: postgres::Error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(" ({cause})"));
        format!("{SHAPE}{}", cause.unwrap_or_default())
    })?;
    if config.get_ssl_mode() == SslMode::Require {
        return Err(NO_TLS.to_owned());
    }
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(SHAPE.to_owned());
    }
    config.ssl_mode(SslMode::Disable);
    // Of several hosts, the one that takes writes.
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    if config.get_application_name().is_none() {
        config.application_name("hyprbox");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    config
        .keepalives_idle(Duration::from_secs(5))
        .keepalives_interval(Duration::from_secs(3))
        .keepalives_retries(3)
        .tcp_user_timeout(SILENCE_MAX);
    Ok(config)
}

/// `postgres://user@host:port/database`
pub(super) fn shown(config: &Config) -> String {
    let user = config
        .get_user()
        .map(|user| format!("{user}@"))
        .unwrap_or_default();
    let ports = config.get_ports();
    let port = |index: usize| ports.get(index).or(ports.first()).copied().unwrap_or(5432);
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(index, host)| match host {
            Host::Tcp(name) => format!("{name}:{}", port(index)),
            Host::Unix(path) => format!("{}:{}", path.display(), port(index)),
        })
        .collect();
    let database = config.get_dbname().unwrap_or_default();
    format!("postgres://{user}{}/{database}", hosts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_without_the_password() {
        let config = config("postgres://ann:hidden@db.example.org:5433/jobs").expect("a URL");
        assert_eq!(shown(&config), "postgres://ann@db.example.org:5433/jobs");
        let two = "postgresql://ann:hidden@one:5433,two:5434/jobs";
        assert_eq!(
            shown(&super::config(two).expect("a URL")),
            "postgres://ann@one:5433,two:5434/jobs"
        );
    }

    #[test]
    fn what_cant_be_used_is_said_without_the_password() {
        for (url, word) in [
            ("postgres://ann:hidden@db/jobs?sslmode=require", "TLS"),
            ("postgres://ann:hidden@db/jobs?sslmode=verify-full", "TLS"),
            ("postgres://ann:hidden@db:port/jobs", "postgres://user"),
            ("postgres://ann:hidden@db/jobs?colour=red", "colour"),
            ("postgres:///jobs", "postgres://user"),
        ] {
            let said = check(url).expect_err(url);
            assert!(
                said.contains(word) && !said.contains("hidden"),
                "{url}: {said}"
            );
        }
        assert!(check("postgres://ann:hidden@db/jobs?sslmode=prefer").is_ok());
    }
}
