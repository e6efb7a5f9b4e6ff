//! HyprBox Jobs: the server.

pub mod audit;
pub mod auth;
pub mod clock;
pub mod http;
pub mod store;
