//! The one source of "now" in the agent.

use std::time::SystemTime;

/// Returns the current time by the machine's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
pub(crate) fn system_now() -> SystemTime {
    SystemTime::now()
}
