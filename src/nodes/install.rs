//! How an agent gets onto a machine: the script, the programs that it fetches, and the line to
//! paste that begins it.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use hyprbox_protocol::{is_older, to_hex};
use sha2::{Digest, Sha256};

use super::agents::{Agents, PREFIX};
use crate::http::{ApiError, Path};

/// Bytes of a file that are read and sent at a time.
const PIECE_BYTES: usize = 16 * 1024;

const SCRIPT: &str = include_str!("../../packaging/install.sh");
const UNIT: &str = include_str!("../../packaging/hyprbox-agent.service");

/// The agents that this server ships; clones share it.
#[derive(Clone)]
pub struct Install(Arc<Parts>);

struct Parts {
    agents: Agents,
    /// What [`Install::look`] found last.
    version: RwLock<Option<Arc<str>>>,
}

impl Install {
    /// `agent_dir`: where the agents are; without it where the package puts them, or beside this
    /// program.
    pub fn new(agent_dir: Option<PathBuf>) -> Self {
        Self(Arc::new(Parts {
            agents: Agents::new(agent_dir),
            version: RwLock::default(),
        }))
    }

    /// Looks which version the agents have that are there now. Blocking: a `stat` a file, and files
    /// that have changed are read.
    pub fn look(&self) {
        let found = self.0.agents.version().map(Arc::from);
        let mut version = self
            .0
            .version
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *version = found;
    }

    /// The version that this server ships, where an agent of version `theirs` is older than that.
    pub fn upgrade_of(&self, theirs: Option<&str>) -> Option<String> {
        let version = self
            .0
            .version
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let shipped = version.as_deref()?;
        is_older(theirs?, shipped).then(|| shipped.to_owned())
    }

    /// What `GET /install.sh` gives: the script with the digest of each agent in it.
    fn script(&self) -> String {
        let agents = self.0.agents.all();
        let lines: Vec<String> = agents
            .iter()
            .map(|(machine, sha256)| format!("{machine} {sha256}"))
            .collect();
        // What the package installs is in /usr/bin, what the script does in /usr/local/bin.
        let unit = UNIT.replace("/usr/bin/", "/usr/local/bin/");
        SCRIPT
            .replace("@AGENTS@", &lines.join("\n"))
            .replace("@UNIT@", unit.trim_end())
    }

    /// The line to paste on a new machine: it fetches the script, compares it with the SHA-256 that
    /// stands in the line itself, and runs it with the one-time code. `server_url`: where the
    /// machine reaches this server. `None` where this server has no agent to give. It reads files.
    pub fn command(&self, server_url: &str, code: &str) -> Option<String> {
        if self.0.agents.all().is_empty() {
            return None;
        }
        let sha256 = to_hex(Sha256::digest(self.script()));
        Some(command(server_url, code, &sha256))
    }

    /// Where an operator may put agents, for the words that say there are none.
    pub fn place(&self) -> String {
        self.0.agents.place().display().to_string()
    }

    /// `/install.sh` and `/agent/…`: open, as they hold nothing secret.
    pub fn routes(&self) -> axum::Router {
        axum::Router::new()
            .route("/install.sh", get(install_script))
            .route("/agent/{file}", get(agent))
            .with_state(self.clone())
    }
}

/// The values hold nothing that a shell would read otherwise: a URL that the configuration checked,
/// a code of letters, digits, `-` and `_`, and hex.
fn command(public_url: &str, code: &str, sha256: &str) -> String {
    let insecure = if is_in_the_clear(public_url) {
        "HYPRBOX_INSECURE_HTTP=1 "
    } else {
        ""
    };
    format!(
        "s=$(curl -fsSL {public_url}/install.sh) && {{ printf '%s\\n' \"$s\" | sha256sum | grep -q ^{sha256} || \
         {{ echo 'This is not the script that the line names: nothing was done.' >&2; false; }}; }} && \
         printf '%s\\n' \"$s\" | sudo {insecure}sh -s -- {public_url} {code}"
    )
}

/// Whether agents would talk to this address in the clear, over a network.
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

/// What is asked for of a machine's agent.
enum Asked {
    /// The program: `hyprbox-agent-<machine>`.
    Program,
    /// Its digest, in a file for `sha256sum -c`.
    Digest,
    /// Version, length and digest of all that there is.
    Description,
    /// The Debian package.
    Package,
}

/// Endings of a name, with what they ask for.
const ENDINGS: [(&str, Asked); 4] = [
    (".sha256", Asked::Digest),
    (".json", Asked::Description),
    (".deb", Asked::Package),
    ("", Asked::Program),
];

async fn agent(
    State(install): State<Install>,
    Path(file): Path<String>,
) -> Result<Response, ApiError> {
    off_thread(move || {
        let agents = &install.0.agents;
        let found = ENDINGS.iter().find_map(|(ending, asked)| {
            let machine = file.strip_suffix(ending)?.strip_prefix(PREFIX)?;
            Some((machine, asked))
        });
        let missing = || {
            // Anybody may ask: the folder's path is for the log and for an ADMIN's pages.
            let words = "This server has no such agent; HYPRBOX_AGENT_DIR on the server names the folder for static builds";
            ApiError::not_found("agent_not_found", words)
        };
        let (machine, asked) = found.ok_or_else(missing)?;
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
        match asked {
            Asked::Program => bytes(agents.find(machine)),
            Asked::Package => bytes(agents.find_package(machine)),
            Asked::Digest => {
                let path = agents.find(machine).ok_or_else(missing)?;
                let sha256 = agents.sha256(&path).map_err(ApiError::internal)?;
                let line = format!("{sha256}  {PREFIX}{machine}\n");
                Ok(answer("text/plain; charset=utf-8", line))
            }
            Asked::Description => {
                let described = agents.describe(machine).map_err(ApiError::internal)?;
                let text = serde_json::to_vec(&described.ok_or_else(missing)?)
                    .map_err(ApiError::internal)?;
                Ok(answer("application/json", text))
            }
        }
    })
    .await
}

/// A file's first `length` bytes, each piece read when the client has taken the one before: a
/// download that nobody reads holds no more than that. The body breaks off if the file has become
/// shorter.
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
    fn plain_http_is_named_where_it_is_a_danger() {
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
    fn the_script_ends_as_a_shell_that_cut_its_last_newline_will_print_it() {
        assert!(SCRIPT.ends_with("\"$@\"\n") && !SCRIPT.ends_with("\n\n"));
    }
}
