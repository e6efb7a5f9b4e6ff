//! A form that was submitted after the session had ended is saved in the sign-in page and restored
//! afterwards, to be submitted again. Passwords and secrets are not saved.

use maud::{Markup, html};

use crate::http::{ApiError, Pairs};

/// Marks a sign-in, and the request after it, that carries a saved form.
const MARK: &str = "typed";
/// Prefix of the names of saved fields.
pub(super) const PREFIX: &str = "typed.";

/// A saved form, and the message above the sign-in.
#[derive(Default)]
pub(super) struct SavedForm {
    pub(super) fields: Vec<(String, String)>,
    pub(super) words: &'static str,
    pub(super) has_form: bool,
}

impl SavedForm {
    /// The saved form in a submitted sign-in.
    pub(super) fn of_sign_in(pairs: &Pairs<'_>) -> Self {
        Self {
            has_form: is_restored(pairs),
            fields: fields(pairs),
            words: "",
        }
    }

    /// Whether there is a form to return to.
    pub(super) fn has_form(&self) -> bool {
        self.has_form
    }

    /// The message above the sign-in, and the hidden fields in it.
    pub(super) fn draw(&self) -> (Markup, Markup) {
        let words = html! {
            @if !self.words.is_empty() { p.alert role="alert" { (self.words) } }
        };
        let fields = html! {
            @if self.has_form { input type="hidden" name=(MARK) value="1"; }
            @for (name, value) in &self.fields { input type="hidden" name=(name) value=(value); }
        };
        (words, fields)
    }
}

/// The saved fields, with their prefix.
pub(super) fn fields(pairs: &Pairs<'_>) -> Vec<(String, String)> {
    let carried = pairs.pairs().filter(|(name, _)| name.starts_with(PREFIX));
    carried
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Whether the posted form was restored after a sign-in.
pub(super) fn is_restored(pairs: &Pairs<'_>) -> bool {
    pairs.get(MARK).is_some()
}

/// The saved form's body, as it was submitted first.
pub(super) fn restore(pairs: &Pairs<'_>) -> Vec<u8> {
    let mut body = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields(pairs) {
        body.append_pair(name.trim_start_matches(PREFIX), &value);
    }
    body.finish().into_bytes()
}

/// The message above a restored form.
pub(super) fn restored_notice() -> ApiError {
    ApiError::bad_request(
        "typed_again",
        "You are signed in again. Your form is restored, except passwords and secrets. Nothing has been sent yet",
    )
}

/// Whether a post to this path comes from a form that can be restored.
pub(super) fn has_fields(path: &str) -> bool {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let parts: Vec<_> = path.split('/').skip(1).collect();
    matches!(
        parts[..],
        ["presets", _]
            | ["presets", _, "edit" | "new" | "import"]
            | ["schedules", "new"]
            | ["schedules", _, "edit"]
            | ["channels", _]
            | ["channels", _, "rules"]
            | ["exec" | "secrets"]
            | ["nodes"]
            | ["users"]
            | ["account", "tokens" | "password"]
    )
}
