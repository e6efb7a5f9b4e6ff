//! The machine's own limits, measured in the same run.

pub(crate) mod bash;
pub(crate) mod claims;
pub(crate) mod disk;
pub(crate) mod network;
