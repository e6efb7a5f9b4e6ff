//! Query parameters as they stand: in order, repeats kept (axum's own extractor refuses those).

use std::borrow::Cow;
use std::convert::Infallible;
use std::ops::Deref;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::ApiError;

/// The pairs of a query string or a form's body, borrowed from it where nothing was escaped. Parameters that nobody asks
/// for are ignored.
#[derive(Debug, Default)]
pub struct Pairs<'t>(Vec<(Cow<'t, str>, Cow<'t, str>)>);

/// The pairs of the request's query string.
#[derive(Debug, Default)]
pub struct Query(Pairs<'static>);

impl Query {
    /// The pairs of a form's body or a query string.
    pub fn parse_pairs(text: &[u8]) -> Self {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let pairs = Pairs::of(text).0.into_iter();
        Self(Pairs(
            pairs
                .map(|(key, value)| (owned(key), owned(value)))
                .collect(),
        ))
    }
}

impl Deref for Query {
    type Target = Pairs<'static>;

    fn deref(&self) -> &Pairs<'static> {
        &self.0
    }
}

impl<'t> Pairs<'t> {
    /// The pairs of a query string or a form's body.
    pub fn of(text: &'t [u8]) -> Self {
        Self(form_urlencoded::parse(text).collect())
    }

    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// Every value of `name`.
    pub fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> {
        self.pairs()
            .filter(move |(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// Every pair, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_ref(), value.as_ref()))
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
