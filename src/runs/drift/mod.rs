//! Drift: whether each node is still as the presets have left it, checks of that, and runs that
//! apply the presets again.

mod again;
mod check;
mod list;
mod routes;

pub use again::{AgainGroup, AgainTarget};
pub use check::{DriftCheckRequest, DriftChecks};
pub use list::{DriftPage, DriftView};
pub(super) use routes::routes;
