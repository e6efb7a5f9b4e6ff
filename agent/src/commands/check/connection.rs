//! Checks the connection to the server: its proxy, or its name and its port.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;
use tokio::net::{TcpStream, lookup_host};

use super::Finding;
use crate::client::goes_direct;

/// Time limit for resolving a name, and for opening a connection.
const PATIENCE: Duration = Duration::from_secs(8);

/// The proxy between this machine and the server.
pub(super) struct Proxy {
    /// The proxy's address, without the password that it may contain.
    shown: String,
    host: String,
    port: u16,
}

impl Proxy {
    /// The proxy that the environment sets for this address.
    pub(super) fn of(url: &Url) -> Option<Self> {
        if goes_direct(url) {
            return None;
        }
        let proxy = Matcher::from_env().intercept(&url.as_str().parse().ok()?)?;
        let uri = proxy.uri();
        let scheme = uri.scheme_str().unwrap_or("http");
        let default_port = match scheme {
            "https" => 443,
            "http" => 80,
            _ => 1080,
        };
        let (host, port) = (
            uri.host()?.to_owned(),
            uri.port_u16().unwrap_or(default_port),
        );
        Some(Self {
            shown: format!("{scheme}://{host}:{port}"),
            host,
            port,
        })
    }

    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    async fn check(&self, server: &str) -> Finding {
        let failed = match resolve(&self.host, self.port).await {
            Ok(all) => match connect(&all).await {
                Ok(_) => {
                    return Finding::good(
                        "proxy",
                        format!("{} accepts connections for {server}", self.shown),
                    );
                }
                Err(error) => error,
            },
            Err(error) => error,
        };
        Finding::wrong(
            "proxy",
            format!(
                "can't connect to {}, the proxy that the environment sets for {server}: {failed}",
                self.shown
            ),
            format!(
                "correct HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, or add {server} to NO_PROXY if it needs no proxy; the service reads them from {}",
                crate::commands::service::ENV_FILE
            ),
        )
    }
}

/// Opens a connection to the server, or to its proxy. If that fails, the last finding has a fix.
pub(super) async fn check(url: &Url) -> Vec<Finding> {
    let host = url.host_str().unwrap_or_default();
    if let Some(proxy) = Proxy::of(url) {
        return vec![proxy.check(host).await];
    }
    let port = url.port_or_known_default().unwrap_or(443);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_name = bare.parse::<std::net::IpAddr>().is_err();
    let mut findings = Vec::new();
    let all = match resolve(bare, port).await {
        Ok(all) => all,
        Err(error) => {
            return vec![Finding::wrong(
                "dns",
                format!("can't resolve {host}: {error}"),
                format!(
                    "check the name in HYPRBOX_API_URL, and the name servers in /etc/resolv.conf (try `getent hosts {bare}`)"
                ),
            )];
        }
    };
    if is_name {
        let shown: Vec<String> = all.iter().map(|address| address.ip().to_string()).collect();
        findings.push(Finding::good(
            "dns",
            format!("{host} resolves to {}", shown.join(", ")),
        ));
    }
    findings.push(match connect(&all).await {
        Ok(address) => Finding::good("connection", format!("{address} accepts connections")),
        Err(error) => connect_failure(host, port, &error),
    });
    findings
}

fn connect_failure(host: &str, port: u16, error: &io::Error) -> Finding {
    let message = format!("can't connect to {host}:{port}: {error}");
    let kind = error.kind();
    let fix = if kind == io::ErrorKind::ConnectionRefused {
        "check the port in HYPRBOX_API_URL, and that the server is running and listens there (HYPRBOX_LISTEN)"
    } else if kind == io::ErrorKind::TimedOut {
        "check that the server's machine is up, and that no firewall in between blocks the port"
    } else {
        "check this machine's network: `ip route`, cables, VPN"
    };
    Finding::wrong("connection", message, fix)
}

async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let resolved = tokio::time::timeout(PATIENCE, lookup_host((host, port)))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the name servers don't answer"))??;
    let mut all: Vec<SocketAddr> = resolved.collect();
    all.dedup();
    if all.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
    }
    Ok(all)
}

/// Returns the first address that accepts a connection, or the last error.
async fn connect(all: &[SocketAddr]) -> io::Result<SocketAddr> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in all {
        match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(*address),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "no answer"),
        }
    }
    Err(last)
}
