//! Asks the server which agent it ships, and downloads it.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use hyprbox_protocol::{ErrorBody, ShippedAgent, ShippedFile, to_hex};
use reqwest::{Response, StatusCode};
use ring::digest::{Context, SHA256};

use crate::client;

/// Time limit for a response to begin, and for each piece of it. A file may take long over a slow
/// connection, but no working connection is silent for this long.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// Larger than any agent: a response that never ends must not fill the disk.
const MAX_BYTES: u64 = 256 << 20;

/// The agents that the server ships for this machine's architecture.
pub(super) struct ShippedAgents {
    http: reqwest::Client,
    base: String,
    machine: String,
}

impl ShippedAgents {
    pub(super) fn connect(api_url: &str, ca_file: Option<&Path>) -> Result<Self, String> {
        let name = nix::sys::utsname::uname().map_err(|error| error.desc().to_owned())?;
        Ok(Self {
            http: client::http(api_url, ca_file).map_err(|error| error.to_string())?,
            base: api_url.to_owned(),
            machine: name.machine().to_string_lossy().into_owned(),
        })
    }

    /// Asks the server for the shipped agent's version, size and SHA-256.
    pub(super) async fn query(&self) -> Result<ShippedAgent, String> {
        let response = self.get(".json").await?;
        let text = tokio::time::timeout(
            SILENCE_LIMIT,
            client::read(response, client::LONGEST_ANSWER),
        )
        .await
        .map_err(|_| self.timed_out())?
        .map_err(|error| error.to_string())?;
        let shipped: ShippedAgent = serde_json::from_slice(&text).map_err(|error| {
            format!("{} doesn't answer as a HyprBox server: {error}", self.base)
        })?;
        Ok(shipped)
    }

    /// Downloads a file, and checks its length and SHA-256.
    pub(super) async fn download(
        &self,
        ending: &str,
        expected: &ShippedFile,
        into: &mut File,
    ) -> Result<(), String> {
        if expected.bytes > MAX_BYTES {
            return Err(format!(
                "the server announces {} bytes, which is too large for an agent; nothing was changed",
                expected.bytes
            ));
        }
        let mut response = self.get(ending).await?;
        let mut digest = Context::new(&SHA256);
        let mut count = 0;
        loop {
            let piece = tokio::time::timeout(SILENCE_LIMIT, response.chunk())
                .await
                .map_err(|_| self.timed_out())?
                .map_err(|error| {
                    let error = client::chain(&error.without_url());
                    format!(
                        "the connection broke after {count} of {} bytes: {error}; nothing was changed",
                        expected.bytes
                    )
                })?;
            let Some(piece) = piece else { break };
            count += piece.len() as u64;
            if count > expected.bytes {
                break;
            }
            digest.update(&piece);
            into.write_all(&piece).map_err(|error| {
                format!("the download can't be written: {error}; nothing was changed")
            })?;
        }
        if count != expected.bytes || to_hex(digest.finish()) != expected.sha256 {
            return Err(
                "the download does not match the SHA-256 from the server; nothing was changed"
                    .to_owned(),
            );
        }
        Ok(())
    }

    async fn get(&self, ending: &str) -> Result<Response, String> {
        let file = format!("hyprbox-agent-{}{ending}", self.machine);
        let request = self.http.get(format!("{}/agent/{file}", self.base)).send();
        let response = tokio::time::timeout(SILENCE_LIMIT, request)
            .await
            .map_err(|_| self.timed_out())?
            .map_err(|error| client::unreachable(&self.base, error))?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(response);
        }
        let body = tokio::time::timeout(
            SILENCE_LIMIT,
            client::read(response, client::LONGEST_ANSWER),
        )
        .await
        .map_err(|_| self.timed_out())?
        .unwrap_or_default();
        Err(match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(body) if status == StatusCode::NOT_FOUND => {
                format!("{} has no {file}: {}", self.base, body.error)
            }
            Ok(body) => format!("{}: {}", self.base, body.error),
            Err(_) => format!("{} doesn't answer as a HyprBox server: {status}", self.base),
        })
    }

    fn timed_out(&self) -> String {
        format!(
            "{} has sent nothing for {} s; nothing was changed",
            self.base,
            SILENCE_LIMIT.as_secs()
        )
    }
}
