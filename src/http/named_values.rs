//! Reads JSON objects whose names the client chooses, within limits.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The most names of an object that are kept, many times more than any valid request has. Further
/// names are only counted.
pub(super) const NAMES_MAX: usize = 1_000;

/// An object whose names the client chose.
#[derive(Debug, Clone, Default)]
pub struct NamedValues {
    /// The first [`NAMES_MAX`] names. Values that are lists or objects are emptied, apart from
    /// objects with one string.
    pub kept: Map<String, Value>,
    /// The number of further names.
    pub more: u64,
}

impl From<Map<String, Value>> for NamedValues {
    fn from(kept: Map<String, Value>) -> Self {
        Self { kept, more: 0 }
    }
}

/// Refuses a repeated name, because it is unclear which value counts.
impl<'de> Deserialize<'de> for NamedValues {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(NamedValuesVisitor)
    }
}

/// Reads an object of strings or `null`. Names after the first [`NAMES_MAX`] are left out.
pub(crate) fn some_labels<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    Ok(Option::<Labels>::deserialize(from)?.map(|Labels(labels)| labels))
}

struct Labels(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(LabelsVisitor)
    }
}

struct NamedValuesVisitor;

impl<'de> Visitor<'de> for NamedValuesVisitor {
    type Value = NamedValues;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
        let mut values = NamedValues::default();
        while let Some(name) = pairs.next_key::<String>()? {
            if values.kept.contains_key(&name) {
                return Err(A::Error::custom(format_args!("has {name} twice")));
            }
            let value = pairs.next_value_seed(ShallowValue)?;
            if values.kept.len() < NAMES_MAX {
                values.kept.insert(name, value);
            } else {
                values.more += 1;
            }
        }
        Ok(values)
    }
}

struct LabelsVisitor;

impl<'de> Visitor<'de> for LabelsVisitor {
    type Value = Labels;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
        let mut labels = BTreeMap::new();
        while let Some((name, text)) = pairs.next_entry::<String, String>()? {
            if labels.len() < NAMES_MAX || labels.contains_key(&name) {
                labels.insert(name, text);
            }
        }
        Ok(Labels(labels))
    }
}

/// Reads a value. Lists and objects are emptied, because they are never valid here, apart from an
/// object with one string: a reference to a stored secret.
struct ShallowValue;

impl<'de> DeserializeSeed<'de> for ShallowValue {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ShallowValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(truth.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        while values.next_element_seed(ShallowValue)?.is_some() {}
        Ok(Value::Array(Vec::new()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Value, A::Error> {
        let (mut kept, mut count) = (Map::new(), 0_u64);
        while let Some(name) = pairs.next_key::<String>()? {
            let value = pairs.next_value_seed(ShallowValue)?;
            count += 1;
            if count == 1 && value.is_string() {
                kept.insert(name, value);
            }
        }
        if count > 1 {
            kept.clear();
        }
        Ok(Value::Object(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> NamedValues {
        serde_json::from_str(json).expect("an object")
    }

    #[test]
    fn scalars_are_kept_and_lists_are_emptied() {
        let json = r#"{"a": "x", "b": 1, "c": -1, "d": 1.5, "e": true, "f": null, "g": [1, [2]], "h": {"i": {"j": 1}}, "k": {"secret": "x"}, "l": {"a": "x", "b": "y"}}"#;
        let read = read(json);
        let wanted = serde_json::json!({"a": "x", "b": 1, "c": -1, "d": 1.5, "e": true, "f": null, "g": [], "h": {}, "k": {"secret": "x"}, "l": {}});
        assert_eq!((Value::Object(read.kept), read.more), (wanted, 0));
    }

    #[test]
    fn names_past_the_bound_are_counted() {
        let pairs: Vec<String> = (0..NAMES_MAX + 7).map(|n| format!("\"n{n}\":0")).collect();
        let read = read(&format!("{{{}}}", pairs.join(",")));
        assert_eq!((read.kept.len(), read.more), (NAMES_MAX, 7));
    }
}
