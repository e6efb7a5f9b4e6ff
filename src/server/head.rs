//! Serializes a request's head, for a request that will be handled again.

use axum::http::{Method, Request, Version, header};
use bytes::Bytes;

/// Longer heads are not kept. Agents send none, and ten thousand of them wait.
const LENGTH_MAX: usize = 2_048;

/// The head of a GET without a body, which parses as the same request. `None` for other requests.
pub(super) fn of_plain_get<B>(request: &Request<B>) -> Option<Bytes> {
    const NOT_PLAIN: [header::HeaderName; 5] = [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::EXPECT,
        header::UPGRADE,
        header::TRAILER,
    ];
    let headers = request.headers();
    if request.method() != Method::GET || NOT_PLAIN.iter().any(|name| headers.contains_key(name)) {
        return None;
    }
    let version = match request.version() {
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_10 => "HTTP/1.0",
        _ => return None,
    };
    let mut head = format!("GET {} {version}\r\n", request.uri()).into_bytes();
    for (name, value) in headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
        if head.len() > LENGTH_MAX {
            return None;
        }
    }
    head.extend_from_slice(b"\r\n");
    head.shrink_to_fit();
    Some(head.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(uri: &str) -> axum::http::request::Builder {
        Request::get(uri)
    }

    fn head_of(request: axum::http::request::Builder) -> Option<String> {
        let head = of_plain_get(&request.body(()).expect("a request"))?;
        Some(String::from_utf8_lossy(&head).into_owned())
    }

    #[test]
    fn the_head_parses_as_the_same_request() {
        let request = get("/a%20b?x=%2F&y")
            .header("Host", "h")
            .header("X-Twice", "1")
            .header("Authorization", "Bearer t")
            .header("X-Twice", "2");
        let head = head_of(request).expect("a plain GET");
        let mut lines: Vec<&str> = head.split("\r\n").collect();
        assert_eq!(lines.remove(0), "GET /a%20b?x=%2F&y HTTP/1.1");
        assert!(head.ends_with("\r\n\r\n"));
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "",
                "",
                "authorization: Bearer t",
                "host: h",
                "x-twice: 1",
                "x-twice: 2"
            ]
        );
        let absolute = head_of(get("http://h:1/a?b").version(Version::HTTP_10));
        assert_eq!(
            absolute.as_deref(),
            Some("GET http://h:1/a?b HTTP/1.0\r\n\r\n")
        );
    }

    #[test]
    fn other_requests_are_not_kept() {
        for name in [
            "Content-Length",
            "Transfer-Encoding",
            "Expect",
            "Upgrade",
            "Trailer",
        ] {
            assert_eq!(head_of(get("/").header(name, "0")), None, "{name}");
        }
        assert_eq!(head_of(Request::post("/")), None);
        assert_eq!(head_of(get("/").version(Version::HTTP_2)), None);
        assert_eq!(head_of(get("/").header("X", "x".repeat(LENGTH_MAX))), None);
    }
}
