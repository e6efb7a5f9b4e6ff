//! Query parameters as they stand: in order, repeats kept (axum's own extractor refuses those).

use std::convert::Infallible;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::ApiError;

/// The pairs of the query string. Parameters that nobody asks for are ignored.
#[derive(Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// The pairs of a form's body or a query string.
    pub fn parse_pairs(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Every value of `name`.
    pub fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Every pair, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The first value of `name` as a number (or the like) within `allowed`; a 400 that says `must be {words}` otherwise.
    pub fn parse<T: FromStr + PartialOrd>(
        &self,
        name: &str,
        allowed: std::ops::RangeInclusive<T>,
        words: &str,
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(value) if allowed.contains(&value) => Ok(Some(value)),
            _ => Err(self.wrong(name, words)),
        }
    }

    /// A 400 for the parameter `name`, which must be `words`.
    pub fn wrong(&self, name: &str, words: &str) -> ApiError {
        ApiError::bad_request("bad_input", format!("{name}: must be {words}"))
            .with_field(name, format!("must be {words}"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::parse_pairs(
            parts.uri.query().unwrap_or_default().as_bytes(),
        ))
    }
}
