//! The settings of each kind of channel: which there are, which are secret, and what is allowed.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyprbox_protocol::Secrets;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::crypto::random_bytes;
use crate::http::FieldErrors;
use crate::store::channel::ChannelKind;

/// What a secret setting reads back as, and what keeps it in a change.
pub(super) const HIDDEN: &str = "***";
/// The prefix of a webhook's secret.
pub(super) const SECRET_PREFIX: &str = "whsec_";
/// The field of a webhook's secret.
pub(super) const SECRET: &str = "secret";
/// Longest text of a setting, in bytes.
const TEXT_MAX: usize = 2_048;
/// The most receivers of an email.
const RECEIVERS_MAX: usize = 50;

/// A field of a request that may be absent, `null` or given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Setting<T> {
    /// It stays as it is.
    #[default]
    Absent,
    /// It is removed.
    Null,
    Given(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Setting<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(match Option::deserialize(from)? {
            Some(given) => Self::Given(given),
            None => Self::Null,
        })
    }
}

impl<T> Setting<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Setting<U> {
        match self {
            Self::Absent => Setting::Absent,
            Self::Null => Setting::Null,
            Self::Given(given) => Setting::Given(change(given)),
        }
    }
}

/// A list of texts. Those after the first 100 are only counted, because no request needs more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts {
    pub kept: Vec<String>,
    pub has_more: bool,
}

impl Texts {
    const MAX: usize = 100;
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(TextsVisitor)
    }
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Texts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
        let mut texts = Texts::default();
        while let Some(text) = list.next_element::<String>()? {
            if texts.kept.len() < Texts::MAX {
                texts.kept.push(text);
            } else {
                texts.has_more = true;
            }
        }
        Ok(texts)
    }
}

/// The settings of a channel. Which there are depends on the kind. In a change, `***` and absent
/// ones stay as they are, and `null` removes one.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
pub struct SettingsRequest {
    /// webhook, ntfy, gotify, slack, discord: where to send. For slack and discord it is secret.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub url: Setting<String>,
    /// webhook: `whsec_` and the base64 of 24 to 64 bytes. One is made if none is given.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub secret: Setting<String>,
    /// ntfy: 1 to 64 letters, digits, `_` and `-`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub topic: Setting<String>,
    /// ntfy, gotify: an access token.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub token: Setting<String>,
    /// email: the mail server's name or address.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub host: Setting<String>,
    /// email: the mail server's port.
    #[serde(default)]
    #[schema(value_type = Option<u16>)]
    pub port: Setting<u64>,
    /// email: how the connection is encrypted.
    #[serde(default)]
    #[schema(value_type = Option<Security>)]
    pub security: Setting<Security>,
    /// email: the name to sign in with.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub username: Setting<String>,
    /// email: the password to sign in with.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub password: Setting<String>,
    /// email: the sender's address.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub from: Setting<String>,
    /// email: the addresses of 1 to 50 receivers.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub to: Setting<Texts>,
}

/// How a connection to a mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// Plain at first, then STARTTLS before anything else is sent; usually port 587.
    Starttls,
    /// TLS from the first byte; usually port 465.
    Tls,
}

/// A setting of a kind of channel.
struct Field {
    name: &'static str,
    is_secret: bool,
    is_required: bool,
    check: fn(&Value) -> Result<(), &'static str>,
}

const fn field(name: &'static str, check: fn(&Value) -> Result<(), &'static str>) -> Field {
    Field {
        name,
        is_secret: false,
        is_required: true,
        check,
    }
}

impl Field {
    const fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    const fn optional(mut self) -> Self {
        self.is_required = false;
        self
    }
}

fn fields(kind: ChannelKind) -> &'static [Field] {
    const URL: Field = field("url", check_url);
    const TOKEN: Field = field("token", check_token).secret();
    match kind {
        ChannelKind::Webhook => const { &[URL, field(SECRET, check_secret).secret()] },
        ChannelKind::Ntfy => const { &[URL, field("topic", check_topic), TOKEN.optional()] },
        ChannelKind::Gotify => const { &[URL, TOKEN] },
        ChannelKind::Slack | ChannelKind::Discord => const { &[URL.secret()] },
        ChannelKind::Email => {
            const {
                &[
                    field("host", check_host),
                    field("port", check_port),
                    field("security", |_| Ok(())),
                    field("username", check_login).optional(),
                    field("password", check_login).secret().optional(),
                    field("from", check_mailbox),
                    field("to", check_receivers),
                ]
            }
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn check_url(value: &Value) -> Result<(), &'static str> {
    let url = text(value);
    let is_web = |url: reqwest::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    let fits = url.len() <= TEXT_MAX && reqwest::Url::parse(url).is_ok_and(is_web);
    fits.then_some(())
        .ok_or("must be an address that begins with https:// or http://")
}

fn check_secret(value: &Value) -> Result<(), &'static str> {
    const RULE: &str = "must be whsec_ and the base64 of 24 to 64 bytes";
    secret_bytes(text(value)).map(|_| ()).ok_or(RULE)
}

/// The bytes of a webhook's secret.
pub(super) fn secret_bytes(secret: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(secret.strip_prefix(SECRET_PREFIX)?).ok()?;
    (24..=64).contains(&bytes.len()).then_some(bytes)
}

fn check_topic(value: &Value) -> Result<(), &'static str> {
    let topic = text(value);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    ((1..=64).contains(&topic.len()) && topic.bytes().all(fits))
        .then_some(())
        .ok_or("must have 1 to 64 letters, digits, underscores and hyphens")
}

fn check_token(value: &Value) -> Result<(), &'static str> {
    let token = text(value);
    let is_plain = token.bytes().all(|byte| byte.is_ascii_graphic());
    ((1..=TEXT_MAX).contains(&token.len()) && is_plain)
        .then_some(())
        .ok_or("must have 1 to 2048 printable ASCII characters without spaces")
}

