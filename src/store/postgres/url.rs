//! `postgres://user:password@host:port/database`: what of it can be used, and how it is shown without the password.

use std::time::Duration;

use postgres::Client;
use postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres::Config;

use super::tls::{self, Encrypted, Tls, Words};

/// The future that reads and writes the socket.
pub(super) type Driven = tokio_postgres::Connection<tokio_postgres::Socket, Encrypted>;

/// What connections are called in `pg_stat_activity`.
pub(super) const APPLICATION: &str = "hyprbox";
/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After this long without an answer a connection counts as lost: the other end may be gone without a word.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Says what is wrong with a URL, in words that follow "it must be"; the password is never among them.
pub fn check(url: &str) -> Result<(), String> {
    Endpoint::parse(url).map(|_| ())
}

/// Where the database is, and how the line to it is kept from others.
#[derive(Clone)]
pub(in crate::store) struct Endpoint {
    config: Config,
    tls: Tls,
}

impl Endpoint {
    /// The error is in words that follow "it must be".
    pub(in crate::store) fn parse(url: &str) -> Result<Self, String> {
        const SHAPE: &str = "a URL such as postgres://user:password@host:5432/database";
        let (url, words) = without_tls(url);
        let (mode, tls) = tls::of(&words)?;
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(" ({cause})"));
            format!("{SHAPE}{}", cause.unwrap_or_default())
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(SHAPE.to_owned());
        }
        config.ssl_mode(mode);
        // Of several hosts, the one that takes writes.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        if config.get_application_name().is_none() {
            config.application_name(APPLICATION);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        config
            .keepalives_idle(Duration::from_secs(5))
            .keepalives_interval(Duration::from_secs(3))
            .keepalives_retries(3)
            .tcp_user_timeout(SILENCE_MAX);
        Ok(Self { config, tls })
    }

    /// A new connection. It has a runtime of its own, which can't be started on a thread of another one.
    pub(in crate::store) fn connect(&self) -> Result<Client, postgres::Error> {
        postgres::Config::from(self.config.clone()).connect(self.tls.clone())
    }

    /// The same on a runtime of the caller's: who asks, and who drives the socket.
    pub(super) async fn connect_async(
        &self,
    ) -> Result<(tokio_postgres::Client, Driven), tokio_postgres::Error> {
        self.config.connect(self.tls.clone()).await
    }

    /// `postgres://user@host:port/database`
    pub(in crate::store) fn shown(&self) -> String {
        shown(&self.config)
    }
}

/// Takes what is said of TLS out of a URL: the client's own parser knows less of it.
fn without_tls(url: &str) -> (String, Words) {
    let mut words = Words::default();
    let Some((before, query)) = url.split_once('?') else {
        return (url.to_owned(), words);
    };
    let mut rest = Vec::new();
    for pair in query.split('&') {
        // In a URL of Postgres a plus is a plus.
        let literal = pair.replace('+', "%2B");
        let Some((name, value)) = form_urlencoded::parse(literal.as_bytes()).next() else {
            rest.push(pair);
            continue;
        };
        let word = match name.as_ref() {
            "sslmode" => &mut words.sslmode,
            "sslrootcert" => &mut words.sslrootcert,
            "sslcert" => &mut words.sslcert,
            "sslkey" => &mut words.sslkey,
            _ => {
                rest.push(pair);
                continue;
            }
        };
        *word = Some(value.into_owned());
    }
    let rest = match rest.join("&") {
        rest if rest.is_empty() => before.to_owned(),
        rest => format!("{before}?{rest}"),
    };
    (rest, words)
}

/// `postgres://user@host:port/database`
fn shown(config: &Config) -> String {
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

    fn endpoint(url: &str) -> Endpoint {
        Endpoint::parse(url).expect("a URL")
    }

    #[test]
    fn shown_without_the_password() {
        let one = endpoint("postgres://ann:hidden@db.example.org:5433/jobs?sslmode=require");
        assert_eq!(one.shown(), "postgres://ann@db.example.org:5433/jobs");
        let two = endpoint("postgresql://ann:hidden@one:5433,two:5434/jobs");
        assert_eq!(two.shown(), "postgres://ann@one:5433,two:5434/jobs");
    }

    #[test]
    fn what_cant_be_used_is_said_without_the_password() {
        for (url, word) in [
            ("postgres://ann:hidden@db/jobs?sslmode=maybe", "verify-full"),
            (
                "postgres://ann:hidden@db/jobs?sslrootcert=%2Fnot%2Fthere",
                "/not/there",
            ),
            ("postgres://ann:hidden@db/jobs?sslcert=a", "sslkey"),
            (
                "postgres://ann:hidden@db/jobs?sslcert=/not/there&sslkey=b",
                "/not/there",
            ),
            (
                "postgres://ann:hidden@db/jobs?sslmode=prefer&sslrootcert=a",
                "verify-full",
            ),
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
    }

    #[test]
    fn a_mode_is_taken_out_and_the_rest_is_kept() {
        use postgres::config::SslMode;
        for (url, mode) in [
            ("postgres://ann@db/jobs", SslMode::Prefer),
            ("postgres://ann@db/jobs?sslmode=disable", SslMode::Disable),
            (
                "postgres://ann@db/jobs?connect_timeout=7&sslmode=require",
                SslMode::Require,
            ),
        ] {
            let config = endpoint(url).config;
            assert_eq!(config.get_ssl_mode(), mode, "{url}");
            let timeout = if url.contains('7') {
                Duration::from_secs(7)
            } else {
                CONNECT_TIMEOUT
            };
            assert_eq!(config.get_connect_timeout(), Some(&timeout), "{url}");
        }
    }
}
