//! The structure of a preset's YAML, read strictly: an unknown key is a fault. Tagged, untagged and
//! flattened enums are avoided, because serde's errors would point at their parent.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Unexpected, Visitor};

use super::locate::Index;
use super::schema::{Fault, Risk, Step};

/// Reads the structure and stops at the first fault.
pub(super) fn read(text: &str, index: &Index) -> Result<RawPreset, Fault> {
    match &index.duplicate {
        Some(fault) => Err(fault.clone()),
        None => serde_yaml::from_str(text).map_err(|error| fault(&error)),
    }
}

/// Converts serde's error; its position moves from the text to the fields.
fn fault(error: &serde_yaml::Error) -> Fault {
    let location = error.location();
    let mut message = error.to_string();
    if let Some(at) = &location {
        let place = format!(" at line {} column {}", at.line(), at.column());
        message = message.replacen(&place, "", 1);
    }
    if message.contains("more than one document") {
        message =
            "a file must have one preset; this one has a second YAML document after ---".to_owned();
    }
    Fault {
        line: location.as_ref().map(serde_yaml::Location::line),
        column: location.as_ref().map(serde_yaml::Location::column),
        message,
    }
}

#[derive(serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    expecting = "a preset: a mapping with name, targets and steps"
)]
pub(super) struct RawPreset {
    pub(super) name: String,
    pub(super) title: Option<String>,
    pub(super) description: Option<String>,
    pub(super) targets: Vec<String>,
    pub(super) derivatives: Option<bool>,
    pub(super) risk: Option<Risk>,
    pub(super) timeout: Option<String>,
    pub(super) params: Option<RawParams>,
    pub(super) keep_processes: Option<bool>,
    pub(super) confirm: Option<String>,
    pub(super) steps: Vec<RawStep>,
}

#[derive(serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    expecting = "a param: a mapping with type"
)]
pub(super) struct RawParam {
    pub(super) r#type: RawType,
    pub(super) description: Option<String>,
    pub(super) required: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    pub(super) default: Option<serde_yaml::Value>,
    pub(super) pattern: Option<String>,
    #[serde(default, deserialize_with = "whole_number")]
    pub(super) max_length: Option<i64>,
    #[serde(default, deserialize_with = "whole_number")]
    pub(super) min: Option<i64>,
    #[serde(default, deserialize_with = "whole_number")]
    pub(super) max: Option<i64>,
    pub(super) values: Option<Vec<serde_yaml::Value>>,
}

#[derive(Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawType {
    String,
    Int,
    Bool,
    Enum,
    Port,
    Secret,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, expecting = "a step: a mapping with name and run")]
pub(super) struct RawStep {
    pub(super) name: String,
    pub(super) unless: Option<String>,
    pub(super) run: String,
    pub(super) verify: Option<String>,
    pub(super) undo: Option<String>,
}

impl RawType {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Int => "int",
            Self::Bool => "bool",
            Self::Enum => "enum",
            Self::Port => "port",
            Self::Secret => "secret",
        }
    }
}

impl RawParam {
    /// Limits that belong to another type, each with that type: a `min` on a port would have no
    /// effect.
    pub(super) fn foreign_fields(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let owned = [
            ("pattern", self.pattern.is_some(), RawType::String),
            ("maxLength", self.max_length.is_some(), RawType::String),
            ("min", self.min.is_some(), RawType::Int),
            ("max", self.max.is_some(), RawType::Int),
            ("values", self.values.is_some(), RawType::Enum),
        ];
        let mine = self.r#type;
        owned
            .into_iter()
            .filter(move |(_, present, owner)| *present && *owner != mine)
            .map(|(field, _, owner)| (field, owner.name()))
    }
}

/// Keeps an explicit null (`default:` without a value), which a plain `Option` would read as
/// absent.
fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<serde_yaml::Value>, D::Error> {
    serde_yaml::Value::deserialize(d).map(Some)
}

/// Reads an i64 with a readable error.
fn whole_number<'de, D: Deserializer<'de>>(d: D) -> Result<Option<i64>, D::Error> {
    struct Whole;

    impl Visitor<'_> for Whole {
        type Value = i64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number of 64 bits")
        }

        fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<i64, E> {
            Ok(number)
        }

        fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<i64, E> {
            i64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
        }
    }

    d.deserialize_any(Whole).map(Some)
}

/// The params in the file's order, which a map would lose. Duplicates were refused before.
pub(super) struct RawParams(pub(super) Vec<(String, RawParam)>);

impl<'de> Deserialize<'de> for RawParams {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = RawParams;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of param names, each to its type and limits")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawParams, A::Error> {
                let mut params: Vec<(String, RawParam)> = Vec::new();
                while let Some(name) = map.next_key()? {
                    params.push((name, map.next_value()?));
                }
                Ok(RawParams(params))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

impl From<RawStep> for Step {
    fn from(raw: RawStep) -> Self {
        Self {
            name: raw.name,
            unless: raw.unless,
            run: raw.run,
            verify: raw.verify,
            undo: raw.undo,
        }
    }
}