fn check_login(value: &Value) -> Result<(), &'static str> {
    let login = text(value);
    ((1..=TEXT_MAX).contains(&login.len()) && !login.chars().any(char::is_control))
        .then_some(())
        .ok_or("must have 1 to 2048 printable characters")
}

fn check_host(value: &Value) -> Result<(), &'static str> {
    let host = text(value);
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_host = host.bytes().all(is_name) || host.parse::<std::net::IpAddr>().is_ok();
    ((1..=253).contains(&host.len()) && is_host)
        .then_some(())
        .ok_or("must be the name or address of a mail server, without a port")
}

fn check_port(value: &Value) -> Result<(), &'static str> {
    let port = value.as_u64().unwrap_or(0);
    (1..=65_535)
        .contains(&port)
        .then_some(())
        .ok_or("must be 1 to 65535")
}

/// Whether this is an email address, such as `ops@example.org` or `Ops <ops@example.org>`.
fn is_mailbox(text: &str) -> bool {
    text.len() <= TEXT_MAX
        && !text.chars().any(char::is_control)
        && text.parse::<lettre::message::Mailbox>().is_ok()
}

fn check_mailbox(value: &Value) -> Result<(), &'static str> {
    is_mailbox(text(value))
        .then_some(())
        .ok_or("must be an email address")
}

fn check_receivers(value: &Value) -> Result<(), &'static str> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let fits = (1..=RECEIVERS_MAX).contains(&list.len())
        && list.iter().all(|receiver| is_mailbox(text(receiver)));
    fits.then_some(())
        .ok_or("must list 1 to 50 email addresses")
}

/// The settings of a channel.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    pub(super) plain: Map<String, Value>,
    pub(super) secrets: Secrets,
}

impl Settings {
    /// The text of a setting, secret or not.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let secret = self.secrets.get(name).map(String::as_str);
        secret.or_else(|| self.plain.get(name)?.as_str())
    }

    /// Applies a request to these settings of a channel. Returns a webhook's secret if one was
    /// made.
    pub(super) fn apply(
        &mut self,
        kind: ChannelKind,
        request: SettingsRequest,
        faults: &mut FieldErrors,
    ) -> Option<String> {
        let known = fields(kind);
        for (name, given) in request.named() {
            let field = known.iter().find(|field| field.name == name);
            let path = format!("settings.{name}");
            match (field, given) {
                (_, Setting::Absent) | (None, Setting::Null) => {}
                (None, Setting::Given(_)) => {
                    let rule = format!("is not a setting of {}", kind.as_str());
                    faults.add(path, rule);
                }
                (Some(_), Setting::Null) => {
                    self.plain.remove(name);
                    self.secrets.remove(name);
                }
                (Some(field), Setting::Given(value)) => {
                    if field.is_secret && text(&value) == HIDDEN {
                        let is_kept = self.secrets.contains_key(name);
                        faults.check(is_kept, &path, "is not set: give its value");
                        continue;
                    }
                    if let Err(rule) = (field.check)(&value) {
                        faults.add(path, rule);
                    }
                    if field.is_secret {
                        let secret = text(&value).to_owned();
                        self.secrets.insert(name.to_owned(), secret);
                    } else {
                        self.plain.insert(name.to_owned(), value);
                    }
                }
            }
        }
        let made = self.make_secret(kind);
        for field in known.iter().filter(|field| field.is_required) {
            let is_set =
                self.plain.contains_key(field.name) || self.secrets.contains_key(field.name);
            faults.check(is_set, &format!("settings.{}", field.name), "is required");
        }
        if kind == ChannelKind::Email && self.text("password").is_some() {
            let has_name = self.text("username").is_some();
            faults.check(has_name, "settings.username", "is required with a password");
        }
        made
    }

    /// Makes a webhook's secret if it has none.
    fn make_secret(&mut self, kind: ChannelKind) -> Option<String> {
        if kind != ChannelKind::Webhook || self.secrets.contains_key(SECRET) {
            return None;
        }
        let secret = format!("{SECRET_PREFIX}{}", STANDARD.encode(random_bytes::<32>()));
        self.secrets.insert(SECRET.to_owned(), secret.clone());
        Some(secret)
    }
}

/// The settings as the API shows them: secret ones as `***`, absent ones as `null`. `secrets` has
/// the names of the secret ones that are set.
pub(super) fn shown(
    kind: ChannelKind,
    plain: &Map<String, Value>,
    is_sealed: impl Fn(&str) -> bool,
) -> Value {
    let all = fields(kind).iter().map(|field| {
        let value = if field.is_secret {
            Value::from(is_sealed(field.name).then_some(HIDDEN))
        } else {
            plain.get(field.name).cloned().unwrap_or_default()
        };
        (field.name.to_owned(), value)
    });
    Value::Object(all.collect())
}

impl SettingsRequest {
    fn named(self) -> [(&'static str, Setting<Value>); 11] {
        let to = self.to.map(|texts| {
            // Too many are a fault, which the count shows.
            Value::from(texts.kept)
        });
        [
            ("url", self.url.map(Value::from)),
            (SECRET, self.secret.map(Value::from)),
            ("topic", self.topic.map(Value::from)),
            ("token", self.token.map(Value::from)),
            ("host", self.host.map(Value::from)),
            ("port", self.port.map(Value::from)),
            (
                "security",
                self.security
                    .map(|security| serde_json::to_value(security).unwrap_or_default()),
            ),
            ("username", self.username.map(Value::from)),
            ("password", self.password.map(Value::from)),
            ("from", self.from.map(Value::from)),
            ("to", to),
        ]
    }
}
