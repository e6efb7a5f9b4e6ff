//! `postgres://user:password@host:port/database`: what of it can be used, and how it is shown
//! without the password.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use postgres::Client;
use postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres::Config;

use super::line::{Line, LineError};
use super::tls::{self, Encrypted, Tls, Words};

/// The future that reads and writes the socket.
pub(super) type Driven = tokio_postgres::Connection<tokio_postgres::Socket, Encrypted>;

/// What connections are called in `pg_stat_activity`.
pub(super) const APPLICATION: &str = "hyprbox";
/// How long one attempt to connect may take, from the first packet until the database is ready to
/// be asked.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After this long without an answer a connection counts as lost: the other end may be gone without
/// a word.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Says what is wrong with a URL, in words that follow "it must be"; the password is never among
/// them.
pub fn check(url: &str) -> Result<(), String> {
    Endpoint::parse(url).map(|_| ())
}

/// Where the database is, and how the line to it is kept from others.
#[derive(Clone)]
pub(in crate::store) struct Endpoint {
    config: Config,
    /// The same for each of its hosts alone.
    hosts: Vec<Config>,
    /// The host that took the last line, which is tried first: one that stands still takes its time
    /// to be given up.
    last: Arc<AtomicUsize>,
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
        Ok(Self {
            hosts: one_by_one(&config)?,
            config,
            last: Arc::default(),
            tls,
        })
    }

    /// A new connection. It has a runtime of its own, which can't be started on a thread of another
    /// one.
    pub(in crate::store) fn connect(&self) -> Result<Client, LineError> {
        // The blocking client would wait for ever for a host that takes the connection and says
        // nothing.
        drop(Line::open(self)?);
        let host = &self.hosts[self.last.load(Ordering::Relaxed)];
        Ok(postgres::Config::from(host.clone()).connect(self.tls.clone())?)
    }

    /// The same on a runtime of the caller's: who asks, and who drives the socket.
    pub(super) async fn connect_async(
        &self,
    ) -> Result<(tokio_postgres::Client, Driven), LineError> {
        let count = self.hosts.len();
        let first = self.last.load(Ordering::Relaxed);
        let mut after = 0;
        loop {
            let at = (first + after) % count;
            after += 1;
            match self.connect_to(&self.hosts[at]).await {
                Ok(line) => {
                    self.last.store(at, Ordering::Relaxed);
                    return Ok(line);
                }
                Err(error) if after == count => return Err(error),
                Err(_) => {}
            }
        }
    }

    async fn connect_to(
        &self,
        host: &Config,
    ) -> Result<(tokio_postgres::Client, Driven), LineError> {
        let of_one = host.get_connect_timeout().copied();
        let within = of_one.unwrap_or(CONNECT_TIMEOUT) * addresses_of(host).await;
        match tokio::time::timeout(within, host.connect(self.tls.clone())).await {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(LineError::Unwelcome {
                host: places(host),
                within,
            }),
        }
    }

    /// `postgres://user@host:port/database`
    pub(in crate::store) fn shown(&self) -> String {
        shown(&self.config)
    }
}

/// How many addresses a host has, each of which has its time.
async fn addresses_of(host: &Config) -> u32 {
    let (hosts, ports) = (host.get_hosts(), host.get_ports());
    let (true, [Host::Tcp(name)]) = (host.get_hostaddrs().is_empty(), hosts) else {
        return 1;
    };
    let port = ports.first().copied().unwrap_or(5432);
    let found = tokio::net::lookup_host((name.as_str(), port)).await;
    // Of a name that nobody knows, connecting tells.
    let count = found.map_or(1, Iterator::count);
    u32::try_from(count.max(1)).unwrap_or(1)
}

