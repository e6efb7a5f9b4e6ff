//! The real agent binary against a small server over real HTTP.
#![cfg(target_os = "linux")]
#![expect(
    unreachable_pub,
    reason = "the items are shared between the files of one test program"
)]

mod agent;
mod config;
mod ends;
mod leftovers;
mod network;
mod private;
mod restart;
mod runs;
mod server;
mod state;
mod supervisor;
