//! Who did what: [`record`] inside the change that it tells of, and the list of it for ADMINs.
//!
//! Entries are only ever added. `auth`, which this folder needs, writes its own through
//! `store::audit` directly.

mod routes;

pub use crate::store::audit::{Entry, insert as record};
pub use routes::routes;
