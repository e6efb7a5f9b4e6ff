//! The way to the server, up to an open line: a proxy, or the name and the port.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;
use tokio::net::{TcpStream, lookup_host};

use super::Finding;
use crate::client::goes_direct;

/// For a name to be found, and for a line to be opened.
const PATIENCE: Duration = Duration::from_secs(8);

/// A proxy that calls to the server go through: its address, without the password that may be in
/// it.
pub(super) struct Proxy {
    shown: String,
    host: String,
    port: u16,
}

impl Proxy {
    /// The one that the environment names for that address.
    pub(super) fn of(url: &Url) -> Option<Self> {
        if goes_direct(url) {
            return None;
        }
        let found = Matcher::from_env().intercept(&url.as_str().parse().ok()?)?;
        let uri = found.uri();
        let scheme = uri.scheme_str().unwrap_or("http");
        let usual = match scheme {
            "https" => 443,
            "http" => 80,
            _ => 1080,
        };
        let (host, port) = (uri.host()?.to_owned(), uri.port_u16().unwrap_or(usual));
        Some(Self {
            shown: format!("{scheme}://{host}:{port}"),
            host,
            port,
        })
    }

    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    async fn look(&self, server: &str) -> Finding {
        let failed = match addresses(&self.host, self.port).await {
            Ok(all) => match connect(&all).await {
                Ok(_) => {
                    return Finding::good(
                        "proxy",
                        format!("{} takes calls for {server}", self.shown),
                    );
                }
                Err(error) => error,
            },
            Err(error) => error,
        };
        Finding::wrong(
            "proxy",
            format!(
                "{}, which the environment names for {server}, can't be reached: {failed}",
                self.shown
            ),
            format!(
                "correct HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, or have {server} in NO_PROXY if no proxy is needed; in {} for the service",
                crate::commands::service::ENV_FILE
            ),
        )
    }
}

/// Goes as far as an open line. The last finding is wrong where there is none.
pub(super) async fn look(url: &Url) -> Vec<Finding> {
    let host = url.host_str().unwrap_or_default();
    if let Some(proxy) = Proxy::of(url) {
        return vec![proxy.look(host).await];
    }
    let port = url.port_or_known_default().unwrap_or(443);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_name = bare.parse::<std::net::IpAddr>().is_err();
    let mut findings = Vec::new();
    let all = match addresses(bare, port).await {
        Ok(all) => all,
        Err(error) => {
            return vec![Finding::wrong(
                "name",
                format!("{host} leads to no address: {error}"),
                "look at the name in HYPRBOX_API_URL, and at the name servers in /etc/resolv.conf (`getent hosts` asks them)",
            )];
        }
    };
    if is_name {
        let shown: Vec<String> = all.iter().map(|address| address.ip().to_string()).collect();
        findings.push(Finding::good(
            "name",
            format!("{host} is {}", shown.join(", ")),
        ));
    }
    findings.push(match connect(&all).await {
        Ok(address) => Finding::good("line", format!("{address} takes connections")),
        Err(error) => refused(host, port, &error),
    });
    findings
}

fn refused(host: &str, port: u16, error: &io::Error) -> Finding {
    let seen = format!("{host}:{port} can't be reached: {error}");
    let kind = error.kind();
    let mend = if kind == io::ErrorKind::ConnectionRefused {
        "look at the port in HYPRBOX_API_URL, and that the server runs and listens there (HYPRBOX_LISTEN)"
    } else if kind == io::ErrorKind::TimedOut {
        "look at the firewalls on the way, and that the machine is up"
    } else {
        "look at this machine's network: `ip route`, cables, VPN"
    };
    Finding::wrong("line", seen, mend)
}

async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = tokio::time::timeout(PATIENCE, lookup_host((host, port)))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the name servers don't answer"))??;
    let mut all: Vec<SocketAddr> = found.collect();
    all.dedup();
    if all.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it has none"));
    }
    Ok(all)
}

/// The first address that takes a connection; else how the last one failed.
async fn connect(all: &[SocketAddr]) -> io::Result<SocketAddr> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in all {
        match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(*address),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "nothing answers"),
        }
    }
    Err(last)
}