/// The same for each host alone. The error is in words that follow "it must be".
fn one_by_one(all: &Config) -> Result<Vec<Config>, String> {
    let (hosts, addresses, ports) = (all.get_hosts(), all.get_hostaddrs(), all.get_ports());
    let count = hosts.len().max(addresses.len());
    let fits = |given: usize| given <= 1 || given == count;
    if !(hosts.is_empty() || addresses.is_empty() || hosts.len() == addresses.len())
        || !fits(ports.len())
    {
        return Err("a URL with as many addresses and ports as hosts".to_owned());
    }
    let one = |at: usize| {
        let mut one = without_hosts(all);
        match hosts.get(at) {
            Some(Host::Tcp(name)) => drop(one.host(name)),
            Some(Host::Unix(path)) => drop(one.host_path(path)),
            None => {}
        }
        if let Some(address) = addresses.get(at) {
            one.hostaddr(*address);
        }
        if let Some(port) = ports.get(at).or(ports.first()) {
            one.port(*port);
        }
        one
    };
    Ok((0..count).map(one).collect())
}

/// Everything else that a URL can say.
fn without_hosts(all: &Config) -> Config {
    let mut rest = Config::new();
    if let Some(user) = all.get_user() {
        rest.user(user);
    }
    if let Some(password) = all.get_password() {
        rest.password(password);
    }
    if let Some(database) = all.get_dbname() {
        rest.dbname(database);
    }
    if let Some(options) = all.get_options() {
        rest.options(options);
    }
    if let Some(name) = all.get_application_name() {
        rest.application_name(name);
    }
    if let Some(timeout) = all.get_connect_timeout() {
        rest.connect_timeout(*timeout);
    }
    if let Some(timeout) = all.get_tcp_user_timeout() {
        rest.tcp_user_timeout(*timeout);
    }
    if let Some(interval) = all.get_keepalives_interval() {
        rest.keepalives_interval(interval);
    }
    if let Some(retries) = all.get_keepalives_retries() {
        rest.keepalives_retries(retries);
    }
    rest.ssl_mode(all.get_ssl_mode())
        .ssl_negotiation(all.get_ssl_negotiation())
        .channel_binding(all.get_channel_binding())
        .target_session_attrs(all.get_target_session_attrs())
        .load_balance_hosts(all.get_load_balance_hosts())
        .keepalives(all.get_keepalives())
        .keepalives_idle(all.get_keepalives_idle());
    rest
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
    let database = config.get_dbname().unwrap_or_default();
    format!("postgres://{user}{}/{database}", places(config))
}

/// `one:5432,two:5432`
fn places(config: &Config) -> String {
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
    hosts.join(",")
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
            ("postgres://ann:hidden@one/jobs?port=5433", "as hosts"),
            (
                "postgres://ann:hidden@one,two/jobs?hostaddr=10.0.0.1",
                "as hosts",
            ),
        ] {
            let said = check(url).expect_err(url);
            assert!(
                said.contains(word) && !said.contains("hidden"),
                "{url}: {said}"
            );
        }
    }

    #[test]
    fn each_host_is_reached_by_itself_with_all_that_was_said() {
        let more = "sslmode=require&connect_timeout=7&options=-c%20work_mem%3D8MB&keepalives=0&keepalives_interval=2\
             &application_name=other&channel_binding=disable&load_balance_hosts=random&sslnegotiation=direct";
        let one = endpoint(&format!("postgres://ann:hidden@one:5433/jobs?{more}"));
        let two = endpoint(&format!("postgres://ann:hidden@two:5434/jobs?{more}"));
        assert_eq!(one.hosts, std::slice::from_ref(&one.config));
        let both = endpoint(&format!(
            "postgres://ann:hidden@one:5433,two:5434/jobs?{more}"
        ));
        assert_eq!(both.hosts, [one.config, two.config]);
        let by_address = endpoint("postgres://ann@one,two/jobs?hostaddr=10.0.0.1,10.0.0.2");
        let address = std::net::IpAddr::from([10, 0, 0, 2]);
        assert_eq!(by_address.hosts[1].get_hostaddrs(), [address]);
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
