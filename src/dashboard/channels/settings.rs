//! The settings of a channel as a form.

use maud::{Markup, html};
use serde_json::{Map, Value, json};

use crate::dashboard::form::{Faults, Form, Input, around, described_by};
use crate::http::{ApiError, FieldErrors};
use crate::notify::ChannelView;
use crate::store::channel::ChannelKind;

/// The kinds, with what they are.
pub(super) const KINDS: [(ChannelKind, &str, &str); 6] = [
    (ChannelKind::Email, "Email", "over a mail server of yours"),
    (ChannelKind::Ntfy, "ntfy", "push messages for your phone"),
    (
        ChannelKind::Gotify,
        "Gotify",
        "push messages from your own server",
    ),
    (ChannelKind::Slack, "Slack", "an incoming webhook"),
    (
        ChannelKind::Discord,
        "Discord",
        "a webhook of a text channel",
    ),
    (
        ChannelKind::Webhook,
        "Webhook",
        "signed JSON for a program of yours",
    ),
];

/// A kind as people call it.
pub(super) fn label_of(kind: ChannelKind) -> &'static str {
    let known = KINDS.iter().find(|(known, _, _)| *known == kind);
    known.map_or("", |(_, label, _)| label)
}

/// How a setting is typed.
#[derive(Clone, Copy, PartialEq)]
enum Control {
    Text,
    Number,
    /// It is never shown again. No kind has more than one.
    Secret,
    Security,
    /// One on each line.
    Lines,
}

struct Setting {
    name: &'static str,
    label: &'static str,
    hint: &'static str,
    control: Control,
    is_optional: bool,
}

const fn setting(name: &'static str, label: &'static str, hint: &'static str) -> Setting {
    Setting {
        name,
        label,
        hint,
        control: Control::Text,
        is_optional: false,
    }
}

impl Setting {
    const fn typed(self, control: Control) -> Self {
        Self { control, ..self }
    }

    const fn optional(self) -> Self {
        Self {
            is_optional: true,
            ..self
        }
    }

    /// The name of the form's field. A secret's is never kept when a session ends.
    fn field(&self) -> String {
        match self.control {
            Control::Secret => "secret".to_owned(),
            Control::Text | Control::Number | Control::Security | Control::Lines => {
                format!("set.{}", self.name)
            }
        }
    }
}

fn settings_of(kind: ChannelKind) -> &'static [Setting] {
    match kind {
        ChannelKind::Webhook => {
            const {
                &[
                    setting(
                        "url",
                        "Address",
                        "Where to send, such as https://example.org/hook",
                    ),
                    setting(
                        "secret",
                        "Secret",
                        "whsec_ and base64. Leave it empty, and the server makes one",
                    )
                    .typed(Control::Secret)
                    .optional(),
                ]
            }
        }
        ChannelKind::Ntfy => {
            const {
                &[
                    setting("url", "Server", "Such as https://ntfy.sh"),
                    setting("topic", "Topic", "Letters, digits, underscores and hyphens"),
                    setting("token", "Access token", "If the topic is protected")
                        .typed(Control::Secret)
                        .optional(),
                ]
            }
        }
        ChannelKind::Gotify => {
            const {
                &[
                    setting("url", "Server", "Such as https://gotify.example.org"),
                    setting("token", "Application token", "From Gotify's page Apps")
                        .typed(Control::Secret),
                ]
            }
        }
        ChannelKind::Slack => {
            const {
                &[setting(
                    "url",
                    "Webhook address",
                    "It begins with https://hooks.slack.com/",
                )
                .typed(Control::Secret)]
            }
        }
        ChannelKind::Discord => {
            const {
                &[setting(
                    "url",
                    "Webhook address",
                    "It begins with https://discord.com/api/webhooks/",
                )
                .typed(Control::Secret)]
            }
        }
        ChannelKind::Email => {
            const {
                &[
                    setting("host", "Mail server", "Such as smtp.example.org"),
                    setting("port", "Port", "Usually 587 for STARTTLS and 465 for TLS")
                        .typed(Control::Number),
                    setting("security", "Encryption", "Mail is never sent without")
                        .typed(Control::Security),
                    setting("username", "User name", "If the mail server wants one").optional(),
                    setting("password", "Password", "Of this user")
                        .typed(Control::Secret)
                        .optional(),
                    setting("from", "Sender", "Such as HyprBox <hyprbox@example.org>"),
                    setting("to", "Receivers", "Email addresses, one on each line")
                        .typed(Control::Lines),
                ]
            }
        }
    }
}

/// The typed values of a channel's form.
pub(super) struct ChannelValues {
    pub(super) kind: ChannelKind,
    pub(super) name: String,
    /// One per setting; empty for a secret.
    values: Vec<String>,
    /// Whether the secret is set already.
    has_secret: bool,
    /// Whether the secret is to go.
    clears_secret: bool,
}

impl ChannelValues {
    /// Those of an empty form.
    pub(super) fn fresh(kind: ChannelKind) -> Self {
        let default = |setting: &Setting| match (kind, setting.name) {
            (ChannelKind::Ntfy, "url") => "https://ntfy.sh".to_owned(),
            (_, "port") => "587".to_owned(),
            _ => String::new(),
        };
        Self {
            kind,
            name: String::new(),
            values: settings_of(kind).iter().map(default).collect(),
            has_secret: false,
            clears_secret: false,
        }
    }

