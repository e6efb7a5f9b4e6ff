//! `hyprbox health`: asks the server on this machine whether it is ready. For health checks of
//! containers, whose image has no other program.

use std::time::Duration;

use clap::{ArgMatches, Command};
use hyprbox_protocol::ErrorBody;

use crate::config::{self, Config};

/// How long the answer may take. The server waits for its database for 5 s.
const PATIENCE: Duration = Duration::from_secs(8);

/// Defines the command.
pub fn command() -> Command {
    config::with_every_flag(
        Command::new("health")
            .about("Ask the server on this machine whether it is ready")
            .long_about(
                "Asks the server on this machine whether it is ready, as /readyz does. Exits with 0 if it is, and with 1 otherwise. \
                 Reads the same settings as the server, and /etc/hyprbox/server.env.",
            ),
    )
}

/// Runs the command. Returns the text to print.
pub fn run(arguments: &ArgMatches) -> Result<String, String> {
    let config = config::operators_config(arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(ask(&config))
}

async fn ask(config: &Config) -> Result<String, String> {
    // An earlier install of the same provider is fine.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let url = format!("{scheme}://{}/readyz", config::reachable(config.listen));
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        // The certificate has the server's public name. Nothing secret is sent or received.
        .tls_danger_accept_invalid_certs(true)
        .build()
        .map_err(|error| error.to_string())?;
    let answer = client.get(&url).send().await;
    let answer = answer.map_err(|error| format!("{url} does not answer: {}", cause(&error)))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(format!("{url} is ready"));
    }
    let message = match answer.json::<ErrorBody>().await {
        Ok(body) => body.error,
        Err(_) => "the answer is not this server's".to_owned(),
    };
    Err(format!("{url}: {}: {message}", status.as_u16()))
}

/// The innermost reason, such as `Connection refused`.
fn cause(error: &reqwest::Error) -> String {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}
