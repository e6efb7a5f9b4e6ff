//! One HTTP call, and its answer.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderMap;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use super::{RUNTIME, Sse, documented};

/// Longer than the longest poll.
const TIMEOUT: Duration = Duration::from_secs(90);

/// A client of its own connections, so that a server that was killed leaves nothing to others.
pub(crate) fn client(ca_file: Option<&Path>) -> reqwest::Client {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another test was quicker.
        let _installed = rustls::crypto::ring::default_provider().install_default();
    }
    // Without the system's roots: reading them for each server would take longer than most tests.
    let mut roots = rustls::RootCertStore::empty();
    if let Some(ca_file) = ca_file {
        let ca = CertificateDer::from_pem_file(ca_file).expect("a certificate");
        roots.add(ca).expect("a root");
    }
    let tls = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .pool_idle_timeout(Duration::from_secs(10))
        .tcp_nodelay(true)
        .http1_only()
        .build()
        .expect("a client")
}

/// A call that is being put together.
#[derive(Clone)]
pub struct Call {
    client: reqwest::Client,
    method: Method,
    url: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Call {
    pub(crate) fn new(client: &reqwest::Client, base: &str, method: &str, path: &str) -> Self {
        Self {
            client: client.clone(),
            method: method.parse().expect("a method"),
            url: format!("{base}{path}"),
            headers: Vec::new(),
            body: None,
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn cookie(self, token: &str) -> Self {
        self.header("cookie", &format!("hb_token={token}"))
    }

    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub fn body(mut self, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self.header("content-type", kind)
    }

    fn request(self) -> reqwest::RequestBuilder {
        let mut request = self.client.request(self.method, self.url);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        match self.body {
            Some(body) => request.body(body),
            None => request,
        }
    }

    /// Sends it; an error where the connection breaks before the whole answer is there.
    pub fn try_send(self) -> Result<Answer, reqwest::Error> {
        let line = format!("{} {}", self.method, self.url);
        RUNTIME.block_on(async {
            let response = self.request().timeout(TIMEOUT).send().await?;
            Ok(Answer {
                line,
                status: response.status().as_u16(),
                headers: response.headers().clone(),
                body: response.bytes().await?.to_vec(),
            })
        })
    }

    #[track_caller]
    pub fn send(self) -> Answer {
        let (client, method, url) = (self.client.clone(), self.method.clone(), self.url.clone());
        let answer = self
            .try_send()
            .unwrap_or_else(|error| panic!("{method} {url}: {error:?}"));
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        documented::check(method.as_str(), path, answer.status, || {
            let url = format!("{scheme}://{host}/api/openapi.json");
            RUNTIME.block_on(async { client.get(url).send().await.ok()?.json().await.ok() })
        });
        answer
    }

    /// Sends it in the background, for calls that stay open.
    pub fn send_later(self) -> std::thread::JoinHandle<Answer> {
        std::thread::spawn(move || self.send())
    }

    /// Sends it, and demands a status.
    #[track_caller]
    pub fn gives(self, status: u16) -> Answer {
        self.send().is(status)
    }

    /// Sends it, demands a 200 and reads the JSON.
    #[track_caller]
    pub fn ok(self) -> Value {
        self.gives(200).json()
    }

    /// Sends it, and demands an error of that status and code.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Answer {
        self.send().refused(status, code)
    }

    /// Opens it as a stream of events.
    #[track_caller]
    pub fn open(self) -> Sse {
        let line = format!("{} {}", self.method, self.url);
        let response = RUNTIME
            .block_on(self.request().header("accept", "text/event-stream").send())
            .unwrap_or_else(|error| panic!("{line}: {error:?}"));
        assert_eq!(response.status().as_u16(), 200, "{line}");
        let kind = &response.headers()["content-type"];
        assert_eq!(kind, "text/event-stream", "{line}");
        Sse::read(response)
    }
}

/// What came back.
pub struct Answer {
    line: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body: String = self.text().chars().take(2_000).collect();
        write!(f, "{} gave {}: {body}", self.line, self.status)
    }
}

impl Answer {
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// An error of that status and code.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        let answer = self.is(status);
        assert_eq!(answer.code(), code, "{answer:?}");
        answer
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        let kind = self.header("content-type");
        assert!(kind.starts_with("application/json"), "{kind}: {self:?}");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The error's code. An error is always JSON, with words for a person.
    #[track_caller]
    pub fn code(&self) -> String {
        let body = self.json();
        let words = body["error"].as_str().unwrap_or_default();
        assert!(!words.is_empty(), "{self:?}");
        body["code"].as_str().expect("a code").to_owned()
    }

    /// The fields that the error names.
    #[track_caller]
    pub fn fields(&self) -> Vec<String> {
        let body = self.json();
        body["fields"]
            .as_object()
            .map(|fields| fields.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// A header's value; empty where it is absent.
    pub fn header(&self, name: &str) -> String {
        self.headers
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .unwrap_or_default()
    }
}
