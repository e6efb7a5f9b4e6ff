//! Proof that a request comes from our own pages (contract, section 3.1).
//!
//! A cookie goes along with whatever a foreign page makes the browser send, so a change needs more
//! than the cookie: `Sec-Fetch-Site` or `Origin`, which no page can forge. Of both present, both
//! must hold.

use axum::http::{HeaderMap, HeaderName, header};

use crate::http::ApiError;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The scheme, host and port of an address, in lower case, the port always given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    scheme: &'static str,
    host: String,
    port: u16,
}

impl Origin {
    /// Of `http://host[:port]`; what follows a `/` is ignored.
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
        match one(headers, header::HOST) {
            One::Value(host) => self.is_host(host),
            One::Absent | One::Unreadable => false,
        }
    }

    pub(super) fn is_https(&self) -> bool {
        self.scheme == "https"
    }

    /// Whether a `Host` header names this origin. It carries no scheme: behind a proxy that ends
    /// TLS, ours is unknown.
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

/// Whether the browser says that the request comes from another site's page.
pub(super) fn is_from_foreign_page(headers: &HeaderMap) -> bool {
    fetch_site(headers) == Said::Foreign
}

/// Host in lower case, and port; the scheme's own where none is given.
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

/// What a request's headers say of where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// Nothing.
    Nothing,
    /// From our own pages.
    Ours,
    /// From the person themselves, by no page (`Sec-Fetch-Site: none`).
    Nobodys,
    /// From elsewhere, or it can't be read.
    Foreign,
}

fn fetch_site(headers: &HeaderMap) -> Said {
    match one(headers, SEC_FETCH_SITE) {
        One::Absent => Said::Nothing,
        One::Value("same-origin") => Said::Ours,
        One::Value("none") => Said::Nobodys,
        One::Value(_) | One::Unreadable => Said::Foreign,
    }
}

fn origin(headers: &HeaderMap, public: Option<&Origin>) -> Said {
    let origin = match one(headers, header::ORIGIN) {
        One::Absent => return Said::Nothing,
        One::Value(text) => Origin::parse(text),
        One::Unreadable => None,
    };
    let Some(origin) = origin else {
        return Said::Foreign;
    };
    if origin.is_host_of(headers) || Some(&origin) == public {
        Said::Ours
    } else {
        Said::Foreign
    }
}

pub(super) enum One<'h> {
    Absent,
    Value(&'h str),
    Unreadable,
}

pub(super) fn one(headers: &HeaderMap, name: HeaderName) -> One<'_> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => One::Absent,
        (Some(value), None) => value.to_str().map_or(One::Unreadable, One::Value),
        (Some(_), Some(_)) => One::Unreadable,
    }
}

/// For a change with the cookie: something must prove that it is ours, and nothing may say
/// otherwise.
pub(super) fn require_same(headers: &HeaderMap, public: Option<&Origin>) -> Result<(), ApiError> {
    match (fetch_site(headers), origin(headers, public)) {
        (Said::Ours, Said::Ours | Said::Nothing) | (Said::Nothing, Said::Ours) => Ok(()),
        _ => Err(cross_origin()),
    }
}

/// For a sign-in, which needs no cookie: nothing may say that it is foreign.
pub(super) fn refuse_foreign(headers: &HeaderMap, public: Option<&Origin>) -> Result<(), ApiError> {
    match (fetch_site(headers), origin(headers, public)) {
        (Said::Foreign, _) | (_, Said::Foreign) => Err(cross_origin()),
        _ => Ok(()),
    }
}

fn cross_origin() -> ApiError {
    ApiError::new(
        axum::http::StatusCode::FORBIDDEN,
        "cross_origin",
        "This must come from the server's own pages; programs send Authorization: Bearer <token>",
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
    fn what_proves_and_what_refutes() {
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
    fn two_origins_are_none() {
        let mut headers = headers(None, Some("http://box"), "box");
        headers.append(
            header::ORIGIN,
            "http://evil.example".parse().expect("origin"),
        );
        assert!(require_same(&headers, None).is_err());
        assert!(refuse_foreign(&headers, None).is_err());
    }
}
