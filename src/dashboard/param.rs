//! A preset's params as form fields, and the form's text as the API's JSON.
//!
//! Text that can't be parsed as the param's type is passed on as it is: `presets` then reports the
//! same error as the API.

use maud::{Markup, html};
use serde_json::{Map, Value};

use super::form::{Form, around, described_by, toggle};
use crate::presets::schema::{MAX_TEXT_CHARS, MIN_SECRET_CHARS};
use crate::presets::{Param, ParamKind, ParamValue};

/// Strings that may be longer than this get a field of several lines.
const LONG_TEXT: usize = 255;

/// A param's field.
pub(super) fn draw(param: &Param, value: Option<&str>, fault: Option<&str>) -> Markup {
    let id = format!("f-p.{}", param.name);
    let hint = hint(param);
    let label = if param.required {
        param.name.clone()
    } else {
        format!("{} (optional)", param.name)
    };
    // A param with a default is filled in: it need not be called optional.
    let label = if param.default.is_some() {
        &param.name
    } else {
        &label
    };
    let control = control(param, &id, value.unwrap_or_default(), fault.is_some());
    let hint = Some(hint.as_str()).filter(|hint| !hint.is_empty());
    if param.kind == ParamKind::Bool && has_two_states(param) {
        toggle(&id, label, hint, fault, control)
    } else {
        around(&id, label, hint, fault, control)
    }
}

fn hint(param: &Param) -> String {
    let mut parts = Vec::new();
    if !param.description.trim().is_empty() {
        parts.push(param.description.trim().to_owned());
    }
    parts.extend(limits(param));
    let default = param.default.as_ref().map(ToString::to_string);
    // A default of several lines is visible in the field itself.
    if let Some(default) = default.filter(|text| !text.is_empty() && !text.contains('\n')) {
        parts.push(format!("default {default}"));
    }
    parts.join(" · ")
}

fn limits(param: &Param) -> Option<String> {
    match &param.kind {
        ParamKind::Int { min, max } => match (min, max) {
            (Some(min), Some(max)) => Some(format!("{min} to {max}")),
            (Some(min), None) => Some(format!("{min} or more")),
            (None, Some(max)) => Some(format!("{max} or less")),
            (None, None) => Some("a whole number".to_owned()),
        },
        ParamKind::Port => Some("1 to 65535".to_owned()),
        ParamKind::String {
            pattern,
            max_length,
        } => {
            // A description explains the value better than a pattern.
            let is_described = !param.description.trim().is_empty();
            let pattern = pattern
                .as_ref()
                .filter(|_| !is_described)
                .map(|pattern| format!("matches {}", pattern.as_str()));
            let length = max_length.map(|most| format!("at most {most} characters"));
            let both: Vec<String> = pattern.into_iter().chain(length).collect();
            Some(both.join(", ")).filter(|words| !words.is_empty())
        }
        ParamKind::Secret => Some("not shown again, never part of the script".to_owned()),
        ParamKind::Bool | ParamKind::Enum { .. } => None,
    }
}

fn control(param: &Param, id: &str, value: &str, is_wrong: bool) -> Markup {
    let name = format!("p.{}", param.name);
    let wrong = is_wrong.then_some("true");
    let about = described_by(id);
    match &param.kind {
        ParamKind::Bool if has_two_states(param) => html! {
            // An unchecked checkbox sends nothing, so this field sends its value.
            input type="hidden" name=(name) value="false";
            input id=(id) type="checkbox" name=(name) value="true" checked[value == "true"]
                aria-describedby=(about) aria-invalid=[wrong];
        },
        ParamKind::Bool => choice(
            param,
            id,
            &["true".to_owned(), "false".to_owned()],
            value,
            wrong,
        ),
        ParamKind::Enum { values } => choice(param, id, values, value, wrong),
        ParamKind::Int { .. } | ParamKind::Port => {
            let (min, max) = bounds(&param.kind);
            html! {
                input id=(id) type="number" inputmode="numeric" step="1" min=[min] max=[max] name=(name) value=(value)
                    required[param.required] autocomplete="off" aria-describedby=(about) aria-invalid=[wrong];
            }
        }
        ParamKind::Secret => html! {
            textarea.secret data-min=(MIN_SECRET_CHARS) data-max=(MAX_TEXT_CHARS) id=(id) name=(name) rows="1" required[param.required] autocomplete="off" spellcheck="false"
                autocapitalize="none" aria-describedby=(about) aria-invalid=[wrong] {}
        },
        ParamKind::String {
            pattern,
            max_length,
        } => {
            let is_long = pattern.is_none() && max_length.is_none_or(|most| most > LONG_TEXT);
            let has_lines = pattern
                .as_ref()
                .is_some_and(|pattern| names_line_end(pattern.as_str()));
            html! {
                @if is_long || has_lines || value.contains('\n') || default_text(param).contains('\n') {
                    // HTML parsers drop a line end right after the tag, so one is added.
                    textarea id=(id) name=(name) rows="1" data-max=[max_length] required[param.required] autocomplete="off" spellcheck="false"
                        aria-describedby=(about) aria-invalid=[wrong] { "\n" (value) }
                } @else {
                    input id=(id) type="text" name=(name) value=(value) required[param.required] autocomplete="off"
                        maxlength=[max_length.map(|most| most.saturating_mul(2))] data-max=[max_length] spellcheck="false" autocapitalize="none"
                        aria-describedby=(about) aria-invalid=[wrong];
                }
            }
        }
    }
}

