//! The address at which people and agents reach this server, and whether a request used https.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use super::address::is_trusted;
use super::origin::{self, Origin, SingleHeader, single_header};
use super::user::printable;
use super::{Auth, PeerAddress};
use crate::http::ApiError;
use crate::sync::lock;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// A browser that receives this uses only https for a year.
const STRICT_TRANSPORT: HeaderValue = HeaderValue::from_static("max-age=31536000");
/// Shortest time between two logs of a warning that strangers can trigger.
const WARN_AGAIN: Duration = Duration::from_secs(60);

/// The address for links and commands on a page: the public URL or, without one, the page's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    /// Without a trailing slash.
    pub url: String,
    /// Whether the address works only on the server's own machine.
    pub is_local: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for ServerAddress {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Ok(Auth::of(parts)?.address_of_page(parts))
    }
}

/// When a warning was last logged.
#[derive(Default)]
pub(super) struct WarningLimit(Mutex<Option<Instant>>);

impl WarningLimit {
    fn is_due(&self) -> bool {
        let mut last = lock(&self.0);
        let is_due = last.is_none_or(|last| last.elapsed() >= WARN_AGAIN);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

impl Auth {
    fn address_of_page(&self, parts: &Parts) -> ServerAddress {
        let config = &self.inner.config;
        let seen = match config.is_public_url_set {
            true => None,
            false => host_of(&parts.headers).filter(|host| !is_every_address(host)),
        };
        let Some(host) = seen else {
            return ServerAddress {
                url: config.public_url.clone(),
                is_local: is_local(&config.public_url),
            };
        };
        let is_https = config.own_tls || self.forwarded_proto(parts) == Some("https");
        let scheme = if is_https { "https" } else { "http" };
        let url = format!("{scheme}://{host}");
        ServerAddress {
            is_local: is_local(&url),
            url,
        }
    }

    /// The scheme that the client used, as a trusted proxy reports it.
    fn forwarded_proto<'p>(&self, parts: &'p Parts) -> Option<&'p str> {
        if !self.is_from_proxy(&parts.extensions) {
            return None;
        }
        let value = parts
            .headers
            .get_all(X_FORWARDED_PROTO)
            .iter()
            .next_back()?;
        let last = value.to_str().ok()?.rsplit(',').next()?.trim();
        ["http", "https"]
            .into_iter()
            .find(|known| last.eq_ignore_ascii_case(known))
    }

    fn is_from_proxy(&self, extensions: &Extensions) -> bool {
        let peer = extensions.get::<PeerAddress>();
        peer.is_some_and(|peer| is_trusted(peer.0.ip(), &self.inner.config.trusted_proxies))
    }

    /// Whether the browser used https: with our own TLS, or through a proxy at the https public
    /// URL.
    fn used_https(&self, parts: &Parts) -> bool {
        if self.inner.config.own_tls {
            return true;
        }
        let Some(public) = self.inner.public.as_ref().filter(|url| url.is_https()) else {
            return false;
        };
        match self.forwarded_proto(parts) {
            Some(proto) => proto == "https",
            None => self.is_from_proxy(&parts.extensions) || public.is_host_of(&parts.headers),
        }
    }

    /// Whether the page crossed a network in plain text, so that it should show a warning.
    pub fn is_in_the_clear(&self, parts: &Parts) -> bool {
        self.inner.config.serves_in_the_clear && !self.used_https(parts)
    }

    /// Whether the browser will drop the session cookie: the cookie is Secure, and the page is at
    /// an http address.
    pub fn is_cookie_at_risk(&self, parts: &Parts) -> bool {
        let is_secure = self.inner.public.as_ref().is_some_and(Origin::is_https);
        let browser_at = match single_header(&parts.headers, header::ORIGIN) {
            SingleHeader::Value(text) => Origin::parse(text),
            SingleHeader::Absent | SingleHeader::Unreadable => None,
        };
        let is_https =
            browser_at.map_or_else(|| self.used_https(parts), |origin| origin.is_https());
        is_secure && !is_https
    }

    /// The error for somebody who signed in and came back without the cookie.
    pub fn cookie_was_dropped(&self) -> ApiError {
        let url = &self.inner.config.public_url;
        if self.inner.cookie_warning.is_due() {
            tracing::warn!(
                public_url = url,
                "a browser did not keep the session cookie: HYPRBOX_PUBLIC_URL is https, and the page was opened over http; \
                 open the public URL instead"
            );
        }
        ApiError::unauthorized(format!(
            "Your browser did not keep the cookie that signs you in: this page was opened over http, and the server's \
             address (HYPRBOX_PUBLIC_URL) is {url}. Open {url} and sign in there"
        ))
    }

