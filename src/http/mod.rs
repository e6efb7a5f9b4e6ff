//! The base of all routes: one error type, extractors that fail with it, limits and headers.

mod body;
mod budget;
mod drain;
mod error;
mod headers;
mod json;
mod named_values;
mod path;
mod query;
mod waiter;

pub use error::{ApiError, FieldErrors};
pub use headers::{API_CSP, RequestId, answer_headers, finish};
pub use json::{AgentJson, JsonBody, JsonWithValue, OptionalJson};
pub use named_values::NamedValues;
pub use path::Path;
pub use query::{KnownParameters, Pairs, Query, refuse_unknown_parameters};
pub use waiter::{ResumedCall, Suspend, Suspender, Wait, Waiter};

pub(crate) use body::read_body;
pub(crate) use budget::{Budget, Holder, Meter};
pub(crate) use drain::DrainableBody;
pub(crate) use error::grouped;
pub(crate) use named_values::some_labels;
