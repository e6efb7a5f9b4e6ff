//! What every route shares: one error type, the extractors whose refusals are that error, limits
//! and headers.

mod body;
mod budget;
mod drain;
mod error;
mod headers;
mod json;
mod once;
mod path;
mod query;
mod waiting;

pub use error::{ApiError, FieldErrors};
pub use headers::{API_CSP, RequestId, answer_headers, finish};
pub use json::{AgentJson, JsonBody, JsonWithValue};
pub use once::NamedValues;
pub use path::Path;
pub use query::{KnownParameters, Pairs, Query, refuse_unknown_parameters};
pub use waiting::{AskedAgain, CanSetAside, SetAside, Wait, Waiting};

pub(crate) use body::read_body;
pub(crate) use budget::{Budget, Holder, Meter};
pub(crate) use drain::Drainable;
pub(crate) use once::{each_name_once, some_labels};
