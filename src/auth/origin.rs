//! Proof that a request comes from our own pages (contract, section 3.1).
//!
//! Browsers add the cookie to requests that another site's page makes, so a change needs more than
//! the cookie: `Sec-Fetch-Site` or `Origin`, which no page can forge. If both are present, both
//! must prove it.

use axum::http::{HeaderMap, HeaderName, header};

use crate::http::ApiError;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The scheme, host and port of a URL, in lower case, with the default port filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    scheme: &'static str,
    host: String,
    port: u16,
}

impl Origin {
    /// Parses `http://host[:port]`; a path is ignored.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let scheme = ["http", "https"]
            .into_iter()
            .find(|known| scheme.eq_ignore_ascii_case(known))?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (host, port) = split_authority(authority, scheme)?;
        Some(Self { scheme, host, port })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Whether the request's `Host` names this origin.
    pub(super) fn is_host_of(&self, headers: &HeaderMap) -> bool {
        match single_header(headers, header::HOST) {
            SingleHeader::Value(host) => self.is_host(host),
            SingleHeader::Absent | SingleHeader::Unreadable => false,
        }
    }

    pub(super) fn is_https(&self) -> bool {
        self.scheme == "https"
    }

    /// Whether a `Host` header names this origin. The header has no scheme, and ours is unknown
    /// behind a proxy that terminates TLS.
    fn is_host(&self, host: &str) -> bool {
        split_authority(host, self.scheme)
            .is_some_and(|(name, port)| name == self.host && port == self.port)
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match (self.scheme, self.port) {
            ("http", 80) | ("https", 443) => Ok(()),
            (_, port) => write!(f, ":{port}"),
        }
    }
}

/// Whether the browser reports that another site's page sent the request.
pub(super) fn is_from_foreign_page(headers: &HeaderMap) -> bool {
    fetch_site(headers) == Evidence::Foreign
}

/// Host in lower case and port; the scheme's default port if none is given.
fn split_authority(authority: &str, scheme: &str) -> Option<(String, u16)> {
    let usual = if scheme == "https" { 443 } else { 80 };
    let name_end = authority.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[name_end..].rfind(':') {
        Some(at) => (
            &authority[..name_end + at],
            authority[name_end + at + 1..].parse().ok()?,
        ),
        None => (authority, usual),
    };
    let plain = |c: char| !c.is_whitespace() && !"@/?#\\".contains(c);
    (!host.is_empty() && host.chars().all(plain)).then(|| (host.to_ascii_lowercase(), port))
}

/// Evidence in a header about the page that sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// The header is absent.
    Absent,
    /// One of our own pages.
    SameOrigin,
    /// No page: the person entered the address (`Sec-Fetch-Site: none`).
    NoPage,
    /// Another site, or the header can't be read.
    Foreign,
}

fn fetch_site(headers: &HeaderMap) -> Evidence {
    match single_header(headers, SEC_FETCH_SITE) {
        SingleHeader::Absent => Evidence::Absent,
        SingleHeader::Value("same-origin") => Evidence::SameOrigin,
        SingleHeader::Value("none") => Evidence::NoPage,
        SingleHeader::Value(_) | SingleHeader::Unreadable => Evidence::Foreign,
    }
}

fn origin(headers: &HeaderMap, public: Option<&Origin>) -> Evidence {
    let origin = match single_header(headers, header::ORIGIN) {
        SingleHeader::Absent => return Evidence::Absent,
        SingleHeader::Value(text) => Origin::parse(text),
        SingleHeader::Unreadable => None,
    };
    let Some(origin) = origin else {
        return Evidence::Foreign;
    };
    if origin.is_host_of(headers) || Some(&origin) == public {
        Evidence::SameOrigin
    } else {
        Evidence::Foreign
    }
}

/// The value of a header that must occur at most once.
pub(super) enum SingleHeader<'h> {
    Absent,
    Value(&'h str),
    Unreadable,
}

pub(super) fn single_header(headers: &HeaderMap, name: HeaderName) -> SingleHeader<'_> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => SingleHeader::Absent,
        (Some(value), None) => value
            .to_str()
            .map_or(SingleHeader::Unreadable, SingleHeader::Value),
        (Some(_), Some(_)) => SingleHeader::Unreadable,
    }
}

