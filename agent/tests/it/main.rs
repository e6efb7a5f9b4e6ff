//! The real agent binary against a small server over real HTTP.
#![cfg(target_os = "linux")]
#![allow(
    clippy::print_stderr,
    reason = "a test that fails shows the agent's log"
)]
#![expect(
    unreachable_pub,
    reason = "the items are shared between the files of one test program"
)]

mod agent;
mod config;
mod confirm;
mod ends;
mod facts;
mod full_disk;
mod kept_output;
mod leftovers;
mod logging;
mod network;
mod on_path;
mod private;
mod restart;
mod runs;
mod server;
mod signed;
mod signed_standing;
mod signed_upgrade;
mod state;
mod steps;
mod supervisor;
