//! Checks that a HyprBox server answers, and that it accepts this node's token.

use std::time::Duration;

use reqwest::Url;
use reqwest::header::{DATE, LOCATION};

use super::connection::{self, Proxy};
use super::{Finding, clock, tls};
use crate::client::{self, CallError, Client, ClientError, PollRequest};
use crate::config::{Config, is_in_the_clear};

const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let Ok(url) = Url::parse(&config.api_url) else {
        return Vec::new();
    };
    let mut findings = connection::check(&url).await;
    if findings.iter().any(|finding| finding.fix.is_some()) {
        return findings;
    }
    match server_date(config, &url).await {
        Ok(date) => findings.extend(date.and_then(|date| clock::compare(&date))),
        Err(finding) => {
            findings.push(finding);
            return findings;
        }
    }
    findings.extend(check_token(config).await);
    findings
}

/// Returns the `Date` header of the server's answer, whatever its status.
async fn server_date(config: &Config, url: &Url) -> Result<Option<String>, Finding> {
    let http = client::http(&config.api_url, config.ca_file.as_deref())
        .map_err(|error| unusable(&error))?;
    let sent = http
        .get(format!("{}/healthz", config.api_url))
        .timeout(PATIENCE)
        .send()
        .await;
    let host = url.host_str().unwrap_or_default();
    let answer = sent.map_err(|error| explain_failure(&error.without_url(), url, host))?;
    let header = |name| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
    if answer.status().is_redirection() {
        let to = header(LOCATION).unwrap_or_else(|| "another address".to_owned());
        let to = to.trim_end_matches("/healthz");
        return Err(Finding::wrong(
            "server",
            format!(
                "{} redirects to {to}, and the agent never follows redirects",
                config.api_url
            ),
            format!("set HYPRBOX_API_URL={to}"),
        ));
    }
    Ok(header(DATE))
}

/// The client can't even be set up with these settings.
fn unusable(error: &ClientError) -> Finding {
    Finding::wrong(
        "tls",
        error.to_string(),
        "correct HYPRBOX_CA_FILE; if it is not set, install ca-certificates",
    )
}

fn explain_failure(error: &reqwest::Error, url: &Url, host: &str) -> Finding {
    if let Some(finding) = tls::explain(error, host) {
        return finding;
    }
    let cause = client::chain(error);
    if let Some(proxy) = Proxy::of(url) {
        return Finding::wrong(
            "proxy",
            format!("{} does not connect to {host}: {cause}", proxy.shown()),
            format!(
                "allow this machine to reach {host} in the proxy's settings, correct the user and password in the proxy's address, or add {host} to NO_PROXY"
            ),
        );
    }
    Finding::wrong(
        "server",
        format!(
            "{} can't be reached: {cause}",
            url.as_str().trim_end_matches('/')
        ),
        "check HYPRBOX_API_URL, that the server is running, and that no firewall in between blocks the port",
    )
}

/// Sends one poll that takes no job: its answer shows whether the server accepts the token.
async fn check_token(config: &Config) -> Vec<Finding> {
    let url = &config.api_url;
    let client = match Client::new(config) {
        Ok(client) => client,
        Err(error) => return vec![unusable(&error)],
    };
    let poll = PollRequest {
        instance: None,
        wait_seconds: 0,
        capacity: 0,
        running: &[],
    };
    let reached = || {
        let warning = if is_in_the_clear(url) {
            "; over plain http, so anyone on the network path can read and change the traffic"
        } else {
            ""
        };
        Finding::good("server", format!("{url} answers{warning}"))
    };
    match client.pending(&poll).await {
        Ok(_) => vec![
            reached(),
            Finding::good("token", format!("it belongs to node {}", config.node_id)),
        ],
        Err(CallError::Unauthorized { status: 403 }) => vec![
            reached(),
            Finding::wrong(
                "token",
                format!("it does not belong to node {}", config.node_id),
                "set HYPRBOX_NODE_ID to the token's node, or create a token for this node and set \
                 HYPRBOX_NODE_TOKEN",
            ),
        ],
        Err(CallError::Unauthorized { .. }) => vec![
            reached(),
            Finding::wrong(
                "token",
                "the server does not know it, or it was revoked",
                "create a token for this node on the server and set HYPRBOX_NODE_TOKEN",
            ),
        ],
        Err(e @ CallError::Network(_)) => vec![Finding::wrong(
            "server",
            format!("{url} can't be reached: {e}"),
            "check HYPRBOX_API_URL, that the server is running, and that no firewall in between blocks the port",
        )],
        Err(CallError::Status {
            status: 503, text, ..
        }) => vec![Finding::wrong(
            "server",
            format!("{url} can't take requests right now: {text}"),
            "run `hyprbox doctor` on the server",
        )],
        Err(e @ (CallError::Status { .. } | CallError::Foreign { .. })) => vec![Finding::wrong(
            "server",
            format!("{url} doesn't answer as a HyprBox server: {e}"),
            "check HYPRBOX_API_URL, and any proxy or firewall in between",
        )],
    }
}
