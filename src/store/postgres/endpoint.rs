//! Parses `postgres://user:password@host:port/database`, and shows it without the password.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, TargetSessionAttrs};

use super::tls::{self, Tls, TlsParams};

/// The connections' name in `pg_stat_activity`.
pub(super) const APPLICATION: &str = "hyprbox";
/// How long one attempt to connect may take, from the first packet until the database accepts
/// statements.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After this long without an answer a connection counts as lost: the other end may have vanished
/// without closing it.
const TCP_TIMEOUT: Duration = Duration::from_secs(15);

/// Checks a URL. The error continues a sentence that ends with "it must be", and never contains the
/// password.
pub fn check(url: &str) -> Result<(), String> {
    Endpoint::parse(url).map(|_| ())
}

/// Where the database is, and how connections to it are encrypted.
#[derive(Clone)]
pub(in crate::store) struct Endpoint {
    config: Config,
    /// The same configuration with one host each.
    pub(super) hosts: Vec<Config>,
    /// Index of the host that accepted the last connection. It is tried first, since a host that
    /// hangs delays each attempt by the connect timeout.
    pub(super) last: Arc<AtomicUsize>,
    pub(super) tls: Tls,
}

impl Endpoint {
    /// The error continues a sentence that ends with "it must be".
    pub(in crate::store) fn parse(url: &str) -> Result<Self, String> {
        const SHAPE: &str = "a URL such as postgres://user:password@host:5432/database";
        let (url, params) = without_tls(url);
        let (mode, tls) = tls::parse(&params)?;
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(" ({cause})"));
            format!("{SHAPE}{}", cause.unwrap_or_default())
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(SHAPE.to_owned());
        }
        config.ssl_mode(mode);
        // If there are several hosts, use the one that accepts writes.
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
            .tcp_user_timeout(TCP_TIMEOUT);
        Ok(Self {
            hosts: one_by_one(&config)?,
            config,
            last: Arc::default(),
            tls,
        })
    }

    /// `postgres://user@host:port/database`
    pub(in crate::store) fn shown(&self) -> String {
        shown(&self.config)
    }
}

/// Splits a configuration into one per host. The error continues a sentence that ends with "it must
/// be".
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

/// Copies everything except hosts, addresses and ports.
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

/// Takes the TLS parameters out of a URL, since the client's parser does not know all of them.
fn without_tls(url: &str) -> (String, TlsParams) {
    let mut params = TlsParams::default();
    let Some((before, query)) = url.split_once('?') else {
        return (url.to_owned(), params);
    };
    let mut rest = Vec::new();
    for pair in query.split('&') {
        // PostgreSQL does not read a plus as a blank.
        let literal = pair.replace('+', "%2B");
        let Some((name, value)) = form_urlencoded::parse(literal.as_bytes()).next() else {
            rest.push(pair);
            continue;
        };
        let param = match name.as_ref() {
            "sslmode" => &mut params.sslmode,
            "sslrootcert" => &mut params.sslrootcert,
            "sslcert" => &mut params.sslcert,
            "sslkey" => &mut params.sslkey,
            _ => {
                rest.push(pair);
                continue;
            }
        };
        *param = Some(value.into_owned());
    }
    let rest = match rest.join("&") {
        rest if rest.is_empty() => before.to_owned(),
        rest => format!("{before}?{rest}"),
    };
    (rest, params)
}

/// `postgres://user@host:port/database`
fn shown(config: &Config) -> String {
    let user = config
        .get_user()
        .map(|user| format!("{user}@"))
        .unwrap_or_default();
    let database = config.get_dbname().unwrap_or_default();
    format!("postgres://{user}{}/{database}", addresses_shown(config))
}

/// `one:5432,two:5432`
pub(super) fn addresses_shown(config: &Config) -> String {
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
    fn an_unusable_url_is_reported_without_the_password() {
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
            let error = check(url).expect_err(url);
            assert!(
                error.contains(word) && !error.contains("hidden"),
                "{url}: {error}"
            );
        }
    }

    #[test]
    fn each_host_keeps_every_parameter_of_the_url() {
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
    fn sslmode_is_taken_out_and_other_parameters_are_kept() {
        use tokio_postgres::config::SslMode;
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
