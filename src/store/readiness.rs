//! A write that changes nothing that matters, to know whether writes go through.

use super::tx::{Statement, Tx};
use super::{StoreError, values};
use crate::clock::Timestamp;

static TOUCH: Statement = Statement::new(include_str!("sql/readiness_touch.sql"));

/// Writes the moment down.
pub fn touch(tx: &mut dyn Tx, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(&TOUCH, values![now]).map(|_| ())
}
