//! The server's answers: reading them, and telling them from answers of something in between.

use std::time::Duration;

use hyprbox_protocol::ErrorBody;
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};

/// The most bytes in an answer that carries no job.
pub(crate) const LONGEST_ANSWER: usize = 64 * 1024;
/// Bytes of an answer that are kept in one piece while the rest arrives.
const SEGMENT: usize = 256 * 1024;
/// The most characters of an answer in an error message.
const EXCERPT_CHARS: usize = 200;

/// Why a call failed. Only [`CallError::Unauthorized`] and [`CallError::Status`] come from the
/// server itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The server's 401 or 403: the token is wrong, revoked or another node's.
    #[error("unauthorized — check HYPRBOX_NODE_TOKEN")]
    Unauthorized { status: u16 },
    /// Another error of the server: JSON with a `code`.
    #[error("HTTP {status}: {text}")]
    Status {
        status: u16,
        text: String,
        retry_after: Option<Duration>,
    },
    /// No answer, or an incomplete one.
    #[error("{0}")]
    Network(String),
    /// An answer without the server's shape, from something between agent and server, such as a
    /// proxy or a firewall.
    #[error("HTTP {status} from something between agent and server: {excerpt}")]
    Foreign {
        status: u16,
        excerpt: String,
        retry_after: Option<Duration>,
    },
}

impl CallError {
    /// The status of an answer of the server itself.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            CallError::Status { status, .. } | CallError::Unauthorized { status } => Some(*status),
            CallError::Network(_) | CallError::Foreign { .. } => None,
        }
    }

    /// The status of an answer that is not the server's.
    pub(crate) fn foreign_status(&self) -> Option<u16> {
        match self {
            CallError::Foreign { status, .. } => Some(*status),
            CallError::Status { .. } | CallError::Unauthorized { .. } | CallError::Network(_) => {
                None
            }
        }
    }

    /// How long to wait before the next call, if the answer says so.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            CallError::Status { retry_after, .. } | CallError::Foreign { retry_after, .. } => {
                *retry_after
            }
            CallError::Unauthorized { .. } | CallError::Network(_) => None,
        }
    }
}

/// Reads an answer other than 200 as an error.
pub(super) async fn refusal(answer: Response) -> CallError {
    let status = answer.status();
    let retry_after = answer
        .headers()
        .get(RETRY_AFTER)
        .and_then(|v| v.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    if status.is_redirection() {
        return CallError::Foreign {
            status: status.as_u16(),
            excerpt: "a redirect, which is never followed; check HYPRBOX_API_URL".to_owned(),
            retry_after,
        };
    }
    let body = match read(answer, LONGEST_ANSWER).await {
        Ok(body) => body,
        // Of an incomplete answer only the status is known.
        Err(CallError::Network(_)) => Vec::new(),
        Err(error) => return error,
    };
    match serde_json::from_slice::<ErrorBody>(&body) {
        Ok(_) if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            CallError::Unauthorized {
                status: status.as_u16(),
            }
        }
        Ok(body) => CallError::Status {
            status: status.as_u16(),
            text: excerpt_of(&body.error),
            retry_after,
        },
        Err(_) => foreign(status, &body, retry_after),
    }
}

/// The error for an answer without the server's shape, with the beginning of its body.
pub(crate) fn foreign(status: StatusCode, body: &[u8], retry_after: Option<Duration>) -> CallError {
    let start = &body[..body.len().min(EXCERPT_CHARS * 4)];
    let mut excerpt = excerpt_of(&String::from_utf8_lossy(start));
    if excerpt.is_empty() {
        excerpt = status
            .canonical_reason()
            .unwrap_or("an empty answer")
            .to_owned();
    }
    CallError::Foreign {
        status: status.as_u16(),
        excerpt,
        retry_after,
    }
}

/// The beginning of a text, as one line.
fn excerpt_of(text: &str) -> String {
    let printable = text.replace(|c: char| c.is_control() || c.is_whitespace(), " ");
    let words: Vec<&str> = printable
        .split(' ')
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").chars().take(EXCERPT_CHARS).collect()
}

/// Reads an answer of at most `longest` bytes. A longer one is not the server's.
pub(crate) async fn read(mut answer: Response, longest: usize) -> Result<Vec<u8>, CallError> {
    let status = answer.status();
    // In segments, because a growing buffer would be copied, and held twice, again and again.
    let (mut full, mut segment) = (Vec::new(), Vec::new());
    let mut length = 0;
    loop {
        let part = answer.chunk().await;
        let part = part.map_err(|error| CallError::Network(chain(&error.without_url())))?;
        let Some(part) = part else { break };
        length += part.len();
        if length > longest {
            return Err(CallError::Foreign {
                status: status.as_u16(),
                excerpt: format!("an answer of more than {longest} bytes"),
                retry_after: None,
            });
        }
        segment.extend_from_slice(&part);
        if segment.len() >= SEGMENT {
            full.push(std::mem::take(&mut segment));
        }
    }
    if full.is_empty() {
        return Ok(segment);
    }
    full.push(segment);
    Ok(full.concat())
}

/// The message for a `url` that does not answer.
#[cfg(target_os = "linux")]
pub(crate) fn unreachable(url: &str, error: reqwest::Error) -> String {
    format!("{url} can't be reached: {}", chain(&error.without_url()))
}

/// An error and its causes in one line, without repetitions.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}