/// For a change with the cookie: at least one header must prove our own origin, and none may
/// contradict it.
pub(super) fn require_same(headers: &HeaderMap, public: Option<&Origin>) -> Result<(), ApiError> {
    match (fetch_site(headers), origin(headers, public)) {
        (Evidence::SameOrigin, Evidence::SameOrigin | Evidence::Absent)
        | (Evidence::Absent, Evidence::SameOrigin) => Ok(()),
        _ => Err(cross_origin()),
    }
}

/// For a sign-in, which needs no cookie: no header may show another origin.
pub(super) fn refuse_foreign(headers: &HeaderMap, public: Option<&Origin>) -> Result<(), ApiError> {
    match (fetch_site(headers), origin(headers, public)) {
        (Evidence::Foreign, _) | (_, Evidence::Foreign) => Err(cross_origin()),
        _ => Ok(()),
    }
}

fn cross_origin() -> ApiError {
    ApiError::new(
        axum::http::StatusCode::FORBIDDEN,
        "cross_origin",
        "This request must come from the server's own pages. Programs must send Authorization: Bearer <token>",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(
        site: Option<&'static str>,
        origin: Option<&'static str>,
        host: &'static str,
    ) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().expect("host"));
        if let Some(site) = site {
            headers.insert(SEC_FETCH_SITE, site.parse().expect("site"));
        }
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().expect("origin"));
        }
        headers
    }

    #[test]
    fn evidence_for_and_against_our_own_origin() {
        const OURS: &str = "http://box:4000";
        const EVIL: &str = "http://evil.example";
        // Sec-Fetch-Site, Origin; a change with the cookie passes; a sign-in passes.
        let table = [
            (None, None, false, true),
            (Some("same-origin"), None, true, true),
            (None, Some(OURS), true, true),
            (Some("same-origin"), Some(OURS), true, true),
            (Some("same-origin"), Some(EVIL), false, false),
            (Some("same-origin"), Some("null"), false, false),
            (Some("cross-site"), Some(OURS), false, false),
            (Some("same-site"), Some(OURS), false, false),
            (Some("same-site"), None, false, false),
            (Some("cross-site"), None, false, false),
            (Some("none"), None, false, true),
            (Some("none"), Some(OURS), false, true),
            (Some("Same-Origin"), None, false, false),
            (Some(""), None, false, false),
            (None, Some(EVIL), false, false),
            (None, Some("null"), false, false),
            (None, Some(""), false, false),
            (None, Some("https://jobs.example.org"), true, true),
            (None, Some("HTTPS://Jobs.Example.org:443"), true, true),
            (None, Some("http://jobs.example.org"), false, false),
            (
                None,
                Some("https://jobs.example.org.evil.example"),
                false,
                false,
            ),
            (None, Some("http://box:4001"), false, false),
            (None, Some("http://box"), false, false),
            (None, Some("http://box:4000@evil.example"), false, false),
        ];
        let public = Origin::parse("https://jobs.example.org/");
        for (site, origin, change, sign_in) in table {
            let headers = headers(site, origin, "box:4000");
            let proved = require_same(&headers, public.as_ref()).is_ok();
            let let_in = refuse_foreign(&headers, public.as_ref()).is_ok();
            assert_eq!((proved, let_in), (change, sign_in), "{site:?} {origin:?}");
        }
    }

    #[test]
    fn default_ports_and_ipv6() {
        for (origin, host, same) in [
            ("http://box", "box:80", true),
            ("https://box", "box", true),
            ("https://box:443", "BOX", true),
            ("http://box", "box:443", false),
            ("http://[::1]:4000", "[::1]:4000", true),
            ("http://[::1]", "[::1]:80", true),
            ("http://[::1]:4000", "[::1]", false),
            ("http://box:99999", "box:99999", false),
        ] {
            let held = require_same(&headers(None, Some(origin), host), None).is_ok();
            assert_eq!(held, same, "{origin} {host}");
        }
    }

    #[test]
    fn two_origin_headers_prove_nothing() {
        let mut headers = headers(None, Some("http://box"), "box");
        headers.append(
            header::ORIGIN,
            "http://evil.example".parse().expect("origin"),
        );
        assert!(require_same(&headers, None).is_err());
        assert!(refuse_foreign(&headers, None).is_err());
    }
}
