//! HyprBox Jobs: the server. A user queues a preset on a node. The server renders and freezes the
//! script, exactly one agent claims the job, its output streams through the server to viewers, and
//! the job stays readable.
//!
//! Imports point one way: `store ← http ← auth ← audit, hub, ledger, presets, nodes, outbox ←
//! jobs ← runs, schedules, notify ← ops, dashboard ← app ← main`. `cli` is an HTTP client of the
//! server and imports only its types. The map, and the path of a job through it, are in
//! docs/architecture.md.

pub mod app;
pub mod audit;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
mod crypto;
pub mod dashboard;
pub mod demo;
pub mod http;
pub mod hub;
pub mod jobs;
pub mod ledger;
pub mod memory;
pub mod metrics;
mod misleading;
pub mod nodes;
pub mod notify;
pub mod ops;
pub mod outbox;
pub mod presets;
pub mod program;
pub mod runs;
pub mod schedules;
mod server;
pub mod signing;
pub mod store;
mod sync;
pub mod tasks;
mod terminal;
pub mod tls;
