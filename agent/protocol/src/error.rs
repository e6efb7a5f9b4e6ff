//! The server's error answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The body of every answer with a status of 400 or more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ErrorBody {
    /// Message for the user, including how to fix the problem if that is known.
    pub error: String,
    /// The stable name of this error, for programs: `job_not_found`, `not_your_claim`.
    pub code: String,
    /// The fields at fault by path, each with what it must be; absent without any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}
