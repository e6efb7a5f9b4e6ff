//! What the server answers when it can't do what was asked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The body of every answer with a status of 400 or more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ErrorBody {
    /// What went wrong, in words for a person, with the mend where there is one.
    pub error: String,
    /// The stable name of this error, for programs: `job_not_found`, `not_your_claim`.
    pub code: String,
    /// Only where fields are at fault: the field's path and what it must be.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}
