//! Installing an agent on a machine: the command to paste, the script that it runs, and the
//! programs that the script fetches.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use hyprbox_protocol::{is_older, to_hex};

use super::agents::{Agents, PREFIX};
use crate::crypto::sha256;
use crate::http::{ApiError, Path};
use crate::signing::ServerSigner;
use crate::sync::{read, write};

/// Bytes of a file that are read and sent at once.
const PIECE_BYTES: usize = 16 * 1024;

const SCRIPT: &str = include_str!("../../packaging/install.sh");
const UNIT: &str = include_str!("../../packaging/hyprbox-agent.service");

/// The agents that this server ships. Cheap to clone.
#[derive(Clone)]
pub struct Install(Arc<Parts>);

struct Parts {
    agents: Agents,
    signer: ServerSigner,
    /// The version at the last [`Install::refresh_version`].
    version: RwLock<Option<Arc<str>>>,
}

impl Install {
    /// `agent_dir`: the agents' directory; by default the package's directory, or this program's.
    pub fn new(agent_dir: Option<PathBuf>, signer: ServerSigner) -> Self {
        Self(Arc::new(Parts {
            agents: Agents::new(agent_dir),
            signer,
            version: RwLock::default(),
        }))
    }

    /// Reads the version of the current agents. Blocking: one `stat` per file, and changed files
    /// are read.
    pub fn refresh_version(&self) {
        let version = self.0.agents.version().map(Arc::from);
        *write(&self.0.version) = version;
    }

    /// The version that this server ships, if an agent of version `theirs` is older.
    pub fn upgrade_of(&self, theirs: Option<&str>) -> Option<String> {
        let version = read(&self.0.version);
        let shipped = version.as_deref()?;
        is_older(theirs?, shipped).then(|| shipped.to_owned())
    }

    /// The body of `GET /install.sh`: the script, with the digest of each agent in it, and the key
    /// that signs jobs.
    fn script(&self) -> String {
        let agents = self.0.agents.all();
        let lines: Vec<String> = agents
            .iter()
            .map(|(machine, sha256)| format!("{machine} {sha256}"))
            .collect();
        // The package installs to /usr/bin, the script to /usr/local/bin.
        let unit = UNIT.replace("/usr/bin/", "/usr/local/bin/");
        SCRIPT
            .replace("@AGENTS@", &lines.join("\n"))
            .replace("@SIGN_KEYS@", &self.0.signer.known().public_line())
            .replace("@UNIT@", unit.trim_end())
    }

    /// The command to paste on a new machine: it fetches the script, compares it with the SHA-256
    /// in the command, and runs it with the one-time code. `server_url`: the server's address for
    /// the machine. `None` if this server ships no agents. Reads files.
    pub fn command(&self, server_url: &str, code: &str) -> Option<String> {
        if self.0.agents.all().is_empty() {
            return None;
        }
        let digest = to_hex(sha256(self.script()));
        Some(command(server_url, code, &digest))
    }

    /// The directory for agents, for messages that none are there.
    pub fn agent_dir(&self) -> String {
        self.0.agents.dir().display().to_string()
    }

    /// `/install.sh` and `/agent/…`: public, because they contain no secrets.
    pub fn routes(&self) -> axum::Router {
        axum::Router::new()
            .route("/install.sh", get(install_script))
            .route("/agent/{file}", get(agent))
            .with_state(self.clone())
    }
}

/// None of the values needs quotes in a shell: a URL that was checked with the settings, a code of
/// letters, digits, `-` and `_`, and hexadecimal digits.
fn command(public_url: &str, code: &str, sha256: &str) -> String {
    let insecure = if is_in_the_clear(public_url) {
        "HYPRBOX_INSECURE_HTTP=1 "
    } else {
        ""
    };
    format!(
        "s=$(curl -fsSL {public_url}/install.sh) && {{ printf '%s\\n' \"$s\" | sha256sum | grep -q ^{sha256} || \
         {{ echo 'The script does not match its checksum: nothing was done.' >&2; false; }}; }} && \
         printf '%s\\n' \"$s\" | sudo {insecure}sh -s -- {public_url} {code}"
    )
}

/// Whether agents would use this address without encryption over a network.
pub fn is_in_the_clear(public_url: &str) -> bool {
    let Some(rest) = public_url.strip_prefix("http://") else {
        return false;
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let address = host.parse::<std::net::IpAddr>();
    host != "localhost" && !address.is_ok_and(|address| address.is_loopback())
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|stopped| Err(ApiError::internal(stopped)))
}

