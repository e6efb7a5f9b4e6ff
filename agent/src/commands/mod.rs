//! The commands that people run on a node, next to `hyprbox-agent run`.

mod agent_process;
pub mod check;
pub mod confirm;
pub mod enroll;
pub mod service;
pub mod stop_jobs;
pub mod upgrade;
