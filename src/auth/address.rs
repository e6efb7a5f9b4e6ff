//! The client's address: the peer's, or the one that a trusted proxy reports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName};
use ipnet::IpNet;

use super::Auth;
use crate::http::ApiError;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The other end of the connection. The code that accepts connections adds it to each request's
/// extensions.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub SocketAddr);

/// The client's address, by which wrong passwords are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The key that attempts are counted under.
    pub(super) fn attempt_key(self) -> String {
        self.network().to_string()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let auth = Auth::of(parts)?;
        Ok(auth.client_address(&parts.extensions, &parts.headers))
    }
}

impl Auth {
    /// The address that a request comes from.
    pub fn client_address(&self, extensions: &Extensions, headers: &HeaderMap) -> ClientAddress {
        let peer = extensions
            .get::<PeerAddress>()
            .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.0.ip());
        let trusted = &self.inner.config.trusted_proxies;
        ClientAddress(client_address(peer, headers, trusted))
    }
}

impl ClientAddress {
    /// The address, or the /64 of an IPv6 address: a client usually has a whole /64.
    pub fn network(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(_) => self.0,
            IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
        }
    }
}

/// Whether that peer is a proxy whose headers count.
pub(super) fn is_trusted(peer: IpAddr, trusted: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    trusted.iter().any(|network| network.contains(&peer))
}

/// The peer's address. If the peer is a trusted proxy: the last address in `X-Forwarded-For`, which
/// is the one that the proxy itself saw. Anybody can write the ones before it.
fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    if !is_trusted(peer, trusted) {
        return peer;
    }
    let last = headers.get_all(X_FORWARDED_FOR).iter().next_back();
    last.and_then(|value| value.to_str().ok())
        .and_then(|list| list.rsplit(',').next())
        .and_then(|entry| parse_entry(entry.trim()))
        .unwrap_or(peer)
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn parse_entry(entry: &str) -> Option<IpAddr> {
    let bare = entry
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(entry);
    let with_port = || entry.parse::<SocketAddr>().ok().map(|both| both.ip());
    let address = bare.parse().ok().or_else(with_port)?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let network = |text: &str| ClientAddress(text.parse().expect("address")).network();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2::9"));
        assert_ne!(network("2001:db8:1:2::9"), network("2001:db8:1:3::9"));
        assert_eq!(network("192.0.2.9").to_string(), "192.0.2.9");
    }

    #[test]
    fn the_last_address_that_a_trusted_proxy_wrote() {
        const PROXY: &str = "10.0.0.7";
        const STRANGER: &str = "192.0.2.9";
        let table: &[(&str, &[&str], &str)] = &[
            (STRANGER, &[], STRANGER),
            (STRANGER, &["203.0.113.5"], STRANGER),
            (PROXY, &[], PROXY),
            (PROXY, &["203.0.113.5"], "203.0.113.5"),
            (PROXY, &["198.51.100.1, 203.0.113.5"], "203.0.113.5"),
            (PROXY, &["198.51.100.1", "203.0.113.5"], "203.0.113.5"),
            (PROXY, &["203.0.113.5 , 198.51.100.1 "], "198.51.100.1"),
            (PROXY, &["203.0.113.5:4711"], "203.0.113.5"),
            (PROXY, &["2001:db8::1"], "2001:db8::1"),
            (PROXY, &["[2001:db8::1]:443"], "2001:db8::1"),
            (PROXY, &["[2001:db8::1]"], "2001:db8::1"),
            (PROXY, &["203.0.113.5, unknown"], PROXY),
            (PROXY, &["203.0.113.5,"], PROXY),
            (PROXY, &[""], PROXY),
            ("::ffff:10.0.0.7", &["203.0.113.5"], "203.0.113.5"),
            ("::ffff:192.0.2.9", &["203.0.113.5"], STRANGER),
            ("::1", &["::ffff:203.0.113.5"], "203.0.113.5"),
        ];
        let trusted = ["10.0.0.0/8", "::1/128"].map(|network| network.parse().expect("network"));
        for (peer, lines, wanted) in table {
            let mut headers = HeaderMap::new();
            for line in *lines {
                headers.append(X_FORWARDED_FOR, line.parse().expect("header"));
            }
            let seen = client_address(peer.parse().expect("address"), &headers, &trusted);
            assert_eq!(seen.to_string(), *wanted, "{peer} {lines:?}");
        }
    }
}
