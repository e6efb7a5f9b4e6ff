//! The conditions under which a preset is saved or deleted: `If-None-Match: *` and `If-Match`.

use axum::http::{HeaderMap, HeaderName, header};

use super::PresetError;

/// What must be true of the preset in the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// None of this name is saved.
    Absent,
    /// One is saved, in any version.
    Any,
    /// One of these versions is in use.
    Versions(Vec<u64>),
}

impl Condition {
    /// The condition of a request; `None` without one.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, PresetError> {
        let (absent, matching) = (
            joined(headers, &header::IF_NONE_MATCH)?,
            joined(headers, &header::IF_MATCH)?,
        );
        match (absent.as_deref(), matching.as_deref()) {
            (None, None) => Ok(None),
            (Some("*"), None) => Ok(Some(Self::Absent)),
            (Some(_), None) => Err(PresetError::BadCondition(
                "If-None-Match must be *, which creates the preset",
            )),
            (None, Some("*")) => Ok(Some(Self::Any)),
            (None, Some(tags)) => Ok(Some(Self::Versions(
                tags.split(',').filter_map(version_of).collect(),
            ))),
            (Some(_), Some(_)) => Err(PresetError::BadCondition(
                "Send either If-None-Match or If-Match, not both",
            )),
        }
    }

    /// Whether it holds for the version in use, if any.
    pub(super) fn holds(&self, version: Option<u64>) -> bool {
        match (self, version) {
            (Self::Absent, version) => version.is_none(),
            (Self::Any, version) => version.is_some(),
            (Self::Versions(versions), Some(version)) => versions.contains(&version),
            (Self::Versions(_), None) => false,
        }
    }
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, PresetError> {
    let mut values = Vec::new();
    for value in headers.get_all(name) {
        let value = value.to_str().map_err(|_| {
            PresetError::BadCondition("If-Match and If-None-Match must be printable ASCII")
        })?;
        values.push(value.trim());
    }
    Ok((!values.is_empty()).then(|| values.join(",")))
}

/// The version in an entity tag. A proxy that compresses answers may have made the tag weak; the
/// version in it is exact all the same. An unknown tag matches nothing.
fn version_of(tag: &str) -> Option<u64> {
    let tag = tag.trim();
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    let inner = tag.strip_prefix('"')?.strip_suffix('"')?;
    let (version, _) = inner.split_once('-')?;
    version.parse().ok().filter(|version| *version > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(pairs: &[(&'static str, &'static str)]) -> Result<Option<Condition>, ()> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a value"));
        }
        Condition::of(&headers).map_err(|_| ())
    }

    #[test]
    fn conditions_are_read_from_their_headers() {
        let versions = |list: &[u64]| Ok(Some(Condition::Versions(list.to_vec())));
        assert_eq!(condition(&[]), Ok(None));
        assert_eq!(
            condition(&[("if-none-match", "*")]),
            Ok(Some(Condition::Absent))
        );
        assert_eq!(condition(&[("if-none-match", "\"1-a\"")]), Err(()));
        assert_eq!(condition(&[("if-match", "*")]), Ok(Some(Condition::Any)));
        assert_eq!(condition(&[("if-match", "\"7-ab\"")]), versions(&[7]));
        assert_eq!(
            condition(&[("if-match", "W/\"7-ab\", \"x\""), ("if-match", "\"9-c\"")]),
            versions(&[7, 9])
        );
        assert_eq!(condition(&[("if-match", "\"0-ab\"")]), versions(&[]));
        assert_eq!(condition(&[("if-match", "7")]), versions(&[]));
        let both = [("if-match", "*"), ("if-none-match", "*")];
        assert_eq!(condition(&both), Err(()));
    }

    #[test]
    fn a_condition_holds_for_the_version_in_use() {
        let versions = Condition::Versions(vec![2, 3]);
        for (condition, none, two, four) in [
            (Condition::Absent, true, false, false),
            (Condition::Any, false, true, true),
            (versions, false, true, false),
        ] {
            assert_eq!(condition.holds(None), none);
            assert_eq!(condition.holds(Some(2)), two);
            assert_eq!(condition.holds(Some(4)), four);
        }
    }
}
