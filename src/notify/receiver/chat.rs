//! Slack and Discord. Nothing in a message mentions anybody: what scripts print must not ring every
//! phone of a team.

use serde_json::{Value, json};

use super::HttpMessage;
use super::push::cut;
use super::text::Text;
use crate::notify::settings::Settings;

/// The most bytes of stderr in a message. Discord accepts 2,000 characters in all.
const STDERR_MAX: usize = 1_200;
/// The most bytes of a reason.
const REASON_MAX: usize = 400;

/// A message for an incoming webhook of Slack.
pub(super) fn slack(settings: &Settings, message: &Value) -> Option<HttpMessage> {
    let text = Text::of(message);
    let lines = lines(&text).into_iter().map(|line| slack_escaped(&line));
    let lines: Vec<String> = lines.collect();
    let stderr = text.stderr.as_deref().map_or(String::new(), |stderr| {
        format!("\n```{}```", slack_escaped(&fenced(stderr)))
    });
    let body = json!({
        "text": format!("*{}*\n{}{stderr}\n{}", slack_escaped(&text.title), lines.join("\n"), slack_escaped(&text.url)),
        "link_names": false,
        "parse": "none",
        "unfurl_links": false,
        "unfurl_media": false,
    });
    Some(HttpMessage::json(settings.text("url")?, &body))
}

/// A message for a webhook of Discord.
pub(super) fn discord(settings: &Settings, message: &Value) -> Option<HttpMessage> {
    let text = Text::of(message);
    let stderr = text.stderr.as_deref().map_or(String::new(), |stderr| {
        format!("\n```\n{}\n```", fenced(stderr))
    });
    let content = format!(
        "**{}**\n{}{stderr}\n<{}>",
        cut(&text.title, REASON_MAX),
        lines(&text).join("\n"),
        text.url
    );
    let body = json!({
        "content": cut(&content, 1_990),
        "allowed_mentions": {"parse": []},
    });
    Some(HttpMessage::json(settings.text("url")?, &body))
}

fn lines(text: &Text) -> Vec<String> {
    let lines = text.lines.iter();
    lines.map(|line| cut(line, REASON_MAX)).collect()
}

/// The end of a text that fits between fences.
fn fenced(stderr: &str) -> String {
    let start = stderr.ceil_char_boundary(stderr.len().saturating_sub(STDERR_MAX));
    stderr[start..].replace("```", "'''")
}

/// Slack's three signs. Without them `<!channel>` and `<@U123>` are only text.
fn slack_escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let mut settings = Settings::default();
        let url = "https://chat.example/hook".to_owned();
        settings.secrets.insert("url".to_owned(), url);
        settings
    }

    fn hostile() -> Value {
        json!({"data": {"event": "job_failed", "reason": "@everyone <!channel> <@U123>",
            "job": {"preset": "p", "nodeId": "n"},
            "stderrTail": format!("```{}<!here>", "x".repeat(9_000)), "url": "https://x/jobs/1"}})
    }

    #[test]
    fn slack_gets_no_mention() {
        let message = slack(&settings(), &hostile()).expect("a message");
        assert!(!message.body.contains("<!") && !message.body.contains("<@"));
        assert!(message.body.contains("&lt;!channel&gt;"));
        let body: Value = serde_json::from_str(&message.body).expect("JSON");
        assert_eq!(body["link_names"], false);
        assert_eq!(
            body["text"].as_str().expect("text").matches("```").count(),
            2
        );
    }

    #[test]
    fn discord_gets_at_most_2000_characters_and_no_mention() {
        let message = discord(&settings(), &hostile()).expect("a message");
        let body: Value = serde_json::from_str(&message.body).expect("JSON");
        assert_eq!(body["allowed_mentions"], json!({"parse": []}));
        let content = body["content"].as_str().expect("content");
        assert!(content.chars().count() <= 2_000);
        assert!(content.ends_with("<https://x/jobs/1>"));
    }
}
