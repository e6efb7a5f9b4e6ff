//! Objects whose names are the client's own.

use std::fmt;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

/// Reads an object, or `null`. A name that stands there twice is refused: which of the two was meant, nobody knows.
pub(crate) fn each_name_once<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Map<String, Value>>, D::Error> {
    from.deserialize_option(Once)
}

struct Once;

impl<'de> Visitor<'de> for Once {
    type Value = Option<Map<String, Value>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
        let mut map = Map::new();
        while let Some((name, value)) = pairs.next_entry::<String, Value>()? {
            if map.contains_key(&name) {
                return Err(A::Error::custom(format_args!("has {name} twice")));
            }
            map.insert(name, value);
        }
        Ok(Some(map))
    }
}
