//! Checks a request's params against a preset: every fault, or the values that a script is rendered
//! from.

use std::collections::BTreeMap;
use std::fmt;

use hyprbox_protocol::Secrets;
use serde_json::{Map, Value};

use super::schema::{MAX_TEXT_CHARS, MIN_SECRET_CHARS, Param, ParamKind, ParamValue, Preset};

/// Replaces a secret in a job's `params`.
pub const MASK: &str = "***";

/// Every fault of a request's params: `params.<name>` → the rule that it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} of the params are invalid: {}", .fields.len(), list(.fields))]
pub struct ParamErrors {
    /// Never empty. The keys are those of an API error's `fields`.
    pub fields: BTreeMap<String, String>,
}

fn list(fields: &BTreeMap<String, String>) -> String {
    let faults: Vec<String> = fields.iter().map(|(k, v)| format!("{k} {v}")).collect();
    faults.join("; ")
}

/// The values that a job uses, checked against its preset, with defaults filled in. An optional
/// param without a value or a default is absent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Values {
    /// In the preset's order; `None` stands for a secret's value.
    used: Vec<(String, Option<ParamValue>)>,
    secrets: Secrets,
}

impl Values {
    /// Checks `given`, the `params` of a request, against `preset`.
    ///
    /// # Errors
    /// Every fault at once: unknown names, missing ones, wrong types, broken limits.
    pub fn check(preset: &Preset, given: &Map<String, Value>) -> Result<Self, ParamErrors> {
        let mut fields = BTreeMap::new();
        let mut fault = |name: &str, message: String| {
            fields.insert(format!("params.{name}"), message);
        };
        for name in given.keys() {
            if preset.param(name).is_none() {
                fault(name, unknown_param(preset));
            }
        }
        let mut used = Vec::with_capacity(preset.params.len());
        let mut secrets = Secrets::default();
        for param in &preset.params {
            match value_of(param, given.get(&param.name)) {
                Ok(None) => {}
                Ok(Some(ParamValue::Text(text))) if param.kind == ParamKind::Secret => {
                    used.push((param.name.clone(), None));
                    secrets.insert(param.name.clone(), text);
                }
                Ok(value) => used.push((param.name.clone(), value)),
                Err(message) => fault(&param.name, message),
            }
        }
        if fields.is_empty() {
            Ok(Self { used, secrets })
        } else {
            Err(ParamErrors { fields })
        }
    }

    /// The value of a param; `None` if it is absent or a secret.
    pub fn get(&self, name: &str) -> Option<&ParamValue> {
        self.used
            .iter()
            .find(|(known, _)| known == name)
            .and_then(|(_, value)| value.as_ref())
    }

    /// The job's `params` for the API and the database: the values used, each secret as `***`.
    pub fn shown(&self) -> Map<String, Value> {
        let show = |value: &Option<ParamValue>| match value {
            None => Value::from(MASK),
            Some(ParamValue::Text(text)) => Value::from(text.as_str()),
            Some(ParamValue::Int(number)) => Value::from(*number),
            Some(ParamValue::Bool(truth)) => Value::from(*truth),
        };
        self.used
            .iter()
            .map(|(name, value)| (name.clone(), show(value)))
            .collect()
    }

    /// The secrets by name, in the order in which the script reads them (see
    /// [`mod@super::render`]).
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The secrets, to be sealed.
    pub fn into_secrets(self) -> Secrets {
        self.secrets
    }
}

/// Keeps secrets out of logs that use `{:?}`.
impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Values").field(&self.shown()).finish()
    }
}

fn unknown_param(preset: &Preset) -> String {
    if preset.params.is_empty() {
        return format!("is unknown: {} takes no params", preset.name);
    }
    let names: Vec<&str> = preset.params.iter().map(|p| p.name.as_str()).collect();
    format!("is unknown: {} takes {}", preset.name, names.join(", "))
}

fn value_of(param: &Param, given: Option<&Value>) -> Result<Option<ParamValue>, String> {
    match given {
        Some(value) => check_value(&param.kind, value).map(Some),
        None if param.required => Err("is required".to_owned()),
        None => Ok(param.default.clone()),
    }
}

