//! The WebDriver protocol, as much of it as the tests need: JSON over HTTP to a chromedriver
//! process of one's own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};

/// Does the I/O of every browser.
static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
});

/// How long one command may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How often a chromedriver is started before that counts as a fault.
const STARTS: usize = 5;

/// A chromedriver with one open session.
pub(crate) struct Driver {
    child: Child,
    client: reqwest::Client,
    session: String,
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Ends the browser; where it hangs, the driver's end does.
        let _closed = self.send(reqwest::Method::DELETE, "", None);
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Driver {
    /// Starts both with these capabilities.
    pub(crate) fn start(capabilities: &Value) -> Self {
        let (child, port) = (0..STARTS)
            .find_map(|_| start())
            .expect("chromedriver says its port");
        let mut driver = Self {
            child,
            client: client(),
            session: format!("http://127.0.0.1:{port}/session"),
        };
        let opened = driver
            .send(
                reqwest::Method::POST,
                "",
                Some(&json!({"capabilities": {"alwaysMatch": capabilities}})),
            )
            .unwrap_or_else(|error| {
                panic!("no browser: {error}; apt-get install chromium chromium-driver")
            });
        let id = opened["sessionId"].as_str().expect("a session's id");
        driver.session = format!("{}/{id}", driver.session);
        driver
    }

    /// A POST command; what it gives.
    pub(crate) fn post(&self, command: &str, body: &Value) -> Result<Value, String> {
        self.send(reqwest::Method::POST, command, Some(body))
    }

    /// A GET command; what it gives.
    pub(crate) fn get(&self, command: &str) -> Result<Value, String> {
        self.send(reqwest::Method::GET, command, None)
    }

    /// A command of the developer tools.
    #[track_caller]
    pub(crate) fn devtools(&self, command: &str, params: Value) -> Value {
        let body = json!({"cmd": command, "params": params});
        self.post("/goog/cdp/execute", &body)
            .unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Any command; what it gives.
    pub(crate) fn send(
        &self,
        method: reqwest::Method,
        command: &str,
        body: Option<&Value>,
    ) -> Result<Value, String> {
        let mut request = self
            .client
            .request(method, format!("{}{command}", self.session));
        if let Some(body) = body {
            request = request.json(body);
        }
        RUNTIME.block_on(async {
            let response = request
                .timeout(TIMEOUT)
                .send()
                .await
                .map_err(|error| format!("{error:?}"))?;
            let is_ok = response.status().is_success();
            let mut answer: Value = response.json().await.map_err(|error| error.to_string())?;
            let value = answer["value"].take();
            if is_ok {
                Ok(value)
            } else {
                Err(format!("{}: {}", value["error"], value["message"]))
            }
        })
    }
}

/// Starts a chromedriver; `None` where it ended before it had a port. It takes a free one of IPv6,
/// wants the same of IPv4, and gives up where another test has that.
fn start() -> Option<(Child, u16)> {
    let mut child = Command::new("chromedriver")
        .args(["--port=0", "--log-level=SEVERE"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "chromedriver can't be started ({error}); apt-get install chromium chromium-driver"
            )
        });
    let port = port_of(&mut child);
    if port.is_none() {
        let _gone = child.kill();
        let _status = child.wait();
    }
    Some((child, port?))
}

fn port_of(child: &mut Child) -> Option<u16> {
    let output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut lines = output.lines().map_while(Result::ok);
    let port = lines.find_map(|line| {
        let (_, rest) = line.split_once("started successfully on port ")?;
        rest.trim_end_matches('.').parse().ok()
    });
    // Read on, so that the pipe never fills.
    std::thread::spawn(move || lines.for_each(drop));
    port
}

fn client() -> reqwest::Client {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another test was quicker.
        let _installed = rustls::crypto::ring::default_provider().install_default();
    }
    let tls = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .build()
        .expect("a client")
}