    /// Logs the origin of a refused request.
    pub(super) fn warn_of_origin(&self, headers: &HeaderMap) {
        if self.inner.origin_warning.is_due() {
            let text = |name| {
                headers
                    .get(name)
                    .and_then(|value: &HeaderValue| value.to_str().ok())
            };
            let shown = |name| printable(text(name).unwrap_or("absent"));
            tracing::warn!(
                origin = shown(header::ORIGIN),
                host = shown(header::HOST),
                "refused a request that did not come from the server's own pages; if Origin is this server's address, set \
                 HYPRBOX_PUBLIC_URL to it, or have the proxy send it as Host"
            );
        }
    }

    /// Message for a person whose own browser was refused, probably because a proxy changes `Host`;
    /// `None` if another site's page sent the request.
    pub fn explain_refused_origin(&self, headers: &HeaderMap) -> Option<String> {
        if origin::is_from_foreign_page(headers) {
            return None;
        }
        let SingleHeader::Value(text) = single_header(headers, header::ORIGIN) else {
            return None;
        };
        let browser_at = Origin::parse(text)?;
        let config = &self.inner.config;
        let host = match single_header(headers, header::HOST) {
            SingleHeader::Value(host) => printable(host),
            SingleHeader::Absent | SingleHeader::Unreadable => "none".to_owned(),
        };
        let public = match config.is_public_url_set {
            true => format!(" and HYPRBOX_PUBLIC_URL is {}", config.public_url),
            false => String::new(),
        };
        Some(format!(
            "Your browser opened this page at {browser_at} (Origin), but the request's Host is {host}{public}. If \
             {browser_at} is the right address of this server, set HYPRBOX_PUBLIC_URL={browser_at} and restart the server, \
             or configure the proxy to forward the address (in nginx: proxy_set_header Host $http_host;)"
        ))
    }
}

/// The `Host` that a page was requested with, if it is safe on a shell's command line.
fn host_of(headers: &HeaderMap) -> Option<&str> {
    let SingleHeader::Value(host) = single_header(headers, header::HOST) else {
        return None;
    };
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            address.parse::<Ipv6Addr>().ok()?;
            // Only a port may follow the bracket.
            (
                "v6",
                if rest.is_empty() {
                    None
                } else {
                    Some(rest.strip_prefix(':')?)
                },
            )
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_name = !name.is_empty() && name.chars().all(plain) && !name.starts_with('-');
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
    (is_name && is_port).then_some(host)
}

/// Whether a `Host` is an unspecified address, which nobody connects to: `0.0.0.0` or `[::]`.
fn is_every_address(host: &str) -> bool {
    ["0.0.0.0", "[::]"].iter().any(|all| {
        host.strip_prefix(all)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    })
}

/// Whether a URL names the machine that opens it.
pub fn is_local(url: &str) -> bool {
    let Some(origin) = Origin::parse(url) else {
        return false;
    };
    let host = origin.host();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<IpAddr>().map(|address| address.to_canonical());
    host == "localhost"
        || address.is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}

/// Middleware: responses over https forbid the browser to use http from then on.
pub async fn strict_transport(State(auth): State<Auth>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let is_https = auth.used_https(&parts);
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if is_https {
        let headers = response.headers_mut();
        headers.insert(header::STRICT_TRANSPORT_SECURITY, STRICT_TRANSPORT);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_unsafe_on_a_command_line_is_ignored() {
        for good in [
            "jobs.lan",
            "10.0.0.7:4000",
            "[::1]:4000",
            "[fe80::1]",
            "box_1:80",
            "localhost",
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, good.parse().expect("host"));
            assert_eq!(host_of(&headers), Some(good));
        }
        for bad in [
            "",
            "$(id)",
            "a b",
            "a;b",
            "box:",
            "box:x",
            "box:99999",
            "[::1",
            "[x]:1",
            "[::1]x",
            "a:1:2",
            "-f",
            "a/b",
            "a'b",
            "user@box",
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, bad.parse().expect("host"));
            assert_eq!(host_of(&headers), None, "{bad}");
        }
    }

    #[test]
    fn local_addresses() {
        for (url, local) in [
            ("http://127.0.0.1:4000", true),
            ("http://localhost:4000", true),
            ("http://[::1]:4000", true),
            ("http://0.0.0.0:4000", true),
            ("http://10.0.0.7:4000", false),
            ("https://jobs.example.org", false),
        ] {
            assert_eq!(is_local(url), local, "{url}");
        }
    }
}
