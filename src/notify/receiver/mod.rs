//! What each kind of receiver gets, and one attempt to send it.

mod chat;
mod email;
mod push;
mod text;
mod webhook;

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use serde_json::Value;

use super::settings::Settings;
use crate::clock::{self, Timestamp};
use crate::store::channel::ChannelKind;

/// How long an attempt may take as a whole.
const ATTEMPT: Duration = Duration::from_secs(10);
/// How much of an answer is read, in bytes.
const READ_MAX: usize = 64 * 1024;
/// How much of an answer is kept, in characters.
const ANSWER_CHARS: usize = 1_000;
/// The longest pause that a receiver may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);
/// What this server calls itself.
const USER_AGENT: &str = concat!("hyprbox/", env!("CARGO_PKG_VERSION"));

/// The result of an attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Of HTTP or SMTP.
    pub(super) status: Option<u16>,
    /// Why it failed; `None`: the receiver has accepted the message.
    pub(super) error: Option<String>,
    /// The receiver's words.
    pub(super) answer: Option<String>,
    /// How long the receiver asks to wait.
    pub(super) retry_after: Option<Duration>,
}

impl Outcome {
    fn failed(error: impl Into<String>) -> Self {
        Self {
            error: Some(error.into()),
            ..Self::default()
        }
    }

    /// The message was kept back for so long that it is not sent any more.
    pub(super) fn too_late() -> Self {
        Self::failed("not sent: the event is more than three days old")
    }

    /// Whether the receiver says that it is gone for ever.
    pub(super) fn is_gone(&self) -> bool {
        self.status == Some(410)
    }
}

/// A message in the form of a receiver that speaks HTTP.
struct HttpMessage {
    url: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl HttpMessage {
    fn json(url: &str, body: &Value) -> Self {
        Self {
            url: url.to_owned(),
            headers: Vec::new(),
            body: body.to_string(),
        }
    }

    fn with(mut self, header: &'static str, value: String) -> Self {
        self.headers.push((header, value));
        self
    }
}

/// Makes one attempt to send a message. `id` is the delivery's, `body` the JSON that webhooks get.
pub(super) async fn attempt(
    kind: ChannelKind,
    settings: &Settings,
    id: &str,
    body: &str,
    at: Timestamp,
) -> Outcome {
    let Ok(message) = serde_json::from_str::<Value>(body) else {
        return Outcome::failed("the message can't be read in the database");
    };
    let http = match kind {
        ChannelKind::Webhook => webhook::message(settings, id, body, at),
        ChannelKind::Ntfy => push::ntfy(settings, &message),
        ChannelKind::Gotify => push::gotify(settings, &message),
        ChannelKind::Slack => chat::slack(settings, &message),
        ChannelKind::Discord => chat::discord(settings, &message),
        ChannelKind::Email => {
            let sent = email::send(settings, id, &message);
            return within_time(sent).await;
        }
    };
    match http {
        Some(http) => send(http).await,
        None => Outcome::failed(
            "the channel's secret settings can't be read with this server's key file: set them again",
        ),
    }
}

async fn within_time(sent: impl Future<Output = Outcome>) -> Outcome {
    let in_time = tokio::time::timeout(ATTEMPT, sent).await;
    in_time.unwrap_or_else(|_| Outcome::failed("no answer within 10 s"))
}

/// The client of all attempts, made at the first one: reading the system's roots takes time and
/// memory.
pub(super) fn client() -> Result<&'static reqwest::Client, String> {
    static CLIENT: OnceLock<Result<reqwest::Client, String>> = OnceLock::new();
    let made = CLIENT.get_or_init(|| {
        // An error means that a provider is installed, which is the same one.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            // Messages are rare, and a connection that has been idle may be dead.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| cause(&error))
    });
    made.as_ref().map_err(Clone::clone)
}

async fn send(message: HttpMessage) -> Outcome {
    let client = match client() {
        Ok(client) => client,
        Err(error) => return Outcome::failed(error),
    };
    let mut request = client
        .post(&message.url)
        .header(CONTENT_TYPE, "application/json")
        .body(message.body);
    for (name, value) in message.headers {
        request = request.header(name, value);
    }
    let deadline = tokio::time::Instant::now() + ATTEMPT;
    let answer = match tokio::time::timeout_at(deadline, request.send()).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Outcome::failed(cause(&error)),
        Err(_) => return Outcome::failed("no answer within 10 s"),
    };
    let status = answer.status();
    let retry_after = answer
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| retry_after(value.to_str().ok()?, clock::now()));
    // The status decides; the words are for people.
    let words = words(answer, deadline).await;
    let error = match status {
        status if status.is_success() => None,
        status if status.is_redirection() => Some(format!(
            "answered {status}: redirects are not followed, so give the final address"
        )),
        status => Some(format!("answered {status}")),
    };
    Outcome {
        status: Some(status.as_u16()),
        error,
        answer: words,
        retry_after,
    }
}

/// The beginning of an answer.
async fn words(mut answer: reqwest::Response, deadline: tokio::time::Instant) -> Option<String> {
    let mut bytes = Vec::new();
    while bytes.len() < READ_MAX {
        match tokio::time::timeout_at(deadline, answer.chunk()).await {
            Ok(Ok(Some(chunk))) => bytes.extend_from_slice(&chunk),
            Ok(Ok(None) | Err(_)) | Err(_) => break,
        }
    }
    bytes.truncate(READ_MAX);
    kept_words(&String::from_utf8_lossy(&bytes))
}

/// What is kept of an answer's words.
fn kept_words(text: &str) -> Option<String> {
    let is_shown = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    let kept: String = text
        .trim()
        .chars()
        .filter(is_shown)
        .take(ANSWER_CHARS)
        .collect();
    (!kept.is_empty()).then_some(kept)
}

/// The pause that `Retry-After` asks for: seconds, or a date.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::DateTimeParser::new()
                .parse_timestamp(text)
                .ok()?;
            let wait_ms = at.as_millisecond() - now.as_millis();
            Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0))
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// An error with its causes, in one line. The address is left out, since it may be secret.
fn cause(error: &reqwest::Error) -> String {
    let mut words = if error.is_connect() {
        "can't connect".to_owned()
    } else {
        "can't send".to_owned()
    };
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        next = error.source();
        // The last cause has the words that help.
        if next.is_none() {
            words.push_str(": ");
            words.push_str(&error.to_string());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_read_as_seconds_or_a_date_and_is_at_most_a_day() {
        let now: Timestamp = "2026-11-24T09:30:00Z".parse().expect("a time");
        let seconds = |text| retry_after(text, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("99999999"), Some(86_400));
        assert_eq!(seconds("Tue, 24 Nov 2026 09:31:00 GMT"), Some(60));
        assert_eq!(seconds("Tue, 24 Nov 2026 09:29:00 GMT"), Some(0));
        assert_eq!(seconds("-5"), None);
        assert_eq!(seconds("soon"), None);
    }

    #[test]
    fn words_are_kept_without_control_characters_and_cut() {
        assert_eq!(
            kept_words(" a\u{1b}[31m\nb\u{0} ").as_deref(),
            Some("a[31m\nb")
        );
        assert_eq!(kept_words("\n"), None);
        let kept = kept_words(&"ä".repeat(5_000)).expect("words");
        assert_eq!(kept.chars().count(), ANSWER_CHARS);
    }
}