/// Whether a pattern allows line ends: it names them, and not only to exclude them (`[^\\n]`).
fn names_line_end(pattern: &str) -> bool {
    let mut rest = pattern;
    let mut is_forbidden = false;
    while let Some(c) = rest.chars().next() {
        let is_escape = c == '\\';
        match c {
            '[' if rest.starts_with("[^") => is_forbidden = true,
            ']' => is_forbidden = false,
            '\n' if !is_forbidden => return true,
            '\\' if !is_forbidden && rest.starts_with("\\n") => return true,
            _ => {}
        }
        let taken = rest.chars().take(1 + usize::from(is_escape));
        rest = &rest[taken.map(char::len_utf8).sum()..];
    }
    false
}

fn has_two_states(param: &Param) -> bool {
    param.default.is_some()
}

fn bounds(kind: &ParamKind) -> (Option<i64>, Option<i64>) {
    match kind {
        ParamKind::Int { min, max } => (*min, *max),
        ParamKind::Port => (Some(1), Some(65_535)),
        ParamKind::String { .. } | ParamKind::Bool | ParamKind::Enum { .. } | ParamKind::Secret => {
            (None, None)
        }
    }
}

fn choice(param: &Param, id: &str, values: &[String], value: &str, wrong: Option<&str>) -> Markup {
    html! {
        select id=(id) name=(format!("p.{}", param.name)) required[param.required] aria-invalid=[wrong]
            aria-describedby=(described_by(id)) {
            @if param.default.is_none() { option value="" { "Choose…" } }
            @for known in values { option value=(known) selected[known == value] { (known) } }
        }
    }
}

/// The text of this field in a new form.
pub(super) fn default_text(param: &Param) -> String {
    param
        .default
        .as_ref()
        .map(ParamValue::to_string)
        .unwrap_or_default()
}

/// A job's value as the form's text; empty for a secret, which must be entered again.
pub(super) fn text_of(param: &Param, value: Option<&Value>) -> String {
    match (value, &param.kind) {
        (None, _) | (_, ParamKind::Secret) => String::new(),
        (Some(Value::String(text)), _) => text.clone(),
        (Some(value), _) => value.to_string(),
    }
}

/// The submitted text of this field; the last value counts (checkboxes send two).
pub(super) fn typed(param: &Param, form: &Form) -> Option<String> {
    let name = format!("p.{}", param.name);
    form.0
        .all(&name)
        .last()
        .map(|text| text.replace("\r\n", "\n"))
}

/// The name of the stored secret that was chosen for this field.
pub(super) fn stored_secret(param: &Param, form: &Form) -> Option<String> {
    let is_secret = param.kind == ParamKind::Secret;
    let chosen = form.filled(&format!("s.{}", param.name));
    chosen.filter(|_| is_secret)
}

/// The field of a secret that only takes a stored one, with their names.
pub(super) fn draw_stored(
    param: &Param,
    chosen: &str,
    names: &[String],
    fault: Option<&str>,
    may_store: bool,
) -> Markup {
    let id = format!("f-s.{}", param.name);
    let label = match param.required {
        true => param.name.clone(),
        false => format!("{} (optional)", param.name),
    };
    let hint = hint_of_stored(param, names.is_empty());
    html! {
        (around(&id, &label, Some(&hint), fault, stored_select(param, &id, chosen, names, (false, "Choose…"), fault)))
        @if names.is_empty() && may_store { p { a href="/secrets" { "Store a secret" } } }
    }
}

fn hint_of_stored(param: &Param, has_none: bool) -> String {
    let about = match has_none {
        true => "No stored secret is for this preset. An ADMIN can store one",
        false => "A stored secret",
    };
    match param.description.trim() {
        "" => about.to_owned(),
        description => format!("{description} · {about}"),
    }
}

fn stored_select(
    param: &Param,
    id: &str,
    chosen: &str,
    names: &[String],
    (is_required, nothing): (bool, &str),
    fault: Option<&str>,
) -> Markup {
    // One that was chosen stays, so that its fault is understood.
    let is_gone = !chosen.is_empty() && !names.iter().any(|name| name == chosen);
    html! {
        select id=(id) name=(format!("s.{}", param.name)) required[is_required] aria-describedby=(described_by(id)) aria-invalid=[fault.map(|_| "true")] {
            option value="" { (nothing) }
            @if is_gone { option value=(chosen) selected { (chosen) } }
            @for name in names { option value=(name) selected[name == chosen] { (name) } }
        }
    }
}

