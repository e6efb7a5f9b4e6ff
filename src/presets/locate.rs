//! Where in a YAML text something is. The checks that come after parsing know *what* is wrong
//! (`params.ssh_port.default`), and serde no longer knows *where*: so the text is walked once more along that path, and
//! the walk fails on purpose when it is there, since serde's errors carry the line and column. The same walk finds a key
//! that a mapping has twice, which serde's structs tell of with the position of the whole mapping.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A step down into a YAML document.
#[derive(Debug, Clone, Copy)]
pub(super) enum Segment<'a> {
    /// The value of that key.
    Key(&'a str),
    /// The item of that index.
    Index(usize),
}

/// What to point at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// The value at the end of a path.
    Value,
    /// The key that leads to it.
    Key,
    /// The first key, anywhere, that its mapping has already.
    Twice,
}

/// Line and column, from 1, of what is at `path`; none if there is no such thing.
pub(super) fn locate(text: &str, path: &[Segment<'_>], aim: Aim) -> Option<(usize, usize)> {
    let walk = Walk { path, aim };
    let error = walk
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .err()?;
    error.location().map(|at| (at.line(), at.column()))
}

/// The fault of the first key that its mapping has twice, at the second one.
pub(super) fn twice(text: &str) -> Option<serde_yaml::Error> {
    let walk = Walk {
        path: &[],
        aim: Aim::Twice,
    };
    let error = walk
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .err()?;
    // Other errors are for whoever reads the file in earnest.
    error.to_string().contains(IS_TWICE).then_some(error)
}

const IS_TWICE: &str = " is there twice";

#[derive(Clone, Copy)]
struct Walk<'a> {
    path: &'a [Segment<'a>],
    aim: Aim,
}

impl Walk<'_> {
    /// A scalar, or what can't be descended into: the goal, or a path that leads nowhere.
    fn leaf<E: de::Error>(self) -> Result<(), E> {
        if self.path.is_empty() && self.aim != Aim::Twice {
            return Err(E::custom("here"));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if self.aim == Aim::Twice {
            let mut seen = BTreeSet::new();
            while map.next_key_seed(NewKey(&mut seen))?.is_some() {
                map.next_value_seed(self)?;
            }
            return Ok(());
        }
        let Some((Segment::Key(wanted), rest)) = self.path.split_first() else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return self.leaf();
        };
        let stop_at_key = rest.is_empty() && self.aim == Aim::Key;
        while let Some(found) = map.next_key_seed(KeyIs {
            wanted,
            stop: stop_at_key,
        })? {
            if found {
                map.next_value_seed(Walk { path: rest, ..self })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.aim == Aim::Twice {
            while seq.next_element_seed(self)?.is_some() {}
            return Ok(());
        }
        let Some((Segment::Index(wanted), rest)) = self.path.split_first() else {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return self.leaf();
        };
        for _ in 0..*wanted {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        seq.next_element_seed(Walk { path: rest, ..self })?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.leaf()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        self.leaf()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        self.leaf()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        self.leaf()
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        self.leaf()
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.leaf()
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        self.leaf()
    }
}

/// Whether a key is the wanted one; with `stop`, the walk ends on it.
#[derive(Clone, Copy)]
struct KeyIs<'a> {
    wanted: &'a str,
    stop: bool,
}

impl<'de> DeserializeSeed<'de> for KeyIs<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyIs<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<bool, E> {
        if key == self.wanted && self.stop {
            return Err(E::custom("here"));
        }
        Ok(key == self.wanted)
    }
}

/// A key that the mapping doesn't have yet.
struct NewKey<'a>(&'a mut BTreeSet<String>);

impl<'de> DeserializeSeed<'de> for NewKey<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NewKey<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<(), E> {
        if self.0.insert(key.to_owned()) {
            return Ok(());
        }
        Err(E::custom(format!("`{key}`{IS_TWICE}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name: a\nparams:\n  port: { type: port,\n          default: 0 }\nsteps:\n  - name: x\n    run: |\n      true\n  - run: y\n";

    #[test]
    fn a_path_leads_to_its_line_and_column() {
        use Segment::{Index, Key};
        type Case<'a> = (&'a [Segment<'a>], Aim, Option<(usize, usize)>);
        let cases: &[Case<'_>] = &[
            (&[Key("name")], Aim::Value, Some((1, 7))),
            (&[Key("params"), Key("port")], Aim::Key, Some((3, 3))),
            (&[Key("params"), Key("port")], Aim::Value, Some((3, 9))),
            (
                &[Key("params"), Key("port"), Key("default")],
                Aim::Value,
                Some((4, 20)),
            ),
            (
                &[Key("steps"), Index(0), Key("run")],
                Aim::Value,
                Some((7, 10)),
            ),
            (&[Key("steps"), Index(1)], Aim::Value, Some((9, 5))),
            (&[Key("steps"), Index(2)], Aim::Value, None),
            (&[Key("name"), Key("deeper")], Aim::Value, None),
        ];
        for (path, aim, expected) in cases {
            assert_eq!(locate(TEXT, path, *aim), *expected, "{path:?} {aim:?}");
        }
    }
}
