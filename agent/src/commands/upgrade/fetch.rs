//! What the server ships, and the way from there to a file.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use hyprbox_protocol::{ErrorBody, ShippedAgent, ShippedFile, to_hex};
use reqwest::{Response, StatusCode};
use ring::digest::{Context, SHA256};

use crate::client;

/// For an answer to begin, and for each piece of it: a file may take long over a slow line, but no
/// line is silent for so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than any agent has, as a server that never ends must not fill the disk.
const MAX_BYTES: u64 = 256 << 20;

/// The server's agents for this machine.
pub(super) struct Shop {
    http: reqwest::Client,
    base: String,
    machine: String,
}

impl Shop {
    pub(super) fn open(api_url: &str, ca_file: Option<&Path>) -> Result<Self, String> {
        let name = nix::sys::utsname::uname().map_err(|error| error.desc().to_owned())?;
        Ok(Self {
            http: client::http(api_url, ca_file).map_err(|error| error.to_string())?,
            base: api_url.to_owned(),
            machine: name.machine().to_string_lossy().into_owned(),
        })
    }

    /// What there is for this machine.
    pub(super) async fn look(&self) -> Result<ShippedAgent, String> {
        let answer = self.get(".json").await?;
        let text = tokio::time::timeout(PATIENCE, client::read(answer, client::LONGEST_ANSWER))
            .await
            .map_err(|_| self.silent())?
            .map_err(|error| error.to_string())?;
        let shipped: ShippedAgent = serde_json::from_slice(&text).map_err(|error| {
            format!("{} doesn't answer as a HyprBox server: {error}", self.base)
        })?;
        Ok(shipped)
    }

    /// Brings a file, and holds it to its length and SHA-256.
    pub(super) async fn fetch(
        &self,
        ending: &str,
        wanted: &ShippedFile,
        into: &mut File,
    ) -> Result<(), String> {
        if wanted.bytes > MAX_BYTES {
            return Err(format!(
                "the server names {} bytes, which is no agent",
                wanted.bytes
            ));
        }
        let mut answer = self.get(ending).await?;
        let mut digest = Context::new(&SHA256);
        let mut count = 0;
        loop {
            let piece = tokio::time::timeout(PATIENCE, answer.chunk())
                .await
                .map_err(|_| self.silent())?
                .map_err(|error| {
                    let error = client::chain(&error.without_url());
                    format!(
                        "the line broke after {count} of {} bytes: {error}; nothing was changed",
                        wanted.bytes
                    )
                })?;
            let Some(piece) = piece else { break };
            count += piece.len() as u64;
            if count > wanted.bytes {
                break;
            }
            digest.update(&piece);
            into.write_all(&piece).map_err(|error| {
                format!("what came can't be written: {error}; nothing was changed")
            })?;
        }
        if count != wanted.bytes || to_hex(digest.finish()) != wanted.sha256 {
            return Err(
                "what came is not what the server names by its SHA-256; nothing was changed"
                    .to_owned(),
            );
        }
        Ok(())
    }

    async fn get(&self, ending: &str) -> Result<Response, String> {
        let file = format!("hyprbox-agent-{}{ending}", self.machine);
        let sent = self.http.get(format!("{}/agent/{file}", self.base)).send();
        let answer = tokio::time::timeout(PATIENCE, sent)
            .await
            .map_err(|_| self.silent())?
            .map_err(|error| client::unreachable(&self.base, error))?;
        let status = answer.status();
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let body = tokio::time::timeout(PATIENCE, client::read(answer, client::LONGEST_ANSWER))
            .await
            .map_err(|_| self.silent())?
            .unwrap_or_default();
        Err(match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(body) if status == StatusCode::NOT_FOUND => {
                format!("{} has no {file} to give: {}", self.base, body.error)
            }
            Ok(body) => format!("{}: {}", self.base, body.error),
            Err(_) => format!("{} doesn't answer as a HyprBox server: {status}", self.base),
        })
    }

    fn silent(&self) -> String {
        format!("{} is silent; nothing was changed", self.base)
    }
}