/// The field of a secret that is typed, or taken from a stored one.
pub(super) fn draw_secret(
    param: &Param,
    chosen: &str,
    names: &[String],
    fault: Option<&str>,
) -> Markup {
    if names.is_empty() && chosen.is_empty() {
        return draw(param, None, fault);
    }
    let id = format!("f-s.{}", param.name);
    let label = format!("{}: stored secret (optional)", param.name);
    let hint = "Is used in place of a typed value";
    // Either of both fields is enough, which the server checks.
    let typed = Param {
        required: false,
        ..param.clone()
    };
    html! {
        (around(&id, &label, Some(hint), None, stored_select(param, &id, chosen, names, (false, "None: the value below"), None)))
        (draw(&typed, None, fault))
    }
}

/// The params of a request, as JSON.
pub(super) fn json<'p>(params: impl Iterator<Item = &'p Param>, form: &Form) -> Map<String, Value> {
    let read = |param: &Param| match stored_secret(param, form) {
        Some(name) => Some(serde_json::json!({ "secret": name })),
        None => value(param, typed(param, form)?),
    };
    params
        .filter_map(|param| Some((param.name.clone(), read(param)?)))
        .collect()
}

/// One value; `None` if the field means that the param is not given.
fn value(param: &Param, typed: String) -> Option<Value> {
    match &param.kind {
        ParamKind::Int { .. } | ParamKind::Port => {
            let typed = typed.trim();
            (!typed.is_empty()).then(|| {
                typed
                    .parse::<i64>()
                    .map_or_else(|_| Value::from(typed), Value::from)
            })
        }
        ParamKind::Bool => match typed.as_str() {
            "" => None,
            "true" => Some(Value::from(true)),
            "false" => Some(Value::from(false)),
            _ => Some(Value::from(typed)),
        },
        ParamKind::Enum { .. } | ParamKind::Secret => {
            (!typed.is_empty()).then(|| Value::from(typed))
        }
        // An emptied field that had a default means the empty string.
        ParamKind::String { .. } => {
            (!typed.is_empty() || param.default.is_some()).then(|| Value::from(typed))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Query;
    use crate::presets::Preset;

    const PRESET: &str = "
name: forms
targets: [any]
params:
  port: { type: port, default: 22 }
  count: { type: int, min: 1 }
  on: { type: bool, default: true }
  maybe: { type: bool }
  color: { type: enum, values: [red, blue] }
  greeting: { type: string, default: hello }
  note: { type: string }
  token: { type: secret }
steps:
  - name: Nothing
    run: 'true'
";

    fn read(body: &str) -> Value {
        let preset = Preset::parse("forms", PRESET).expect("a preset");
        let form = Form(Query::parse_pairs(body.as_bytes()));
        Value::Object(json(preset.params.iter(), &form))
    }

    #[test]
    fn text_becomes_json_of_its_type() {
        let body = "p.port=+2222+&p.count=7&p.on=false&p.on=true&p.maybe=false&p.color=red&p.greeting=a%0D%0Ab&p.note=x\
            &p.token=s3cret";
        let wanted = serde_json::json!({"port": 2222, "count": 7, "on": true, "maybe": false, "color": "red",
            "greeting": "a\nb", "note": "x", "token": "s3cret"});
        assert_eq!(read(body), wanted);
    }

    #[test]
    fn a_stored_secret_counts_before_a_typed_value() {
        assert_eq!(
            read("s.token=restic&p.token=typed&p.on=true"),
            serde_json::json!({"token": {"secret": "restic"}, "on": true})
        );
        // Only a secret has one.
        assert_eq!(
            read("s.note=restic&s.token=&p.token=typed&p.on=true"),
            serde_json::json!({"token": "typed", "on": true})
        );
    }

    #[test]
    fn an_empty_field_is_not_given_unless_it_had_a_default() {
        let body = "p.port=&p.count=&p.on=false&p.maybe=&p.color=&p.greeting=&p.note=&p.token=&p.unknown=x";
        assert_eq!(read(body), serde_json::json!({"on": false, "greeting": ""}));
    }

    #[test]
    fn a_value_that_is_not_a_number_stays_as_it_was_typed() {
        assert_eq!(
            read("p.port=22.0&p.count=1e3"),
            serde_json::json!({"port": "22.0", "count": "1e3"})
        );
        assert_eq!(
            read("p.count=99999999999999999999"),
            serde_json::json!({"count": "99999999999999999999"})
        );
    }

    #[test]
    fn a_pattern_that_names_line_ends_takes_several_lines() {
        for (pattern, has_lines) in [
            (r"(/[^\n]*(\n|$))+", true),
            ("a\nb", true),
            (r"[a-z\n]+", true),
            (r"[^\n]+", false),
            (r"[^\]\n]+", false),
            (r"a\\n", false),
            ("", false),
            (r"ü\", false),
        ] {
            assert_eq!(names_line_end(pattern), has_lines, "{pattern}");
        }
    }

    #[test]
    fn a_secret_is_not_shown_again() {
        let preset = Preset::parse("forms", PRESET).expect("a preset");
        let token = preset.param("token").expect("there");
        assert_eq!(text_of(token, Some(&Value::from("***"))), "");
        assert!(
            !draw(token, Some("hunter22"), None)
                .into_string()
                .contains("hunter22")
        );
    }
}
