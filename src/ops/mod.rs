//! Operations: health, readiness, metrics, the API's description, backups and diagnosis.

pub mod backup;
mod description;
pub mod doctor;
pub mod health;
pub mod migrate_store;
mod readiness;
pub mod restore;
mod routes;
pub(crate) mod schedule;
mod server_lock;

pub use description::document;
pub use routes::{Ops, routes};
pub use server_lock::ServerLock;
