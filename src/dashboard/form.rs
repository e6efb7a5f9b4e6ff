//! Forms: extractors for their bodies, and markup for their fields.

use std::collections::BTreeMap;

use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use maud::{Markup, html};

use super::{saved_form, words};
use crate::http::{ApiError, Query, read_body};

/// Maximum number of fields of one form.
const PAIRS_MAX: usize = 1_000;

/// The fields of a submitted form.
pub(super) struct Form(pub(super) Query);

/// A submitted form, or one that was restored after a sign-in: that one is only shown again.
pub(super) struct RestorableForm {
    pub(super) form: Form,
    pub(super) is_restored: bool,
}

/// The pairs of any urlencoded body.
pub(super) struct FormPairs(pub(super) Query);

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let FormPairs(pairs) = FormPairs::from_request(request, state).await?;
        if saved_form::is_restored(&pairs) {
            return Err(saved_form::restored_notice());
        }
        Ok(Self(pairs))
    }
}

impl<S: Send + Sync> FromRequest<S> for RestorableForm {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let FormPairs(pairs) = FormPairs::from_request(request, state).await?;
        let is_restored = saved_form::is_restored(&pairs);
        let form = if is_restored {
            Form(Query::parse_pairs(&saved_form::restore(&pairs)))
        } else {
            Form(pairs)
        };
        Ok(Self { form, is_restored })
    }
}

impl<S: Send + Sync> FromRequest<S> for FormPairs {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Self::Rejection> {
        let (parts, body) = request.into_parts();
        let kind = parts.headers.get(header::CONTENT_TYPE);
        let is_form = kind
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| {
                let essence = kind.split(';').next().unwrap_or_default().trim();
                essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
            });
        // A form without a field has no body, and some clients then leave the header out.
        let body = read_body(&parts, body).await?;
        if !is_form && !body.is_empty() {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "Content-Type must be application/x-www-form-urlencoded",
            ));
        }
        // Each pair takes several times as much memory as its bytes.
        if memchr::memchr_iter(b'&', &body).count() >= PAIRS_MAX {
            let words = format!("A form may have at most {PAIRS_MAX} fields");
            return Err(ApiError::bad_request("bad_input", words));
        }
        Ok(Self(Query::parse_pairs(&body)))
    }
}

impl Form {
    /// The value of a field, with Unix line ends; empty if the field is absent.
    pub(super) fn text(&self, name: &str) -> String {
        self.0.get(name).unwrap_or_default().replace("\r\n", "\n")
    }

    /// The value of an optional field; `None` if it was left empty.
    pub(super) fn filled(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }
}

/// The errors of a form that is shown again.
#[derive(Default)]
pub(super) struct Faults<'e> {
    message: Option<&'e str>,
    fields: Option<&'e BTreeMap<String, String>>,
    more: Option<String>,
}

impl<'e> Faults<'e> {
    /// The faults that `error` reports.
    pub(super) fn of(error: Option<&'e ApiError>) -> Self {
        Self {
            message: error.map(|error| error.message.as_str()),
            fields: error.map(|error| &error.fields),
            more: error.and_then(ApiError::and_more),
        }
    }

    /// The fault of the field with this path.
    pub(super) fn at(&self, path: &str) -> Option<&'e str> {
        self.fields?.get(path).map(String::as_str)
    }

    /// An input that may stay empty, with the fault of the field at `path`.
    pub(super) fn optional_input(
        &self,
        name: &str,
        label: &str,
        value: &str,
        hint: &str,
        path: &str,
    ) -> Markup {
        Input {
            name,
            label,
            value,
            hint: Some(hint),
            fault: self.at(path),
            autocomplete: "off",
            is_optional: true,
            ..Input::default()
        }
        .draw()
    }

    /// The alert above the form: the whole message, unless the faults are shown at their fields.
    pub(super) fn summary(&self, shown: &[&str]) -> Markup {
        let hidden: Vec<_> = self.fields.into_iter().flatten().collect();
        let at_fields = !hidden.is_empty();
        let unseen = hidden
            .iter()
            .filter(|(path, _)| !shown.contains(&path.as_str()));
        html! {
            @if let Some(message) = self.message {
                div.alert role="alert" {
                    @if at_fields { p { "Some values are invalid. See the fields below." } }
                    @else { p { (message.trim_end_matches('.')) "." } }
                    @for (path, fault) in unseen { p { (path) " " (fault) "." } }
                    @if let Some(more) = &self.more { p { (more) "." } }
                }
            }
        }
    }
}

