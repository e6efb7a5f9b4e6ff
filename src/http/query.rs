//! Query parameters in their order, with repetitions (which axum's own extractor refuses).
//! Endpoints for people refuse unknown parameters, because a misspelt filter that is ignored would
//! return too much.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::{ApiError, FieldErrors};

/// The pairs of a query string or a form's body, borrowed from it if nothing was escaped.
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

    /// The first value of `name`, parsed and within `allowed`; otherwise a 400 with the message
    /// `must be {rule}`.
    pub fn parse<T: FromStr + PartialOrd>(
        &self,
        name: &str,
        allowed: std::ops::RangeInclusive<T>,
        rule: &str,
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(value) if allowed.contains(&value) => Ok(Some(value)),
            _ => Err(self.wrong(name, rule)),
        }
    }

    /// A 400 that names every parameter that is not `known`.
    pub fn refuse_unknown(&self, known: impl Fn(&str) -> bool) -> Result<(), ApiError> {
        let mut faults = FieldErrors::default();
        for (name, _) in self.pairs().filter(|(name, _)| !known(name)) {
            faults.add(name, "is not a query parameter of this endpoint");
        }
        faults.into_result()
    }

    /// A 400 for the parameter `name`, with the message `must be {rule}`.
    pub fn wrong(&self, name: &str, rule: &str) -> ApiError {
        ApiError::bad_request("bad_input", format!("{name}: must be {rule}"))
            .with_field(name, format!("must be {rule}"))
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

/// The query parameters of each endpoint for people, by method and path, from the API's
/// description. Other parameters are refused.
#[derive(Debug, Clone)]
pub struct KnownParameters(Arc<BTreeMap<(String, String), BTreeSet<String>>>);

impl KnownParameters {
    /// Reads the API's description, which is JSON. Agents' endpoints are left out, because a newer
    /// agent may send parameters that this server does not know. So are the endpoints for probes
    /// and scrapers, which are not part of the API.
    pub fn of(description: &[u8]) -> serde_json::Result<Self> {
        let description: Value = serde_json::from_slice(description)?;
        let mut known = BTreeMap::new();
        for (path, item) in description["paths"].as_object().into_iter().flatten() {
            for (method, operation) in item.as_object().into_iter().flatten() {
                if path.starts_with("/api/") && !is_for_agents(path, operation) {
                    let key = (method.to_uppercase(), path.clone());
                    known.insert(key, described_parameters(operation));
                }
            }
        }
        Ok(Self(Arc::new(known)))
    }

    fn check(&self, request: &Request) -> Result<(), ApiError> {
        let (Some(query), Some(path)) = (
            request.uri().query(),
            request.extensions().get::<MatchedPath>(),
        ) else {
            return Ok(());
        };
        // HEAD is answered like GET.
        let method = match request.method().as_str() {
            "HEAD" => "GET",
            method => method,
        };
        let key = (method.to_owned(), path.as_str().to_owned());
        match self.0.get(&key) {
            Some(known) => Pairs::of(query.as_bytes()).refuse_unknown(|name| known.contains(name)),
            None => Ok(()),
        }
    }
}

fn is_for_agents(path: &str, operation: &Value) -> bool {
    let mut schemes = operation["security"].as_array().into_iter().flatten();
    path == "/api/enrol" || schemes.any(|scheme| scheme.get("node").is_some())
}

fn described_parameters(operation: &Value) -> BTreeSet<String> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    parameters
        .filter(|parameter| parameter["in"] == "query")
        .filter_map(|parameter| parameter["name"].as_str().map(str::to_owned))
        .collect()
}

/// Middleware: refuses query parameters that the endpoint does not know.
pub async fn refuse_unknown_parameters(
    State(known): State<KnownParameters>,
    request: Request,
    next: Next,
) -> Response {
    match known.check(&request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}
