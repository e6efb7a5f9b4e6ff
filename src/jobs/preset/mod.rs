//! Presets: reading, checking and rendering them, and saving them in the app.
//!
//! Saved presets are in the database. Each use asks the database for changes first, so that a
//! preset saved on one server takes effect at the next request to any other.

mod check;
mod condition;
mod error;
mod import_routes;
mod read;
pub(super) mod routes;
mod save;
mod save_routes;

pub use condition::Condition;
pub use error::PresetError;
pub use save::{SavedPreset, etag_of};
pub use save_routes::PresetVersionView;