    /// Those of a channel.
    pub(super) fn of_channel(channel: &ChannelView) -> Self {
        let read = |setting: &Setting| match (&channel.settings[setting.name], setting.control) {
            (Value::Null, _) | (_, Control::Secret) => String::new(),
            (Value::Array(lines), _) => {
                let lines = lines.iter().filter_map(Value::as_str);
                lines.collect::<Vec<_>>().join("\n")
            }
            (Value::String(text), _) => text.clone(),
            (value, _) => value.to_string(),
        };
        let settings = settings_of(channel.kind);
        let is_set = |setting: &Setting| {
            setting.control == Control::Secret && !channel.settings[setting.name].is_null()
        };
        Self {
            kind: channel.kind,
            name: channel.name.clone(),
            values: settings.iter().map(read).collect(),
            has_secret: settings.iter().any(is_set),
            clears_secret: false,
        }
    }

    /// Those of a submitted form.
    pub(super) fn typed(self, form: &Form) -> Self {
        let read = |setting: &Setting| match setting.control {
            Control::Secret => String::new(),
            Control::Text | Control::Number | Control::Security | Control::Lines => {
                form.text(&setting.field()).trim().to_owned()
            }
        };
        Self {
            name: form.text("name").trim().to_owned(),
            values: settings_of(self.kind).iter().map(read).collect(),
            clears_secret: form.0.get("clear").is_some(),
            ..self
        }
    }

    /// The settings as the API takes them. A secret whose field is empty stays as it is.
    pub(super) fn settings(&self, form: &Form) -> Result<Map<String, Value>, ApiError> {
        let mut faults = FieldErrors::default();
        let mut settings = Map::new();
        for (setting, typed) in settings_of(self.kind).iter().zip(&self.values) {
            let value = match setting.control {
                Control::Secret => match form.text("secret").trim() {
                    "" if self.clears_secret => Value::Null,
                    "" => continue,
                    secret => secret.into(),
                },
                _ if typed.is_empty() => Value::Null,
                Control::Text | Control::Security => typed.as_str().into(),
                Control::Lines => {
                    let lines = typed.split(['\n', ',']).map(str::trim);
                    lines.filter(|line| !line.is_empty()).collect()
                }
                Control::Number => match typed.parse::<u64>() {
                    Ok(number) => number.into(),
                    Err(_) => {
                        faults.add(format!("settings.{}", setting.name), "must be 1 to 65535");
                        continue;
                    }
                },
            };
            settings.insert(setting.name.to_owned(), value);
        }
        faults.into_result()?;
        Ok(settings)
    }

    /// The body of a new channel.
    pub(super) fn body(&self, form: &Form) -> Result<Value, ApiError> {
        let settings = self.settings(form)?;
        Ok(json!({"name": self.name, "kind": self.kind.as_str(), "settings": settings}))
    }

    /// The paths of the faults that are shown at their fields.
    pub(super) fn paths(&self) -> Vec<String> {
        let settings = settings_of(self.kind).iter();
        let settings = settings.map(|setting| format!("settings.{}", setting.name));
        std::iter::once("name".to_owned()).chain(settings).collect()
    }

    /// The fields.
    pub(super) fn draw(&self, faults: &Faults<'_>) -> Markup {
        let name = Input {
            name: "name",
            label: "Name",
            value: &self.name,
            hint: Some("Such as: my phone"),
            fault: faults.at("name"),
            autocomplete: "off",
            max_length: Some(255),
            ..Input::default()
        };
        html! {
            (name.draw())
            @for (setting, value) in settings_of(self.kind).iter().zip(&self.values) {
                (self.draw_setting(setting, value, faults.at(&format!("settings.{}", setting.name))))
            }
        }
    }

    fn draw_setting(&self, setting: &Setting, value: &str, fault: Option<&str>) -> Markup {
        let field = setting.field();
        let id = format!("f-{field}");
        let label = match setting.is_optional {
            true => format!("{} (optional)", setting.label),
            false => setting.label.to_owned(),
        };
        let invalid = fault.map(|_| "true");
        let about = described_by(&id);
        let is_required = !setting.is_optional;
        match setting.control {
            Control::Text | Control::Number => Input {
                name: &field,
                label: &label,
                value,
                hint: Some(setting.hint),
                fault,
                autocomplete: "off",
                is_optional: setting.is_optional,
                pattern: (setting.control == Control::Number).then_some("[0-9]{1,5}"),
                max_length: Some(2_048),
                ..Input::default()
            }
            .draw(),
            Control::Secret => {
                let hint = match self.has_secret {
                    true => "It is set. Leave the field empty to keep it",
                    false => setting.hint,
                };
                let control = html! {
                    textarea.secret id=(id) name=(field) rows="1" required[is_required && !self.has_secret] autocomplete="off" autocapitalize="none"
                        spellcheck="false" aria-invalid=[invalid] aria-describedby=(about) {}
                    @if self.has_secret && setting.is_optional {
                        label.clear { input type="checkbox" name="clear" value="1" checked[self.clears_secret]; " Remove it" }
                    }
                };
                around(&id, &label, Some(hint), fault, control)
            }
            Control::Security => {
                let control = html! {
                    select id=(id) name=(field) aria-invalid=[invalid] aria-describedby=(about) {
                        option value="starttls" selected[value != "tls"] { "STARTTLS" }
                        option value="tls" selected[value == "tls"] { "TLS from the beginning" }
                    }
                };
                around(&id, &label, Some(setting.hint), fault, control)
            }
            Control::Lines => {
                let control = html! {
                    textarea id=(id) name=(field) rows="2" required[is_required] autocapitalize="none" spellcheck="false"
                        aria-invalid=[invalid] aria-describedby=(about) { "\n" (value) }
                };
                around(&id, &label, Some(setting.hint), fault, control)
            }
        }
    }
}
