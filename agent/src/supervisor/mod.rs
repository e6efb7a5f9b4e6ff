//! The small process that each job runs under: the agent's handle on it, and the process itself.

pub(crate) mod handle;
pub(crate) mod orphans;
pub mod process;
