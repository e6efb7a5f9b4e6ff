//! What the machine itself can do, measured in the same run.

pub(crate) mod bash;
pub(crate) mod claims;
pub(crate) mod disk;
pub(crate) mod network;
