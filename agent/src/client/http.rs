//! The HTTP client for calls to a server: certificate authorities, proxies, idle connections.

use std::path::Path;
use std::time::Duration;

use super::answer::chain;
use crate::config::is_loopback;
use crate::trust;
use crate::version::version;

/// How long an idle connection is kept: shorter than by the server and by most proxies.
const IDLE_CONNECTION: Duration = Duration::from_secs(50);

/// The HTTP client can't be created from the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file of certificate authorities can no longer be read.
    #[error("HYPRBOX_CA_FILE: {0}")]
    CaFile(String),
    /// The TLS library can't be set up, mostly because the system has no root certificates.
    #[error("TLS can't be set up: {0}; install ca-certificates, or set HYPRBOX_CA_FILE")]
    Tls(String),
}

/// Creates a client for the server at `api_url` that trusts the system's certificate authorities,
/// or only those in `ca_file`.
pub(crate) fn http(api_url: &str, ca_file: Option<&Path>) -> Result<reqwest::Client, ClientError> {
    let tls = |e: &dyn std::error::Error| ClientError::Tls(chain(e));
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only if another thread has installed it in the meantime.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let mut builder = reqwest::Client::builder()
        .user_agent(format!("hyprbox-agent/{}", version()))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(15))
        .pool_idle_timeout(IDLE_CONNECTION)
        .http1_only();
    let url = reqwest::Url::parse(api_url).map_err(|e| tls(&e))?;
    if goes_direct(&url) {
        builder = builder.no_proxy();
    }
    builder = if let Some(path) = ca_file {
        let pem = std::fs::read(path).map_err(|e| ClientError::CaFile(e.to_string()))?;
        let trusting = trust::only(&pem).map_err(ClientError::CaFile)?;
        builder.tls_backend_preconfigured(trusting)
    } else if url.scheme() == "http" {
        // No root certificates are loaded, because they would be half of the idle memory.
        let roots = rustls::RootCertStore::empty();
        let empty = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        builder.tls_backend_preconfigured(empty)
    } else {
        builder
    };
    builder.build().map_err(|e| tls(&e))
}

/// Whether an address is used without the environment's proxy: a proxy can't reach this machine's
/// loopback, and `NO_PROXY=*` excludes every address, but the HTTP library honours it only for
/// names.
pub(crate) fn goes_direct(url: &reqwest::Url) -> bool {
    let excluded = ["NO_PROXY", "no_proxy"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    let excludes_all = |list: String| list.split(',').any(|entry| entry.trim() == "*");
    is_loopback(url) || excluded.is_some_and(excludes_all)
}