/// Checks one JSON value against a param's type and limits. The message continues the param's name.
pub(super) fn check_value(kind: &ParamKind, value: &Value) -> Result<ParamValue, String> {
    match kind {
        ParamKind::Bool => value
            .as_bool()
            .map(ParamValue::Bool)
            .ok_or_else(|| "must be true or false".to_owned()),
        ParamKind::Int { min, max } => check_int(value, *min, *max),
        ParamKind::Port => check_int(value, Some(1), Some(65_535)),
        ParamKind::Enum { values } => match value.as_str() {
            Some(text) if values.iter().any(|known| known == text) => Ok(text_value(text)),
            _ => Err(format!("must be one of {}", values.join(", "))),
        },
        ParamKind::String {
            pattern,
            max_length,
        } => {
            let text = check_text(value, 0, max_length.unwrap_or(MAX_TEXT_CHARS))?;
            match pattern {
                Some(pattern) if !pattern.matches(text) => {
                    Err(format!("must match {}", pattern.as_str()))
                }
                _ => Ok(text_value(text)),
            }
        }
        ParamKind::Secret => check_text(value, MIN_SECRET_CHARS, MAX_TEXT_CHARS).map(text_value),
    }
}

/// Checks the value of a secret. The message continues its name.
pub fn check_secret(value: &str) -> Result<(), String> {
    check_value(&ParamKind::Secret, &Value::from(value)).map(|_| ())
}

fn text_value(text: &str) -> ParamValue {
    ParamValue::Text(text.to_owned())
}

/// Accepts 22 but not 22.0, 2.2e1 or "22": each value has one spelling, so that equal requests are
/// equal bytes.
fn check_int(value: &Value, min: Option<i64>, max: Option<i64>) -> Result<ParamValue, String> {
    let (least, most) = (min.unwrap_or(i64::MIN), max.unwrap_or(i64::MAX));
    let range = match (min, max) {
        (None, Some(max)) => format!("at most {max}"),
        (Some(min), None) => format!("at least {min}"),
        _ => format!("{least} to {most}"),
    };
    match value.as_i64() {
        Some(number) if (least..=most).contains(&number) => Ok(ParamValue::Int(number)),
        // Above i64::MAX it is still a whole number, but too large.
        _ if value.is_i64() || value.is_u64() => Err(format!("must be {range}")),
        _ => Err(format!("must be a whole number, {range}")),
    }
}

fn check_text(value: &Value, least: usize, most: usize) -> Result<&str, String> {
    let text = value.as_str().ok_or("must be a string")?;
    if text.contains('\0') {
        return Err("must not contain a NUL character, which bash can't hold".to_owned());
    }
    let length = text.chars().count();
    match length {
        _ if (least..=most).contains(&length) => Ok(text),
        _ if least > 0 => Err(format!("must have {least} to {most} characters")),
        _ => Err(format!("must have at most {most} characters")),
    }
}

/// Converts a default from YAML to the JSON of a request.
pub(super) fn json_from_yaml(yaml: &serde_yaml::Value) -> Result<Value, String> {
    use serde_yaml::Value as Yaml;
    match yaml {
        Yaml::Null => Err("must not be null: leave it out instead".to_owned()),
        Yaml::Bool(truth) => Ok(Value::from(*truth)),
        Yaml::String(text) => Ok(Value::from(text.as_str())),
        Yaml::Number(number) => number
            .as_i64()
            .map(Value::from)
            .or_else(|| number.as_u64().map(Value::from))
            .or_else(|| number.as_f64().map(Value::from))
            .ok_or_else(|| "must be a number that JSON can represent".to_owned()),
        Yaml::Sequence(_) | Yaml::Mapping(_) | Yaml::Tagged(_) => {
            Err("must be a string, a number or a boolean".to_owned())
        }
    }
}

/// `value` as one word of bash, in single quotes, in which only the closing quote is special.
pub(super) fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}