async fn install_script(State(install): State<Install>) -> Result<Response, ApiError> {
    let script = off_thread(move || Ok(install.script())).await?;
    Ok(answer("text/x-shellscript; charset=utf-8", script))
}

/// A file about a machine's agent.
enum AgentAsset {
    /// The program: `hyprbox-agent-<machine>`.
    Program,
    /// The program's digest, in a file for `sha256sum -c`.
    Digest,
    /// Version, length and digest of the program and the package.
    Description,
    /// The Debian package.
    Package,
}

/// Endings of file names, with the asset.
const ENDINGS: [(&str, AgentAsset); 4] = [
    (".sha256", AgentAsset::Digest),
    (".json", AgentAsset::Description),
    (".deb", AgentAsset::Package),
    ("", AgentAsset::Program),
];

async fn agent(
    State(install): State<Install>,
    Path(file): Path<String>,
) -> Result<Response, ApiError> {
    off_thread(move || {
        let agents = &install.0.agents;
        let found = ENDINGS.iter().find_map(|(ending, asset)| {
            let machine = file.strip_suffix(ending)?.strip_prefix(PREFIX)?;
            Some((machine, asset))
        });
        let missing = || {
            // The endpoint is public, so the message does not name the directory's path.
            let message = "This server has no such agent. Put static builds into the directory in \
                           the server's HYPRBOX_AGENT_DIR";
            ApiError::not_found("agent_not_found", message)
        };
        let (machine, asset) = found.ok_or_else(missing)?;
        let bytes = |path: Option<PathBuf>| {
            let file = File::open(path.ok_or_else(missing)?).map_err(ApiError::internal)?;
            let length = file.metadata().map_err(ApiError::internal)?.len();
            let mut response = answer("application/octet-stream", in_pieces(file, length));
            let length = HeaderValue::from(length);
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, length);
            Ok(response)
        };
        match asset {
            AgentAsset::Program => bytes(agents.find(machine)),
            AgentAsset::Package => bytes(agents.find_package(machine)),
            AgentAsset::Digest => {
                let path = agents.find(machine).ok_or_else(missing)?;
                let sha256 = agents.sha256(&path).map_err(ApiError::internal)?;
                let line = format!("{sha256}  {PREFIX}{machine}\n");
                Ok(answer("text/plain; charset=utf-8", line))
            }
            AgentAsset::Description => {
                let described = agents.describe(machine).map_err(ApiError::internal)?;
                let text = serde_json::to_vec(&described.ok_or_else(missing)?)
                    .map_err(ApiError::internal)?;
                Ok(answer("application/json", text))
            }
        }
    })
    .await
}

/// Streams a file's first `length` bytes. Each piece is read once the client has taken the previous
/// one, so that a stalled download holds one piece. The body ends early if the file has shrunk.
fn in_pieces(file: File, length: u64) -> Body {
    let pieces = futures_util::stream::try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let read = tokio::task::spawn_blocking(move || {
            let size = PIECE_BYTES.min(usize::try_from(left).unwrap_or(usize::MAX));
            let mut piece = vec![0; size];
            file.read_exact(&mut piece)?;
            io::Result::Ok((Bytes::from(piece), (file, left - size as u64)))
        });
        read.await.map_err(io::Error::other)?.map(Some)
    });
    Body::from_stream(pieces)
}

fn answer(kind: &'static str, body: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (StatusCode::OK, headers, body.into()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_over_a_network_is_marked_as_insecure() {
        for safe in [
            "https://jobs.example.org",
            "http://127.0.0.1:4000",
            "http://localhost:4000",
            "http://[::1]:4000",
        ] {
            assert!(!is_in_the_clear(safe), "{safe}");
            assert!(!command(safe, "hbe_x", "00").contains("INSECURE"));
        }
        for unsafe_url in [
            "http://10.0.0.7:4000",
            "http://jobs.example.org/",
            "http://localhost.evil",
        ] {
            assert!(is_in_the_clear(unsafe_url), "{unsafe_url}");
            let line = command(unsafe_url, "hbe_x", "00");
            assert!(
                line.contains("sudo HYPRBOX_INSECURE_HTTP=1 sh -s -- "),
                "{line}"
            );
        }
    }

    #[test]
    fn the_script_ends_with_exactly_one_newline() {
        assert!(SCRIPT.ends_with("\"$@\"\n") && !SCRIPT.ends_with("\n\n"));
    }
}
