//! The audit log: [`record`] adds an entry in the transaction of the change; ADMINs list the
//! entries.
//!
//! Entries are never changed or removed. `auth` uses `store::audit` directly, because this folder
//! depends on `auth`.

mod routes;

pub use crate::store::audit::{Entry, insert as record};
pub use routes::routes;
