//! What each kind of receiver gets. The shapes are those of the receivers' own documents: ntfy's
//! "Publish as JSON", Gotify's `POST /message`, the incoming webhooks of Slack and Discord.

use serde_json::{Value, json};

use super::receiver::{Received, Receiver};
use super::{add_channel, add_rule};
use crate::harness::{chunk, with_node};

/// What a channel of this kind gets for a job that has failed.
fn sent(kind: &str, settings: impl Fn(&str) -> Value) -> (Received, String) {
    let (server, admin, agent) = with_node();
    let receiver = Receiver::start();
    let channel = add_channel(&admin, kind, &settings(&receiver.url));
    add_rule(&admin, &channel, &["job_failed"], json!({}));
    let job = admin.queue("n1");
    agent.claim();
    agent.output(&job, &[chunk("stderr", 0, "<!channel> @everyone\n")]);
    agent.complete(&job, &json!({"exitCode": 3})).gives(200);
    let url = format!("{}/jobs/{job}", server.url());
    (receiver.nth(1), url)
}

const TEXT: &str =
    "the script ended with exit code 3\nQueued by admin@example.org\n\n<!channel> @everyone";

#[test]
fn ntfy_gets_its_json() {
    let (received, url) = sent(
        "ntfy",
        |base| json!({"url": base, "topic": "ops", "token": "tk_secret"}),
    );
    assert_eq!(
        (received.method.as_str(), received.path.as_str()),
        ("POST", "/")
    );
    assert_eq!(received.header("authorization"), "Bearer tk_secret");
    let wanted = json!({"topic": "ops", "title": "Failed: note on n1", "message": TEXT,
        "tags": ["warning"], "priority": 4, "click": url});
    assert_eq!(received.json(), wanted);
}

#[test]
fn gotify_gets_its_json() {
    let (received, url) = sent(
        "gotify",
        |base| json!({"url": format!("{base}/push/"), "token": "A.secret"}),
    );
    assert_eq!(received.path, "/push/message");
    assert_eq!(received.header("x-gotify-key"), "A.secret");
    let wanted = json!({"title": "Failed: note on n1", "message": TEXT, "priority": 8,
        "extras": {"client::notification": {"click": {"url": url}}}});
    assert_eq!(received.json(), wanted);
}

#[test]
fn slack_and_discord_mention_nobody() {
    let (received, _) = sent(
        "slack",
        |base| json!({"url": format!("{base}/services/T/B/x")}),
    );
    assert_eq!(received.path, "/services/T/B/x");
    let body = received.json();
    let text = body["text"].as_str().expect("a text");
    assert!(text.starts_with("*Failed: note on n1*\n"), "{text}");
    assert!(
        text.contains("&lt;!channel&gt;") && !text.contains("<!"),
        "{text}"
    );
    assert_eq!(
        (&body["parse"], &body["link_names"]),
        (&json!("none"), &json!(false))
    );

    let (received, url) = sent(
        "discord",
        |base| json!({"url": format!("{base}/api/webhooks/1/x")}),
    );
    let body = received.json();
    assert_eq!(body["allowed_mentions"], json!({"parse": []}));
    let content = body["content"].as_str().expect("a text");
    assert!(content.starts_with("**Failed: note on n1**\n"), "{content}");
    assert!(content.ends_with(&format!("<{url}>")), "{content}");
}