/// An input with its label, hint and fault.
#[derive(Default)]
pub(super) struct Input<'f> {
    pub(super) name: &'f str,
    pub(super) label: &'f str,
    /// `text` if empty.
    pub(super) kind: &'f str,
    pub(super) value: &'f str,
    pub(super) hint: Option<&'f str>,
    pub(super) fault: Option<&'f str>,
    pub(super) autocomplete: &'f str,
    pub(super) is_optional: bool,
    pub(super) pattern: Option<&'f str>,
    /// Needed if two forms of a page have a field with this name; `f-` and the name otherwise.
    pub(super) id: Option<&'f str>,
    pub(super) min_length: Option<u32>,
    pub(super) max_length: Option<u32>,
    pub(super) has_focus: bool,
}

impl<'f> Input<'f> {
    /// An input for a new password, with the limits that the server checks.
    pub(super) fn new_password(label: &'f str, hint: &'f str, fault: Option<&'f str>) -> Self {
        Self {
            name: "password",
            label,
            kind: "password",
            hint: Some(hint),
            fault,
            autocomplete: "new-password",
            min_length: Some(10),
            max_length: Some(1_024),
            ..Self::default()
        }
    }

    pub(super) fn draw(&self) -> Markup {
        let id = self
            .id
            .map_or_else(|| format!("f-{}", self.name), str::to_owned);
        let kind = if self.kind.is_empty() {
            "text"
        } else {
            self.kind
        };
        let control = html! {
            input id=(id) name=(self.name) type=(kind) value=(self.value) autocomplete=(self.autocomplete)
                required[!self.is_optional] pattern=[self.pattern] minlength=[self.min_length]
                maxlength=[self.max_length.map(units)] data-min=[self.min_length] data-max=[self.max_length] autofocus[self.has_focus] autocapitalize="none" spellcheck="false"
                aria-invalid=[self.fault.map(|_| "true")] aria-describedby=(described_by(&id));
        };
        around(&id, self.label, self.hint, self.fault, control)
    }
}

/// The most UTF-16 units (which browsers count) that this many characters (which the server counts)
/// can have. `page.js` counts characters.
fn units(characters: u32) -> u32 {
    characters.saturating_mul(2)
}

/// The ids that a control's `aria-describedby` names.
pub(super) fn described_by(id: &str) -> String {
    format!("{id}-hint {id}-fault")
}

/// Label, hint and fault around a control.
pub(super) fn around(
    id: &str,
    label: &str,
    hint: Option<&str>,
    fault: Option<&str>,
    control: Markup,
) -> Markup {
    html! {
        div.field {
            label for=(id) { (label) }
            @if let Some(hint) = hint { p.hint id=(format!("{id}-hint")) { (words::visible(hint)) } }
            (control)
            p.fault id=(format!("{id}-fault")) { @if let Some(fault) = fault { (words::sentence(fault)) } }
        }
    }
}

/// A checkbox with its label next to it, and hint and fault below.
pub(super) fn toggle(
    id: &str,
    label: &str,
    hint: Option<&str>,
    fault: Option<&str>,
    control: Markup,
) -> Markup {
    html! {
        div.field.toggle {
            (control)
            label for=(id) { (label) }
            @if let Some(hint) = hint { p.hint id=(format!("{id}-hint")) { (words::visible(hint)) } }
            p.fault id=(format!("{id}-fault")) { @if let Some(fault) = fault { (words::sentence(fault)) } }
        }
    }
}

/// A button with its own form.
pub(super) fn button(action: &str, class: &str, words: &str, ask: Option<&str>) -> Markup {
    html! {
        form.inline method="post" action=(action) data-ask=[ask] {
            button class=(class) { (words) }
        }
    }
}
