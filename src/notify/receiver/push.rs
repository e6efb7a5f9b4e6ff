//! ntfy and Gotify, which push to phones.

use serde_json::{Value, json};

use super::HttpMessage;
use super::text::Text;
use crate::notify::settings::Settings;

/// The most bytes of a text. ntfy makes an attachment of a longer one.
const TEXT_MAX: usize = 3_500;

/// A message for ntfy's "publish as JSON".
pub(super) fn ntfy(settings: &Settings, message: &Value) -> Option<HttpMessage> {
    let text = Text::of(message);
    let (tag, priority) = match text.is_alarm {
        true => ("warning", 4),
        false => ("white_check_mark", 3),
    };
    let body = json!({
        "topic": settings.text("topic")?,
        "title": text.title,
        "message": cut(&text.body(), TEXT_MAX),
        "tags": [tag],
        "priority": priority,
        "click": text.url,
    });
    let message = HttpMessage::json(settings.text("url")?, &body);
    Some(match settings.text("token") {
        Some(token) => message.with("authorization", format!("Bearer {token}")),
        None => message,
    })
}

/// A message for Gotify's `POST /message`.
pub(super) fn gotify(settings: &Settings, message: &Value) -> Option<HttpMessage> {
    let text = Text::of(message);
    let body = json!({
        "title": text.title,
        "message": cut(&text.body(), TEXT_MAX),
        "priority": if text.is_alarm { 8 } else { 4 },
        "extras": {"client::notification": {"click": {"url": text.url}}},
    });
    let url = format!("{}/message", settings.text("url")?.trim_end_matches('/'));
    let token = settings.text("token")?.to_owned();
    Some(HttpMessage::json(&url, &body).with("x-gotify-key", token))
}

/// The beginning of a text, at most `max` bytes.
pub(super) fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(max.saturating_sub('…'.len_utf8()));
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("äöü", 6), "äöü");
        assert_eq!(cut("äöüß", 7), "äö…");
    }
}
