//! The end of the server's ledger, which agents keep as witnesses.

use serde::{Deserialize, Serialize};

/// The newest entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct LedgerHead {
    /// Its number, from 1.
    #[cfg_attr(feature = "schema", schema(maximum = 9_007_199_254_740_992_i64))]
    pub seq: u64,
    /// Its hash: 64 hex digits.
    #[cfg_attr(feature = "schema", schema(max_length = 64))]
    pub hash: String,
}

impl LedgerHead {
    /// Whether the values can be those of an entry.
    pub fn is_well_formed(&self) -> bool {
        (1..=crate::MAX_BYTE_COUNT).contains(&self.seq)
            && self.hash.len() == 64
            && self.hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}
