//! HyprBox Jobs: the server.

pub mod clock;
pub mod http;
pub mod store;
