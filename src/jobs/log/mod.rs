//! Reads kept output: the log, its steps, the detail of a job, differences between scripts.

pub(in crate::jobs) mod body;
pub(in crate::jobs) mod comparing;
pub(in crate::jobs) mod detail;
pub(in crate::jobs) mod diff;
pub(in crate::jobs) mod expected_times;
pub(in crate::jobs) mod last_error;
pub(in crate::jobs) mod routes;
pub(in crate::jobs) mod steps;
pub(in crate::jobs) mod window;
