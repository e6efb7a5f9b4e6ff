//! Fault injection with the real server and the real agent: a network that loses, repeats, delays
//! and cuts messages, agents and servers that are killed, nodes that reboot, and disks that are
//! full.
//!
//! | variable | default | |
//! | --- | --- | --- |
//! | `HYPRBOX_CHAOS_SEED` | 1 | the first seed; each run prints its seed |
//! | `HYPRBOX_CHAOS_SEEDS` | 1 | how many seeds |
//! | `HYPRBOX_CHAOS_JOBS` | 60 | jobs in the storm |
//! | `HYPRBOX_CHAOS_SERVER_KILLS` | 4 | how often the server is killed in it |
//! | `HYPRBOX_CHAOS_SCHEDULE_KILLS` | 50 | how often the server is killed around due times |
//! | `HYPRBOX_CHAOS_OUTBOX_KILLS` | 50 | how often the server is killed around notifications |
//! | `HYPRBOX_CHAOS_OUTAGE_SECONDS` | 10 | how long the server is away while a job writes 200 MB |
#![cfg(target_os = "linux")]
#![allow(
    clippy::print_stderr,
    reason = "a test that fails shows what the programs logged"
)]

extern crate hyprbox_testkit as harness;

mod cancel;
mod fault;
mod message;
mod node;
mod outage;
mod outbox;
mod processes;
mod proxy;
mod random;
mod reboot;
mod runs;
mod schedules;
mod script;
mod state_folder;
mod storm;
mod upgrade;

/// Reads a number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}
