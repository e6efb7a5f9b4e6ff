//! HyprBox Jobs: the server. A person queues a preset on a node; the server freezes the rendered
//! script, exactly one agent claims it, its output streams in and out again, and what was run stays
//! readable.
//!
//! Imports point one way: `store ← http ← auth ← audit, hub, presets, nodes ← jobs ← ops, dashboard
//! ← app ← main`. `cli` speaks HTTP with a server, and imports its words alone.
//! docs/architecture.md has the map and the way of one job through it.

pub mod app;
pub mod audit;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dashboard;
pub mod demo;
pub mod http;
pub mod hub;
pub mod jobs;
pub mod memory;
pub mod metrics;
mod misleading;
pub mod nodes;
pub mod ops;
pub mod presets;
pub mod program;
mod server;
pub mod store;
pub mod tasks;
mod terminal;
pub mod tls;
