//! Webhooks, as in the Standard Webhooks specification.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::HttpMessage;
use crate::clock::Timestamp;
use crate::crypto::hmac_sha256;
use crate::notify::settings::{SECRET, Settings, secret_bytes};

/// The message with its signature; `None` without a secret.
pub(super) fn message(
    settings: &Settings,
    id: &str,
    body: &str,
    at: Timestamp,
) -> Option<HttpMessage> {
    let key = secret_bytes(settings.secrets.get(SECRET)?)?;
    let timestamp = at.as_millis() / 1_000;
    let signature = STANDARD.encode(hmac_sha256(
        &key,
        format!("{id}.{timestamp}.{body}").as_bytes(),
    ));
    let message = HttpMessage {
        url: settings.text("url")?.to_owned(),
        headers: Vec::new(),
        body: body.to_owned(),
    };
    Some(
        message
            .with("webhook-id", id.to_owned())
            .with("webhook-timestamp", timestamp.to_string())
            .with("webhook-signature", format!("v1,{signature}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn the_signature_is_that_of_the_reference() {
        let mut settings = Settings::default();
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        settings
            .secrets
            .insert(SECRET.to_owned(), secret.to_owned());
        settings.plain.insert("url".to_owned(), "http://x".into());
        let at = Timestamp::from_millis(1_614_265_330_000);
        let body = "{\"test\": 2432232314}";
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let message = message(&settings, id, body, at).expect("a message");
        let signature = message.headers.last().map(|(_, value)| value.as_str());
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signature, Some(expected));
    }
}
