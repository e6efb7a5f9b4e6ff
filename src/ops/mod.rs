//! What those who run the server ask of it: does it live, does it take work, what does it count,
//! what can it do.

pub mod backup;
mod description;
pub mod doctor;
pub mod migrate_store;
mod readiness;
pub mod restore;
mod routes;
pub(crate) mod schedule;

pub use description::document;
pub use routes::{Ops, routes};
