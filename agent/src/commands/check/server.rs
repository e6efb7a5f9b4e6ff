//! What answers at the server's address, and whether it knows this node.

use std::time::Duration;

use reqwest::Url;
use reqwest::header::{DATE, LOCATION};

use super::way::{self, Proxy};
use super::{Finding, clock, tls};
use crate::client::{self, CallError, Client, PollRequest};
use crate::config::{Config, is_in_the_clear};

const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let Ok(url) = Url::parse(&config.api_url) else {
        return Vec::new();
    };
    let mut findings = way::look(&url).await;
    if findings.iter().any(|finding| finding.mend.is_some()) {
        return findings;
    }
    match health(config, &url).await {
        Ok(date) => findings.extend(date.and_then(|date| clock::look(&date))),
        Err(wrong) => {
            findings.push(wrong);
            return findings;
        }
    }
    findings.extend(token(config).await);
    findings
}

/// The `Date` of an answer, whatever else it says.
async fn health(config: &Config, url: &Url) -> Result<Option<String>, Finding> {
    let http = client::http(&config.api_url, config.ca_file.as_deref())
        .map_err(|error| Finding::wrong("tls", error.to_string(), "see above"))?;
    let sent = http
        .get(format!("{}/healthz", config.api_url))
        .timeout(PATIENCE)
        .send()
        .await;
    let host = url.host_str().unwrap_or_default();
    let answer = sent.map_err(|error| unanswered(&error.without_url(), url, host))?;
    let header = |name| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
    if answer.status().is_redirection() {
        let to = header(LOCATION).unwrap_or_else(|| "elsewhere".to_owned());
        let to = to.trim_end_matches("/healthz");
        return Err(Finding::wrong(
            "server",
            format!(
                "{} sends on to {to}, and redirects are never followed",
                config.api_url
            ),
            format!("set HYPRBOX_API_URL={to}"),
        ));
    }
    Ok(header(DATE))
}

fn unanswered(error: &reqwest::Error, url: &Url, host: &str) -> Finding {
    if let Some(finding) = tls::explain(error, host) {
        return finding;
    }
    let words = client::chain(error);
    if let Some(proxy) = Proxy::of(url) {
        return Finding::wrong(
            "proxy",
            format!("{} gives no way to {host}: {words}", proxy.shown()),
            format!(
                "have the proxy let this machine through to {host}, put the right user and password into its address, or have {host} in NO_PROXY"
            ),
        );
    }
    Finding::wrong(
        "server",
        format!(
            "{} can't be reached: {words}",
            url.as_str().trim_end_matches('/')
        ),
        "check HYPRBOX_API_URL, that the server runs, and the firewalls on the way",
    )
}

/// One poll that takes no job tells of the server and of the token.
async fn token(config: &Config) -> Vec<Finding> {
    let url = &config.api_url;
    let client = match Client::new(config) {
        Ok(client) => client,
        Err(e) => return vec![Finding::wrong("server", e.to_string(), "see above")],
    };
    let poll = PollRequest {
        instance: None,
        wait_seconds: 0,
        capacity: 0,
        running: &[],
    };
    let reached = || {
        let open = if is_in_the_clear(url) {
            "; over plain http, where anyone on the way can read and change what is sent"
        } else {
            ""
        };
        Finding::good("server", format!("{url} answers{open}"))
    };
    match client.pending(&poll).await {
        Ok(_) => vec![
            reached(),
            Finding::good("token", format!("it is that of node {}", config.node_id)),
        ],
        Err(CallError::Unauthorized { status: 403 }) => vec![
            reached(),
            Finding::wrong(
                "token",
                format!("it is not that of node {}", config.node_id),
                "set HYPRBOX_NODE_ID to the token's node, or make this node a token of its own and set \
                 HYPRBOX_NODE_TOKEN",
            ),
        ],
        Err(CallError::Unauthorized { .. }) => vec![
            reached(),
            Finding::wrong(
                "token",
                "the server doesn't know it, or it was revoked",
                "make a new token for this node on the server and set HYPRBOX_NODE_TOKEN",
            ),
        ],
        Err(e @ CallError::Network(_)) => vec![Finding::wrong(
            "server",
            format!("{url} can't be reached: {e}"),
            "check HYPRBOX_API_URL, that the server runs, and the firewalls on the way",
        )],
        Err(CallError::Status {
            status: 503, text, ..
        }) => vec![Finding::wrong(
            "server",
            format!("{url} can't do its work now: {text}"),
            "run `hyprbox doctor` on the server",
        )],
        Err(e @ (CallError::Status { .. } | CallError::Foreign { .. })) => vec![Finding::wrong(
            "server",
            format!("{url} doesn't answer as a HyprBox server: {e}"),
            "check HYPRBOX_API_URL, and any proxy or firewall between here and there",
        )],
    }
}
