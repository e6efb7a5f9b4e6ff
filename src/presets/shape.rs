//! The shape of a preset's YAML, read strictly: an unknown key is a fault. There are no tagged, untagged or flattened
//! enums here, with which serde's errors would point at the parent instead of the culprit.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::schema::Risk;

#[derive(serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a preset: a mapping with name, targets and steps"
)]
pub(super) struct RawPreset {
    pub(super) name: String,
    pub(super) title: Option<String>,
    pub(super) description: Option<String>,
    pub(super) targets: Vec<String>,
    pub(super) risk: Option<Risk>,
    pub(super) timeout: Option<String>,
    pub(super) params: Option<RawParams>,
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
    pub(super) max_length: Option<usize>,
    pub(super) min: Option<i64>,
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
    /// Limits that are there and belong to another type, each with that type: a `min` on a port would be read by
    /// people and by nothing else.
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

/// `default:` with nothing behind it is there, and null; plain `Option` would take it for absent.
fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<serde_yaml::Value>, D::Error> {
    serde_yaml::Value::deserialize(d).map(Some)
}

/// The params in the file's order, which a map type would lose; a name given twice is refused.
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
                while let Some(name) = map.next_key::<String>()? {
                    if params.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom(format!("param {name} is there twice")));
                    }
                    params.push((name, map.next_value()?));
                }
                Ok(RawParams(params))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}
